"""What the contract asks of `record`: what has happened is booked once, however often it is told."""

from __future__ import annotations

from msgspec.structs import replace

from sessionware.core.admission import Outcome
from sessionware.core.facts import Acknowledged, Interrupted, Released, SessionLimits, Settled, Touched
from sessionware.core.ledger import CAP, Counter, Scope, Spend, Tally
from sessionware.core.session import Override, Session
from sessionware.core.store import OPERATION_KEEP_MS
from sessionware.core.windows import NEVER
from sessionware.testing.build import LEVEL, MINUTE_MS
from sessionware.testing.contract.exam import Exam, at_once, law
from sessionware.testing.contract.limits import align
from sessionware.testing.contract.scene import Scene


class Facts(Exam):
    """Touches, settlements, overrides: one by one, and each by itself."""

    @law
    async def test_nothing_to_record_is_nothing(self, scene: Scene) -> None:
        assert await scene.record() == []

    @law
    async def test_a_touch_moves_activity_and_hits(self, scene: Scene) -> None:
        """B3."""
        work = await scene.start(idle=5000)
        used_at = scene.later(1000)
        scene.later(1000)
        assert await scene.record(Touched(work.key, used_at, 3)) == [True]
        assert await scene.get(work) == replace(work, seen_at=used_at, expires_at=used_at + 5000, hits=3)

    @law
    async def test_a_touch_never_extends_a_life_past_its_absolute_end(self, scene: Scene) -> None:
        """SES-07."""
        work = await scene.start(idle=5000, absolute_at=scene.now + 6000)
        scene.later(4000)
        await scene.record(Touched(work.key, scene.now))
        assert (await scene.read(work)).expires_at == work.absolute_at

    @law
    async def test_touches_of_one_batch_add_up(self, scene: Scene) -> None:
        work = await scene.start()
        assert await scene.record(*[Touched(work.key, scene.now, 2) for _ in range(5)]) == [True] * 5
        assert (await scene.read(work)).hits == 10

    @law
    async def test_each_fact_stands_for_itself(self, scene: Scene) -> None:
        work, nothing, operation = await scene.start(), scene.make.key("nothing"), scene.make.operation()
        booked = await scene.record(
            Touched(nothing, scene.now, 1),
            Touched(work.key, scene.now, 1),
            SessionLimits(nothing, {"calls": 1}),
            Interrupted(nothing),
            Interrupted(work.key),
            Acknowledged(work.key.bucket, "no receipt of ours"),
            Released(work.key.bucket, operation, work.key, (scene.make.lease(),)),
            settled(work, operation, scene.make.spend()),
            settled(work, operation, scene.make.spend()),
        )
        assert booked == [False, True, False, False, True, False, False, True, False]
        assert (await scene.read(work)).hits == 1
        assert await scene.used(scene.make.spend()) == 1

    @law
    async def test_many_facts_are_booked_in_their_order(self, scene: Scene) -> None:
        work = await scene.start()
        facts = [SessionLimits(work.key, {"calls": number}) for number in range(200)]
        assert await scene.record(*facts) == [True] * 200
        found = await scene.read(work)
        assert (found.limits["calls"].allowance, found.revision) == (199, work.revision + 200)

    @law
    async def test_overrides_are_kept_beside_each_other_until_they_run_out(self, scene: Scene) -> None:
        work = await scene.start()
        await scene.record(SessionLimits(work.key, {"short": 1}, scene.now + 1000), SessionLimits(work.key, {"b": 2}))
        assert (await scene.read(work)).limits == {"short": Override(1, scene.now + 1000), "b": Override(2, NEVER)}
        scene.later(1000)
        await scene.record(SessionLimits(work.key, {"c": 3, "b": None, "never set": None}))
        assert (await scene.read(work)).limits == {"c": Override(3, NEVER)}

    @law
    async def test_a_settlement_is_booked_once(self, scene: Scene) -> None:
        """ST-08: whoever tells it, and however often."""
        work, operation, spend = await scene.start(), scene.make.operation(), scene.make.spend(cost=5)
        fact = settled(work, operation, spend)
        booked = await at_once(10, lambda _: scene.record(fact))
        assert sorted(booked) == [[False]] * 9 + [[True]]
        assert await scene.used(spend) == 5

    @law
    async def test_a_settlement_may_share_the_operation_of_its_admission(self, scene: Scene) -> None:
        """Reserve an estimate, settle the truth."""
        work, operation = await scene.start(), scene.make.operation()
        estimate = scene.make.spend("tokens", allowance=1000, cost=800)
        await scene.admit(work, spends=(estimate,), operation=operation, once=True)
        assert await scene.record(settled(work, operation, replace(estimate, cost=-300))) == [True]
        assert await scene.used(estimate) == 500
        again = await scene.admit(work, spends=(estimate,), operation=operation, once=True)
        assert again.tallies == (Tally(Counter(estimate.window, 800, 0), 1000, fits=True),)
        assert await scene.used(estimate) == 500

    @law
    async def test_an_operation_of_long_ago_is_booked_again(self, scene: Scene) -> None:
        work, operation = await scene.start(), scene.make.operation()
        level = scene.make.spend("storage", span=LEVEL)
        for later, booked in ((0, True), (OPERATION_KEEP_MS - 1, False), (1, True)):
            scene.later(later)
            assert await scene.record(settled(work, operation, level)) == [booked]

    @law
    async def test_what_has_happened_is_charged_without_asking(self, scene: Scene) -> None:
        work, spend = await scene.start(), scene.make.spend(allowance=10, cost=25)
        assert await scene.record(settled(work, scene.make.operation(), spend)) == [True]
        assert await scene.used(spend) == 25
        assert await scene.outcome(work, spends=(replace(spend, cost=0),)) is Outcome.LIMITED

    @law
    async def test_a_refund_in_the_same_window_lowers_what_is_used(self, scene: Scene) -> None:
        work, spend = await scene.start(), scene.make.spend(cost=5)
        await scene.admit(work, spends=(spend,))
        await scene.record(settled(work, scene.make.operation(), replace(spend, cost=-3)))
        assert await scene.used(spend) == 2
        await scene.record(settled(work, scene.make.operation(), replace(spend, cost=-CAP)))
        assert await scene.used(spend) == 0

    @law
    async def test_a_refund_one_window_late_lowers_what_is_carried(self, scene: Scene) -> None:
        align(scene, MINUTE_MS)
        work, spend = await scene.start(), scene.make.spend(cost=5)
        await scene.admit(work, spends=(spend,))
        scene.later(MINUTE_MS)
        await scene.admit(work, spends=(scene.make.spend(cost=1),))
        await scene.record(settled(work, scene.make.operation(), replace(spend, cost=-3)))
        assert await tally(scene, scene.make.spend()) == Counter(spend.window + 1, 1, 2)
        await scene.record(settled(work, scene.make.operation(), replace(spend, cost=-9)))
        assert await tally(scene, scene.make.spend()) == Counter(spend.window + 1, 1, 0)

    @law
    async def test_a_refund_of_a_counter_that_has_not_rolled_yet_is_carried(self, scene: Scene) -> None:
        align(scene, MINUTE_MS)
        work, spend = await scene.start(), scene.make.spend(cost=5)
        await scene.admit(work, spends=(spend,))
        scene.later(MINUTE_MS)
        await scene.record(settled(work, scene.make.operation(), replace(spend, cost=-3)))
        assert await tally(scene, scene.make.spend()) == Counter(spend.window + 1, 0, 2)

    @law
    async def test_a_refund_of_a_window_that_has_run_out_is_dropped(self, scene: Scene) -> None:
        align(scene, MINUTE_MS)
        work, old = await scene.start(), scene.make.spend(cost=5)
        await scene.admit(work, spends=(old,))
        scene.later(2 * MINUTE_MS)
        await scene.admit(work, spends=(scene.make.spend(cost=4),))
        assert await scene.record(settled(work, scene.make.operation(), replace(old, cost=-3))) == [True]
        assert await tally(scene, scene.make.spend()) == Counter(old.window + 2, 4, 0)

    @law
    async def test_a_refund_of_what_was_never_charged_is_nothing(self, scene: Scene) -> None:
        work, spend = await scene.start(), scene.make.spend(cost=-3)
        await scene.record(settled(work, scene.make.operation(), spend))
        assert await tally(scene, spend) == Counter(spend.window, 0, 0)

    @law
    async def test_a_level_is_given_back_however_late(self, scene: Scene) -> None:
        work, level = await scene.start(idle=0), scene.make.spend("storage", span=LEVEL, cost=5)
        await scene.admit(work, spends=(level,))
        scene.later(3650 * 86_400_000)
        await scene.record(settled(work, scene.make.operation(), replace(level, cost=-3)))
        assert await scene.used(level) == 2

    @law
    async def test_a_settlement_reaches_the_sessions_own_counter_while_it_lives(self, scene: Scene) -> None:
        work = await scene.start()
        mine = scene.make.spend("mine", scope=Scope.SESSION, cost=2)
        ours = scene.make.spend("ours", scope=Scope.USER, cost=2)
        assert await scene.record(settled(work, scene.make.operation(), mine, ours)) == [True]
        assert (await scene.used(mine, work), await scene.used(ours)) == (2, 2)
        await scene.end(work)
        assert await scene.record(settled(work, scene.make.operation(), mine, ours)) == [True]
        again = await scene.start("work")
        assert (await scene.used(mine, again), await scene.used(ours)) == (0, 4)


def settled(session: Session, operation: bytes, *spends: Spend) -> Settled:
    return Settled(session.key.bucket, session.birth.owner, operation, session.key, spends)


async def tally(scene: Scene, spend: Spend) -> Counter:
    """The counter as the spend's window sees it."""
    found = (await scene.admit(spends=(replace(spend, cost=0, binding=False),))).tallies[0]
    assert found is not None
    return found.counter
