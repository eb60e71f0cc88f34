"""The only place that remembers tokens which were verified; what failed is never remembered."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Generic, TypeVar

from msgspec import Struct

ENTRIES_MAX: Final = 10_000  # about 2 KiB each
DIGEST_BYTES: Final = 32

Proved = TypeVar("Proved")


class _Entry(Struct, Generic[Proved], frozen=True):
    proved: Proved
    since: int
    until: int


class TokenCache(Generic[Proved]):
    """What each verified token proved, by a hash of its whole text: signing input and signature.

    Another signature under the same words is another entry, so only what was verified is ever found. The
    oldest entry makes room for a new one.
    """

    def __init__(self, *, entries_max: int = ENTRIES_MAX) -> None:
        self._entries: dict[bytes, _Entry[Proved]] = {}
        self._entries_max = entries_max
        self.generation = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, text: str, now: int) -> Proved | None:
        """What this very token proved, if that may still be believed (a clock set back is not)."""
        entry = self._entries.get(_digest(text))
        if entry is None or not entry.since <= now < entry.until:
            return None
        return entry.proved

    def put(self, text: str, proved: Proved, *, now: int, until: int, generation: int) -> None:
        """Remember; does nothing when all was flushed since `generation`, or there is no time left."""
        if generation != self.generation or until <= now:
            return
        key = _digest(text)
        self._entries.pop(key, None)
        if len(self._entries) >= self._entries_max:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = _Entry(proved, now, until)

    def flush(self) -> None:
        """Forget everything: a token may have been revoked. What is being verified now is not remembered either."""
        self._entries.clear()
        self.generation += 1


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
