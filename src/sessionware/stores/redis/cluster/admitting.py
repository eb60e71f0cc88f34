"""The only place that admits across the buckets of a cluster: wide limits first, the partition last.

The wide ones are charged before the partition is asked, all at once, and given back when it refuses: so nothing is
ever let in beyond an allowance, and for a moment too much may be refused. Where a wide limit refuses, the partition is
still asked, without taking anything: whether the session is there and whose it is comes before what is used up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import Admission, Admitted, NewSession, Outcome
from sessionware.core.session import Ended
from sessionware.errors import StoreUnavailable
from sessionware.stores.redis import answers, asking
from sessionware.stores.redis.asking import Elsewhere
from sessionware.stores.redis.calls import Calls
from sessionware.stores.redis.cluster.charging import Part, Question, Skewed, charge, give_back
from sessionware.stores.redis.cluster.keeping import FIRST_ANSWER, first_said, packed, said, strangers
from sessionware.stores.redis.cluster.levels import Held, Levels, within
from sessionware.stores.redis.cluster.member import NothingRan
from sessionware.stores.redis.cluster.placing import Wide
from sessionware.stores.redis.cluster.servers import ClusterServers
from sessionware.stores.sealing import Sealer

TRIES: Final = 4  # with other allowances, when overrides say so, or with places in levels that have become free

Allowances = dict[tuple[str, int], int]


class _Asked(Struct, frozen=True):
    """What the partition answered, and what it was asked."""

    raw: Any
    ask: Admission

    @property
    def outcome(self) -> bytes:
        outcome: bytes = self.raw[0]
        return outcome

    @property
    def was_kept(self) -> bool:
        return len(self.raw) == FIRST_ANSWER


class _Again(Exception):  # no error: a turn that must be taken anew, and nothing is charged any more
    """Overrides say that other allowances hold."""

    def __init__(self, allowances: Allowances) -> None:
        self.allowances = allowances


class Admitting:
    """Admissions that touch more than one bucket."""

    def __init__(self, calls: Calls[ClusterServers], sealer: Sealer, levels: Levels) -> None:
        self._calls = calls
        self._sealer = sealer
        self._levels = levels
        self._running: set[asyncio.Task[Admitted]] = set()

    async def admit(self, ask: Admission, wide: Wide) -> Admitted:
        """Raises StoreUnavailable. When it is known that the partition took nothing, nothing is charged.

        A caller that leaves does not end it: what is refused must still be given back.
        """
        running = asyncio.get_running_loop().create_task(self._admit(ask, wide))
        self._running.add(running)
        running.add_done_callback(self._finish)
        await asyncio.wait([running])
        return running.result()

    async def close(self) -> None:
        """Returns when nothing is under way any more; every wait of an admission has a deadline."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _finish(self, running: asyncio.Task[Admitted]) -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # has been told, or nobody waits for it any more

    async def _admit(self, ask: Admission, wide: Wide) -> Admitted:
        allowances: Allowances = {}
        is_repeated = False
        for _ in range(TRIES):
            try:
                return await self._turn(ask, wide, allowances)
            except _Again as again:
                allowances |= again.allowances
            except Skewed as skewed:
                if is_repeated:
                    raise
                is_repeated = True
                self._calls.servers.believe(skewed.store_now)
                ask = ask.at(self._calls.clock.now())
        raise NothingRan("the overrides of a user or a session keep changing: try again")

    async def _turn(self, ask: Admission, wide: Wide, allowances: Allowances) -> Admitted:
        parts = await charge(self._calls, Question(ask, wide.always, wide.leases, allowances))
        is_refused = not all(part.fits for part in parts)
        if is_refused:
            parts = await give_back(self._calls, parts)
        makes = ask.new is not None and ask.key is not None and (wide.created or ask.new.caps.levels)
        limits = _limits(ask, wide.always, wide.leases, allowances)
        asked = await self._narrow(
            replace(ask, new=None) if makes else ask, wide, Elsewhere(limits, is_refused=is_refused), parts
        )
        if makes and ask.new is not None and asked.outcome == b"unknown":
            return await self._make(ask, ask.new, wide, allowances, parts)
        return await self._concluded(ask, wide, asked, parts)

    async def _make(
        self, ask: Admission, new: NewSession, wide: Wide, allowances: Allowances, parts: list[Part]
    ) -> Admitted:
        """There is no such session: ask again with what it costs to make one."""
        is_refused = not all(part.fits for part in parts)
        try:
            created = Question(ask, wide.created, (), allowances, "+")
            parts = [*parts, *await charge(self._calls, created, take=not is_refused)]
        except StoreUnavailable:
            await give_back(self._calls, parts)
            raise
        if not all(part.fits for part in parts):
            is_refused = True
            parts = await give_back(self._calls, parts)
        limits = _limits(ask, (*wide.always, *wide.created), wide.leases, allowances)
        evicted: list[Ended] = []
        for left in range(TRIES, 0, -1):
            hold, held = "", list[Held]()
            if new.caps.levels and not is_refused:
                hold, held = await self._take_levels(new, ask.now, parts)
            elsewhere = Elsewhere(limits, is_refused=is_refused, hold=hold)
            asked = await self._narrow(replace(ask, new=within(new, held)), wide, elsewhere, parts, held)
            if asked.outcome != b"admitted" or not asked.raw[1] or asked.was_kept:
                await self._levels.give_back(held)
            swept = answers.ends(asked.raw[15], ask.bucket, self._sealer)
            await self._levels.release(swept)
            if asked.outcome != b"full":
                break
            full = asked.raw[14].decode()
            freed = await self._levels.make_room(full, held, now=ask.now)
            evicted += freed or ()
            if left == 1 or (freed is None and not frees(swept, full, held)):
                break
            evicted += swept
        if asked.outcome == b"admitted" and not asked.raw[1]:  # somebody else has made it meanwhile
            parts = await self._without(created, parts)
        answer = await self._concluded(ask, wide, asked, parts)
        return replace(answer, evicted=(*evicted, *answer.evicted)) if evicted else answer

    async def _without(self, created: Question, parts: Sequence[Part]) -> list[Part]:
        """Give back what only making a session costs."""
        await give_back(self._calls, [part for part in parts if part.question == created])
        return [part for part in parts if part.question != created]

    async def _take_levels(self, new: NewSession, now: int, parts: Sequence[Part]) -> tuple[str, list[Held]]:
        try:
            return await self._levels.take(new, now=now)
        except StoreUnavailable:
            await give_back(self._calls, parts)
            raise

    async def _narrow(
        self, ask: Admission, wide: Wide, elsewhere: Elsewhere, parts: Sequence[Part], held: Sequence[Held] = ()
    ) -> _Asked:
        """Ask the partition. What was charged elsewhere is given back when it surely took nothing."""
        calls, narrow, taken = self._calls, wide.narrowed(ask), parts
        if ask.once and not elsewhere.is_refused:
            elsewhere = replace(elsewhere, kept=packed(said(ask, wide, parts, is_taken=True)))
        asked = asking.admission(narrow, self._sealer, elsewhere)
        try:
            raw = await calls.servers.evaluate(calls.scripts["admit"], ask.bucket, ask.now, calls.skew, asked)
            if raw[0] == b"SKEW":

                def asked_at(now: int) -> list[asking.Argument]:
                    nonlocal narrow
                    narrow = narrow.at(now)
                    return asking.admission(narrow, self._sealer, elsewhere)

                raw = await calls.again("admit", ask.bucket, raw, asked_at)
        except NothingRan:
            await give_back(calls, taken)
            await self._levels.give_back(held)
            raise
        if raw[0] == b"again":
            await give_back(calls, taken)
            await self._levels.give_back(held)
            names = _names(elsewhere, wide)
            raise _Again(dict(zip(names, raw[1:], strict=True)))
        return _Asked(raw, narrow)

    async def _concluded(self, ask: Admission, wide: Wide, asked: _Asked, parts: Sequence[Part]) -> Admitted:
        """Give back what a refusal leaves, or confirm what was taken; put the tallies in the order of the question."""
        answer = answers.admitted(asked.raw, asked.ask, self._sealer)
        is_taken = answer.outcome is Outcome.ADMITTED
        if not is_taken:
            await give_back(self._calls, parts)
            if answer.outcome not in {Outcome.LIMITED, Outcome.FULL}:
                return answer
        first = first_said(asked.raw)
        if first is not None:
            await give_back(self._calls, strangers(parts, first))
        elif is_taken:
            await self._confirm(parts)
        found = first or said(ask, wide, parts, is_taken=is_taken)
        return replace(answer, tallies=found.tallies(answer.tallies), leases=found.running(answer.leases))

    async def _confirm(self, parts: Sequence[Part]) -> None:
        """A repeat that found its charge made, and is let in for the first time: whoever made it may have undone it."""
        for part in parts:
            if not part.is_first:
                question = replace(part.question, spends=part.spends, leases=part.leases, is_forced=True)
                await charge(self._calls, question)


def frees(swept: Sequence[Ended], full: str, held: Sequence[Held]) -> bool:
    """Whether one of those that ended held the level that was full."""
    keys = {each.level.key for each in held if each.level.name == full}
    return any(keys & set(ended.session.birth.holds) for ended in swept)


def _names(elsewhere: Elsewhere, wide: Wide) -> list[tuple[str, int]]:
    spends = (*wide.always, *wide.created)[: len(elsewhere.limits) - len(wide.leases)]
    return [*[("spend", at) for at in spends], *[("lease", at) for at in wide.leases]]


def _limits(
    ask: Admission, spends: Sequence[int], leases: Sequence[int], allowances: Allowances
) -> tuple[tuple[str, int, int], ...]:
    """Of each wide limit its name, its own allowance and the one that was looked at."""
    found = []
    for at in spends:
        spend = ask.spends[at]
        found.append((spend.limit, spend.allowance, allowances.get(("spend", at), spend.allowance)))
    for at in leases:
        lease = ask.leases[at]
        found.append((lease.limit, lease.allowance, allowances.get(("lease", at), lease.allowance)))
    return tuple(found)
