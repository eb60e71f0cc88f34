"""The only place that knows how many sessions each upstream has: counted by the store, and bound here since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sessionware.core.admission import Binding
from sessionware.core.store import Query, Store
from sessionware.errors import StoreUnavailable


class Loads:
    """What `least_sessions` compares. Other workers' sessions are known once the store was asked again."""

    def __init__(self) -> None:
        self._counted: dict[str, Counter[str]] = {}

    def of(self, pool: str) -> Mapping[str, int]:
        """The sessions of a pool by the name of their upstream."""
        return self._counted.get(pool, {})

    def bound(self, binding: Binding) -> None:
        """A session of this worker's has just been bound, or was before: then it counts twice until the next count."""
        self._counted.setdefault(binding.pool, Counter())[binding.upstream] += 1

    async def count(self, store: Store, *, now: int) -> None:
        """Ask the store; a store that is away leaves what was known."""
        try:
            page = await store.list(Query(limit=0), now=now)
        except StoreUnavailable:
            return
        counted: dict[str, Counter[str]] = {}
        for (pool, upstream), sessions in page.upstreams.items():
            counted.setdefault(pool, Counter())[upstream] = sessions
        self._counted = counted
