"""The only place that moves sessions between upstreams that all live: only those that have nothing running there."""

from __future__ import annotations

from collections import Counter
from typing import Final

from msgspec import Struct

from sessionware.core.session import Session
from sessionware.core.store import PAGE_MAX, Query
from sessionware.errors import PayloadUnreadable, SessionNotFound
from sessionware.proxy.health import takes_new_sessions
from sessionware.proxy.placing import Placing
from sessionware.service.runtime import Runtime

PAGES_MAX: Final = 1_000  # a million sessions; a listing that never ends must not hold its caller
EVEN: Final = 1  # sessions that one may have more than another: they cannot always be halved


class Rebalanced(Struct, frozen=True):
    """How many sessions were moved, how many stayed because something of theirs lives there, and how it stands."""

    moved: int
    kept: int
    sessions: dict[str, int]


class Rebalancing:
    """One pass over the sessions of one pool.

    A session with a legacy MCP session in the pool, or with a request that runs right now, stays. What a modern server
    remembers of a session nobody can see: it is asked for by an administrator, who knows that server.
    """

    def __init__(self, placing: Placing, runtime: Runtime, pool: str) -> None:
        self._runtime = runtime
        self._pool = pool
        members = placing.fleet.pools[pool]
        self._taking = [
            each.name for each in members if takes_new_sessions(each.health) and not placing.is_drained(pool, each.name)
        ]
        self._load: Counter[str] = Counter(dict.fromkeys(self._taking, 0))
        self._moved = self._kept = 0

    async def run(self) -> Rebalanced:
        """Move until nobody has more than one session more than another. Raises StoreUnavailable."""
        runtime = self._runtime
        counted = await runtime.store.list(Query(limit=0), now=runtime.now())
        for (pool, upstream), sessions in counted.upstreams.items():
            if pool == self._pool:
                self._load[upstream] = sessions
        cursor = ""
        for _ in range(PAGES_MAX):
            if self._is_even():
                break
            page = await runtime.store.list(Query(cursor=cursor, limit=PAGE_MAX), now=runtime.now())
            for session in page.sessions:
                await self._look_at(session)
            cursor = page.cursor
            if not cursor:
                break
        return Rebalanced(self._moved, self._kept, {name: load for name, load in self._load.items() if load >= 0})

    def _is_even(self) -> bool:
        """Whether nobody could get a session that another has too many."""
        if not self._taking:
            return True
        fewest = min(self._load[name] for name in self._taking)
        return all(
            load <= (fewest + EVEN if name in self._taking else 0) for name, load in self._load.items()
        )  # fmt: skip

    async def _look_at(self, session: Session) -> None:
        was = session.bindings.get(self._pool)
        if was is None or not self._taking:
            return
        to = min(self._taking, key=lambda name: self._load[name])
        if was == to or (was in self._taking and self._load[was] - self._load[to] <= EVEN):
            return
        if await self._is_needed(session):
            self._kept += 1
            return
        try:
            standing = await self._runtime.store.rebind(
                session.key, pool=self._pool, was=was, to=to, now=self._runtime.now()
            )
        except SessionNotFound:
            return
        if standing == to:
            self._moved += 1
            self._load[was] -= 1
            self._load[to] += 1

    async def _is_needed(self, session: Session) -> bool:
        """Whether something of the session's lives at its upstream."""
        runtime = self._runtime
        if await runtime.pending(session.key):
            return True
        try:
            whole = await runtime.store.get(session.key, now=runtime.now())
        except PayloadUnreadable:
            return True
        return whole is not None and any(link.pool == self._pool for link in whole.links)
