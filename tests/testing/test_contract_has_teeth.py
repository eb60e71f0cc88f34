"""Each of these stores breaks one rule, as real ones do; the contract must find it, and by the right law."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from sessionware.core.admission import NewSession, Outcome
from sessionware.core.facts import Event, Gap, Settled, Touched
from sessionware.core.session import Ended, EndReason
from sessionware.core.store import Making
from sessionware.errors import Conflict, SessionNotFound
from sessionware.stores.memory import MemoryStore
from sessionware.testing import check_store


class ReadingIsUsing(MemoryStore):
    async def get(self, key, *, now):
        await self.record([Touched(key, now)], now=now)
        return await super().get(key, now=now)


class ExpiryWaitsForTheSweep(MemoryStore):
    async def get(self, key, *, now):
        return await super().get(key, now=now - 1000)


class RefusalIsUsing(MemoryStore):
    async def admit(self, ask):
        answer = await super().admit(ask)
        if answer.outcome is Outcome.LIMITED and ask.key is not None:
            await self.record([Touched(ask.key, ask.now)], now=ask.now)
        return answer


class SavingResurrects(MemoryStore):
    async def update(self, session, *, now):
        try:
            return await super().update(session, now=now)
        except SessionNotFound:
            await self.create(NewSession(session), operation=b"", now=now)
            return session


class LastWriterWins(MemoryStore):
    """A conflict is written over."""

    async def update(self, session, *, now):
        try:
            return await super().update(session, now=now)
        except Conflict as error:
            return await super().update(replace(session, revision=error.revision), now=now)


class LooksThenCharges(MemoryStore):
    """A read, a pause, a write: another task comes in between."""

    async def admit(self, ask):
        free = tuple([replace(spend, cost=0) for spend in ask.spends])
        look = await super().admit(replace(ask, spends=free, touch=False, leases=(), new=None, candidate=None))
        await asyncio.sleep(0)
        if look.outcome is not Outcome.ADMITTED:
            return await super().admit(ask)
        return await super().admit(replace(ask, spends=tuple([replace(spend, binding=False) for spend in ask.spends])))


class LooksThenEnds(MemoryStore):
    async def delete(self, key, *, now, reason=EndReason.ENDED):
        found = await self.get(key, now=now)
        await asyncio.sleep(0)
        ended = await super().delete(key, now=now, reason=reason)
        return ended or (found and Ended(found, reason, now, "again"))


class ForgetsOperations(MemoryStore):
    serial = 0

    def fresh(self):
        self.serial += 1
        return self.serial.to_bytes(16, "big")

    async def create(self, new, *, operation, now):
        return await super().create(new, operation=self.fresh(), now=now)

    async def record(self, facts, *, now):
        anew = [replace(fact, operation=self.fresh()) if isinstance(fact, Settled) else fact for fact in facts]
        return await super().record(anew, now=now)


class TellsOnce(MemoryStore):
    """Ends are handed out, and never again."""

    async def reap(self, *, now, limit, idle_for=None):
        return [ended for ended in await super().reap(now=now, limit=limit, idle_for=idle_for) if ended.ended_at == now]


class SweepsAfterAJump(MemoryStore):
    async def reap(self, *, now, limit, idle_for=None):
        return self._state.reap(now, limit, idle_for)  # the sweep without the question to the clock


class ShowsEverybody(MemoryStore):
    async def create(self, new, *, operation, now):
        made = await super().create(new, operation=operation, now=now)
        return (
            replace(made, session=await self.get(new.session.key, now=now)) if made.outcome is Making.EXISTS else made
        )


class TurnsShadowsOn(MemoryStore):
    async def admit(self, ask):
        return await super().admit(replace(ask, spends=tuple([replace(spend, binding=True) for spend in ask.spends])))


class KeepsText(MemoryStore):
    """Payloads as C strings."""

    async def get(self, key, *, now):
        found = await super().get(key, now=now)
        return found and replace(found, data=(found.data or b"").split(b"\0")[0])


class RepeatsPages(MemoryStore):
    async def list(self, query, *, now):
        page = await super().list(query, now=now)
        return replace(page, sessions=page.sessions + page.sessions[-1:])


class RevokesLater(MemoryStore):
    async def revoke(self, revocation, *, now):
        return []


class WatchesWithoutAGap(MemoryStore):
    def watch(self):
        watch = super().watch()

        async def without_gaps() -> AsyncIterator[Event]:
            async for event in watch:
                if event != Gap():
                    yield event

        return without_gaps()


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (ReadingIsUsing, "reading_does_not_keep_a_session_alive"),
        (ExpiryWaitsForTheSweep, "an_idle_session_is_gone_at_its_instant_before_any_sweep"),
        (RefusalIsUsing, "a_refused_request_does_not_touch"),
        (SavingResurrects, "an_update_never_makes_a_session"),
        (LastWriterWins, "concurrent_changes_are_never_lost"),
        (LooksThenCharges, "three_hundred_at_once_take_exactly_a_hundred"),
        (LooksThenEnds, "ten_closes_end_a_session_once"),
        (ForgetsOperations, "a_settlement_is_booked_once"),
        (TellsOnce, "an_end_that_nobody_acknowledged_is_handed_out_again"),
        (SweepsAfterAJump, "a_clock_that_jumped_ends_nothing_before_it_has_settled"),
        (ShowsEverybody, "a_taken_name_is_shown_to_its_owner_and_left_as_it_is"),
        (TurnsShadowsOn, "a_shadow_is_counted_and_refuses_nobody"),
        (KeepsText, "payloads_come_back_to_the_byte"),
        (RepeatsPages, "pages_are_complete_and_never_repeat"),
        (RevokesLater, "a_revoked_token_is_refused_everywhere_and_no_other"),
        (WatchesWithoutAGap, "a_watch_starts_with_a_gap"),
    ],
)
def test_a_broken_store_is_found(broken, law):
    report = check_store(lambda clock: broken(clock=clock), only=law)
    assert [result.law for result in report.broken] == [f"test_{law}"]
