"""The only place that keeps many small sets by name: most hold one member, which then costs no set."""

from __future__ import annotations

from collections.abc import Iterable


class Groups:
    """Members by group, in order of arrival. A lone member is kept bare: 200 bytes less for each."""

    def __init__(self) -> None:
        self._groups: dict[bytes, bytes | dict[bytes, None]] = {}

    def add(self, group: bytes, member: bytes) -> None:
        held = self._groups.get(group)
        if held is None or held == member:
            self._groups[group] = member
        elif isinstance(held, dict):
            held[member] = None
        else:
            self._groups[group] = {held: None, member: None}

    def discard(self, group: bytes, member: bytes) -> None:
        held = self._groups.get(group)
        if isinstance(held, dict):
            held.pop(member, None)
            if not held:
                del self._groups[group]
        elif held == member:
            del self._groups[group]

    def members(self, group: bytes) -> Iterable[bytes]:
        held = self._groups.get(group)
        if isinstance(held, dict):
            return list(held)
        return () if held is None else (held,)

    def count(self, group: bytes) -> int:
        held = self._groups.get(group)
        if isinstance(held, dict):
            return len(held)
        return 0 if held is None else 1

    def oldest(self, group: bytes) -> bytes | None:
        held = self._groups.get(group)
        return next(iter(held)) if isinstance(held, dict) else held
