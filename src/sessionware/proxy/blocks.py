"""The only place that remembers what goes on to an upstream for a client that sends the same headers again."""

from __future__ import annotations

from typing import Final

from sessionware.proxy.hop_by_hop import Header
from sessionware.proxy.wire import HeaderBlock

BLOCKS_MAX: Final = 2_048
KEY_MAX: Final = 4 << 10  # bytes of a client's headers: longer ones are written each time, or strangers fill the memory

Key = tuple[object, ...]


class Blocks:
    """Written headers by all that they hang on. The oldest makes room."""

    def __init__(self) -> None:
        self._known: dict[Key, HeaderBlock] = {}

    def get(self, key: Key) -> HeaderBlock | None:
        return self._known.get(key)

    def put(self, key: Key, headers: list[Header], block: HeaderBlock) -> None:
        """Remember; headers that are long are not worth their room."""
        if sum([len(name) + len(value) for name, value in headers]) > KEY_MAX:
            return
        if len(self._known) >= BLOCKS_MAX:
            del self._known[next(iter(self._known))]
        self._known[key] = block
