"""The only place that makes a session under levels on a cluster: the levels first, the session last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from sessionware.core.admission import NewSession
from sessionware.core.session import Ended
from sessionware.core.store import Created, Making
from sessionware.stores.redis import answers, asking
from sessionware.stores.redis.calls import Calls
from sessionware.stores.redis.cluster.admitting import frees
from sessionware.stores.redis.cluster.levels import Levels, within
from sessionware.stores.redis.cluster.member import NothingRan
from sessionware.stores.redis.cluster.servers import ClusterServers
from sessionware.stores.sealing import Sealer

TRIES: Final = 4  # with places in levels that have become free
_FIRST_ANSWER: Final = 5  # the length of an answer that was kept from the first time


class Creating:
    """`create` within caps that count in other buckets."""

    def __init__(self, calls: Calls[ClusterServers], sealer: Sealer, levels: Levels) -> None:
        self._calls = calls
        self._sealer = sealer
        self._levels = levels

    async def create(self, new: NewSession, *, operation: bytes, now: int) -> Created:
        """Take the levels, make the session, and give back what it did not need."""
        bucket, evicted = new.session.key.bucket, list[Ended]()
        for _ in range(TRIES):
            hold, held = await self._levels.take(new, now=now)
            newborn = within(new, held)
            try:
                raw = await self._calls.run_at("create", bucket, now, self._asked(newborn, operation, hold, now))
            except NothingRan:
                await self._levels.give_back(held)
                raise
            if raw[0] != b"created" or len(raw) == _FIRST_ANSWER:
                await self._levels.give_back(held)
            answer = answers.created(raw, bucket, self._sealer)
            await self._levels.release(answer.evicted)
            evicted += answer.evicted
            if answer.outcome is not Making.FULL:
                break
            freed = await self._levels.make_room(answer.full, held, now=now)
            if freed is None and not frees(answer.evicted, answer.full, held):
                break
            evicted += freed or ()
        return replace(answer, evicted=tuple(evicted))

    def _asked(self, new: NewSession, operation: bytes, hold: str, now: int) -> Callable[[int], list[asking.Argument]]:
        """What is asked at another instant than `now`: the session's life begins then."""

        def asked_at(then: int) -> list[asking.Argument]:
            return [operation.hex(), *asking.new_session(new.later(then - now), self._sealer, hold=hold)]

        return asked_at
