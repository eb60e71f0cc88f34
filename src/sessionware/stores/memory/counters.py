"""The only place that keeps, in memory, the counters and lease sets that outlive sessions."""

from __future__ import annotations

from typing import Final

from sessionware.core.ledger import Counter, Lease, Scope, Spend
from sessionware.core.windows import NEVER
from sessionware.stores.memory.wheel import SLOT_MS, Wheel

OVERFLOW_BUCKETS: Final = 1024  # shared by new client keys once the cap is reached
SWEEP: Final = 4  # stale counters looked at per new counter: more than one, so that sweeping catches up


class Counters:
    """Bounded counters: a stale one may be dropped, an exhausted one never is.

    At the cap, keys of new clients share a few overflow counters; keys of proved users, organisations and the
    whole installation cannot be invented by strangers and are always kept apart.
    """

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._counters: dict[bytes, Counter] = {}
        self.standing = self._counters.get  # the counter under a key: on every request, so without a call between
        self._stale_at: dict[bytes, int] = {}
        self._wheel = Wheel()

    def __len__(self) -> int:
        return len(self._counters)

    def find(self, spend: Spend, now: int) -> tuple[bytes, Counter | None]:
        """Where the spend's counter lies, and the counter; the overflow for a new client's when there is no room.

        Ask once per step: a counter that is made may send the next one elsewhere.
        """
        key = spend.key
        counter = self._counters.get(key)
        if counter is not None:
            return key, counter
        self._drop_stale(now, SWEEP)
        if spend.scope is not Scope.CLIENT or len(self._counters) < self._cap:
            return key, None
        shared = b"overflow" + spend.limit.encode() + (int.from_bytes(key[:4]) % OVERFLOW_BUCKETS).to_bytes(2)
        return shared, self._counters.get(shared)

    def set(self, key: bytes, counter: Counter, *, stale_at: int) -> None:
        self._counters[key] = counter
        known = self._stale_at.get(key)
        if known is None:
            self._file(key, stale_at)
        if known is None or stale_at > known:  # a lagging clock does not make it worthless earlier
            self._stale_at[key] = stale_at

    def level(self, key: bytes) -> int:
        counter = self._counters.get(key)
        return counter.used if counter else 0

    def add_level(self, key: bytes, change: int) -> None:
        """Raise or lower a level that counts live sessions; an empty one is dropped."""
        counter = self._counters.get(key)
        used = (counter.used if counter else 0) + change
        if used > 0:
            self._counters[key] = Counter(0, used, 0)
            self._stale_at[key] = NEVER
        else:
            self._counters.pop(key, None)
            self._stale_at.pop(key, None)

    def sweep(self, now: int, limit: int) -> None:
        """Drop what is stale; refile what was used since it was filed."""
        self._drop_stale(now, limit)

    def _drop_stale(self, now: int, limit: int) -> None:
        # Whole seconds that have passed: nothing in them is looked at twice, however many share a second.
        for key in self._wheel.take(now - SLOT_MS, limit, is_due=lambda _: True):
            stale_at = self._stale_at.get(key)
            if stale_at is None:
                continue
            if stale_at <= now:
                del self._counters[key], self._stale_at[key]
            else:
                self._file(key, stale_at)

    def _file(self, key: bytes, stale_at: int) -> None:
        if stale_at < NEVER:
            self._wheel.file(key, stale_at)


class LeaseSets:
    """Who runs inside which `concurrent` limit: operation id -> until when, per lease set."""

    def __init__(self) -> None:
        self._sets: dict[bytes, dict[bytes, int]] = {}

    def running(self, lease: Lease, operation: bytes, now: int) -> tuple[int, bool]:
        """How many run, and whether this operation is among them. What ran out is forgotten."""
        leases = self._sets.get(lease.key)
        if not leases:
            return 0, False
        for stale in [each for each, until in leases.items() if until <= now]:
            del leases[stale]
        return len(leases), operation in leases

    def hold(self, lease: Lease, operation: bytes, until: int) -> None:
        self._sets.setdefault(lease.key, {})[operation] = until

    def release(self, lease: Lease, operation: bytes, now: int) -> bool:
        """Whether the operation still held it: a lease that has run out is gone, swept or not."""
        leases = self._sets.get(lease.key)
        if not leases:
            return False
        until = leases.pop(operation, 0)
        if not leases:
            del self._sets[lease.key]
        return until > now

    def sweep(self, now: int) -> None:
        for key, leases in list(self._sets.items()):
            for stale in [each for each, until in leases.items() if until <= now]:
                del leases[stale]
            if not leases:
                del self._sets[key]
