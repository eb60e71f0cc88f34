"""The Redis Cluster store: the single server's scripts in 256 buckets, and what crosses them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Final, Self

from sessionware.core.admission import Admission, Admitted, NewSession
from sessionware.core.facts import Event, Fact, Revocation, TokenRevocation
from sessionware.core.ids import Addresses, SessionKey
from sessionware.core.session import Ended, EndReason, Link, Session
from sessionware.core.store import LINKS_MAX, Clock, Created, Linked, Log, Move, Moved, Page, Query, Unlinked
from sessionware.stores.redis.calls import Calls
from sessionware.stores.redis.cluster.admitting import Admitting
from sessionware.stores.redis.cluster.booking import Booking
from sessionware.stores.redis.cluster.creating import Creating
from sessionware.stores.redis.cluster.levels import Levels
from sessionware.stores.redis.cluster.placing import Placing
from sessionware.stores.redis.cluster.servers import ClusterServers
from sessionware.stores.redis.cluster.walking import Walking
from sessionware.stores.redis.cluster.watching import ClusterSubscription
from sessionware.stores.redis.store import RedisStore
from sessionware.stores.sealing import Sealer

_NOBODY: Final[tuple[Ended, ...]] = ()


class RedisClusterStore:
    """Shared by any number of workers. A partition's sessions and narrow limits lie in one slot: one round trip."""

    def __init__(
        self, calls: Calls[ClusterServers], *, sealer: Sealer | None = None, org_is_narrow: bool = False
    ) -> None:
        sealer = sealer or Sealer()
        self.clock: Clock = calls.clock
        self._calls = calls
        self._placing = Placing(org_is_narrow)
        self._narrow = RedisStore(calls, sealer=sealer)
        self._levels = Levels(calls, sealer)
        self._admitting = Admitting(calls, sealer, self._levels)
        self._creating = Creating(calls, sealer, self._levels)
        self._booking = Booking(calls, self._placing)
        self._walking = Walking(calls, self._narrow)
        self._subscription = ClusterSubscription(calls.servers, calls.keys, calls.known)

    @property
    def addresses(self) -> Addresses:
        return self._calls.servers.addresses

    async def __aenter__(self) -> Self:
        try:
            await self._calls.servers.start()
        except BaseException:
            await self._calls.servers.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._subscription.close()
        await self._admitting.close()
        await self._calls.servers.close()

    async def admit(self, ask: Admission) -> Admitted:
        wide = self._placing.wide_of(ask)
        answer = await (self._narrow.admit(ask) if wide is None else self._admitting.admit(ask, wide))
        if answer.evicted:
            await self._levels.release(answer.evicted)
        return answer

    async def create(self, new: NewSession, *, operation: bytes, now: int) -> Created:
        if new.caps.levels:
            return await self._creating.create(new, operation=operation, now=now)
        created = await self._narrow.create(new, operation=operation, now=now)
        await self._levels.release(created.evicted)
        return created

    async def get(self, key: SessionKey, *, now: int) -> Session | None:
        return await self._narrow.get(key, now=now)

    async def update(self, session: Session, *, now: int) -> Session:
        return await self._narrow.update(session, now=now)

    async def rebind(self, key: SessionKey, *, pool: str, was: str | None, to: str | None, now: int) -> str | None:
        return await self._narrow.rebind(key, pool=pool, was=was, to=to, now=now)

    async def link(self, link: Link, *, operation: bytes, now: int, at_most: int = LINKS_MAX) -> Linked:
        return await self._narrow.link(link, operation=operation, now=now, at_most=at_most)

    async def unlink(self, key: SessionKey, *, now: int) -> Unlinked | None:
        unlinked = await self._narrow.unlink(key, now=now)
        if unlinked is not None and unlinked.ended is not None:
            await self._levels.release([unlinked.ended])
        return unlinked

    async def move(self, move: Move, *, now: int) -> Moved:
        moved = await self._narrow.move(move, now=now)
        await self._levels.release(moved.evicted)
        return moved

    async def delete(self, key: SessionKey, *, now: int, reason: EndReason = EndReason.ENDED) -> Ended | None:
        ended = await self._narrow.delete(key, now=now, reason=reason)
        await self._levels.release([ended] if ended is not None else _NOBODY)
        return ended

    async def list(self, query: Query, *, now: int) -> Page:
        if query.owner is not None:
            return await self._narrow.list(query, now=now)
        return await self._walking.page(query, now=now)

    async def reap(self, *, now: int, limit: int, idle_for: int | None = None) -> Sequence[Ended]:
        if limit <= 0:
            await self._calls.servers.command("PING")
            return []
        if self.clock.is_settling():
            return []
        ended = await self._walking.reap(now=now, limit=limit, idle_for=idle_for)
        await self._levels.release(ended)
        return ended

    async def record(self, facts: Sequence[Fact], *, now: int) -> Sequence[bool]:
        return await self._booking.record(facts, now=now)

    async def revoke(self, revocation: Revocation, *, now: int) -> Sequence[Ended]:
        if isinstance(revocation, TokenRevocation):
            ended: Sequence[Ended] = await self._walking.revoke_token(revocation, now=now)
        else:
            ended = await self._narrow.revoke(revocation, now=now)
        await self._levels.release(ended)
        return ended

    async def append(self, key: SessionKey, log: Log, item: bytes, *, keep: int, now: int) -> int:
        return await self._narrow.append(key, log, item, keep=keep, now=now)

    async def tail(self, key: SessionKey, log: Log, count: int, *, now: int) -> Sequence[bytes]:
        return await self._narrow.tail(key, log, count, now=now)

    def watch(self) -> AsyncIterator[Event]:
        return self._subscription.watch()
