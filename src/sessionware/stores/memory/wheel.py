"""The only place that remembers, in memory, what becomes worthless when."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

SLOT_MS: Final = 1_000  # one list per second: few slots for many keys


class Wheel:
    """Keys filed under the second in which they are due; filing and taking cost amortised O(1).

    A key that was filed again elsewhere stays in its old slot too: `is_due` asks the truth.
    """

    def __init__(self) -> None:
        self._slots: dict[int, list[bytes]] = {}
        self._order: list[int] = []

    def file(self, key: bytes, due: int) -> None:
        slot = due // SLOT_MS
        keys = self._slots.get(slot)
        if keys is None:
            self._slots[slot] = keys = []
            heappush(self._order, slot)
        keys.append(key)

    def take(self, now: int, limit: int, *, is_due: Callable[[bytes], bool]) -> list[bytes]:
        """Up to `limit` keys from slots that have begun, each filing handed out once.

        In the slot that `now` is in, keys that are not due yet stay.
        """
        taken: list[bytes] = []
        current = now // SLOT_MS
        while self._order and self._order[0] <= current and len(taken) < limit:
            slot = self._order[0]
            keys = self._slots[slot]
            early: list[bytes] = []
            while keys and len(taken) < limit:
                key = keys.pop()
                (taken if slot < current or is_due(key) else early).append(key)
            keys.extend(early)
            if keys:
                break
            del self._slots[heappop(self._order)]
        return taken
