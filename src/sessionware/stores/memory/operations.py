"""The only place that remembers, in memory, the first answer to an operation."""

from __future__ import annotations

from collections import deque
from typing import Any

from sessionware.core.store import OPERATION_KEEP_MS, OPERATIONS_MAX
from sessionware.stores.memory.groups import Groups


class Operations:
    """First answers by owner, kind of call and operation id: kept 300 s, bounded per owner."""

    def __init__(self) -> None:
        self._answers: dict[bytes, tuple[int, bytes, Any]] = {}
        self._order: deque[tuple[int, bytes]] = deque()
        self._owned = Groups()

    def answer(self, owner: bytes, kind: str, operation: bytes, now: int) -> Any | None:
        """The first answer to this operation, or None if it is new (or long ago)."""
        kept = self._answers.get(owner + kind.encode() + operation)
        return kept[2] if kept is not None and now < kept[0] else None

    def keep(self, owner: bytes, kind: str, operation: bytes, answer: Any, now: int) -> None:
        key, until = owner + kind.encode() + operation, now + OPERATION_KEEP_MS
        self.sweep(now)
        self._forget(key)
        self._answers[key] = (until, owner, answer)
        self._order.append((until, key))
        self._owned.add(owner, key)
        if self._owned.count(owner) > OPERATIONS_MAX:
            self._forget(self._owned.oldest(owner) or key)

    def sweep(self, now: int) -> None:
        while self._order and self._order[0][0] <= now:
            until, key = self._order.popleft()
            kept = self._answers.get(key)
            if kept is not None and kept[0] == until:
                self._forget(key)

    def _forget(self, key: bytes) -> None:
        kept = self._answers.pop(key, None)
        if kept is not None:
            self._owned.discard(kept[1], key)
