"""What the contract asks of spends: exact counters, windows that roll, and all or nothing."""

from __future__ import annotations

from msgspec.structs import replace

from sessionware.core.admission import Outcome
from sessionware.core.facts import SessionLimits, Settled, UserLimits
from sessionware.core.ledger import CAP, Counter, Scope, Spend, Tally, When
from sessionware.core.session import Session
from sessionware.core.windows import Calendar, Sliding
from sessionware.testing.build import LEVEL, MINUTE_MS
from sessionware.testing.contract.exam import Exam, at_once, law
from sessionware.testing.contract.scene import Scene

HOUR = 3_600_000


class Limits(Exam):
    """Counters, costs, scopes and overrides."""

    @law
    async def test_three_hundred_at_once_take_exactly_a_hundred(self, scene: Scene) -> None:
        """B23, ST-08."""
        work, spend = await scene.start(), scene.make.spend(allowance=100)
        answers = await at_once(300, lambda _: scene.admit(work, spends=(spend,)))
        outcomes = [answer.outcome for answer in answers]
        assert (outcomes.count(Outcome.ADMITTED), outcomes.count(Outcome.LIMITED)) == (100, 200)
        assert await scene.used(spend) == 100
        assert (await scene.read(work)).hits == 100

    @law
    async def test_a_session_counter_is_as_exact(self, scene: Scene) -> None:
        work, spend = await scene.start(), scene.make.spend(scope=Scope.SESSION, allowance=20)
        answers = await at_once(60, lambda _: scene.admit(work, spends=(spend,)))
        assert [answer.outcome for answer in answers].count(Outcome.ADMITTED) == 20

    @law
    async def test_a_tally_says_what_was_found_and_taken(self, scene: Scene) -> None:
        """B22, B25: the counter, the allowance that held, whether it fits."""
        work, spend = await scene.start(), scene.make.spend(allowance=5, cost=3)
        taken = await scene.admit(work, spends=(spend,))
        assert taken.tallies == (Tally(Counter(spend.window, 3, 0), 5, fits=True),)
        refused = await scene.admit(work, spends=(spend,))
        assert refused.outcome is Outcome.LIMITED
        assert refused.tallies == (Tally(Counter(spend.window, 3, 0), 5, fits=False),)
        last = await scene.admit(work, spends=(replace(spend, cost=2),))
        assert last.tallies == (Tally(Counter(spend.window, 5, 0), 5, fits=True),)

    @law
    async def test_a_window_rolls_and_carries_what_it_held(self, scene: Scene) -> None:
        """B24: used up, then free again when the period has passed."""
        align(scene, MINUTE_MS)
        spend = scene.make.spend(allowance=10, cost=10)
        await scene.admit(spends=(spend,))
        scene.later(MINUTE_MS + MINUTE_MS // 2)  # half of the window before still counts
        half = scene.make.spend(allowance=10, cost=6)
        refused = await scene.admit(spends=(half,))
        assert refused.tallies == (Tally(Counter(half.window, 0, 10), 10, fits=False),)
        fits = await scene.admit(spends=(replace(half, cost=5),))
        assert fits.tallies == (Tally(Counter(half.window, 5, 10), 10, fits=True),)
        scene.later(2 * MINUTE_MS)
        free = scene.make.spend(allowance=10, cost=10)
        assert (await scene.admit(spends=(free,))).tallies == (Tally(Counter(free.window, 10, 0), 10, fits=True),)

    @law
    async def test_a_lagging_clock_charges_the_window_that_stands(self, scene: Scene) -> None:
        """The counter is one window ahead: it stays there, with everything of its window before."""
        align(scene, MINUTE_MS)
        lagging = scene.make.spend(allowance=10, cost=1)
        await scene.admit(spends=(replace(lagging, cost=4),))
        scene.later(MINUTE_MS)
        await scene.admit(spends=(scene.make.spend(allowance=10, cost=3),))
        answer = await scene.admit(spends=(lagging,))
        assert answer.tallies == (Tally(Counter(lagging.window + 1, 4, 4), 10, fits=True),)
        refused = await scene.admit(spends=(replace(lagging, cost=3),))
        assert refused.outcome is Outcome.LIMITED, "a lagging clock forgave what was spent"

    @law
    async def test_a_counter_far_ahead_counts_as_spent_in_the_window_before(self, scene: Scene) -> None:
        """Nonsense of a clock that jumped still counts, and slides out: it must not refuse until time catches up."""
        align(scene, MINUTE_MS)
        now = scene.make.spend(allowance=10, cost=4)
        ahead = replace(now, window=now.window + 7)
        await scene.admit(spends=(ahead,))
        answer = await scene.admit(spends=(now,))
        assert answer.tallies == (Tally(Counter(now.window, 4, 4), 10, fits=True),)

    @law
    async def test_a_calendar_window_starts_anew(self, scene: Scene) -> None:
        """A quota that resets at midnight of its zone, all at once."""
        day = Calendar("day", "Europe/Berlin")
        spend = scene.make.spend(span=day, allowance=3, cost=3)
        await scene.admit(spends=(spend,))
        assert await scene.outcome(spends=(replace(spend, cost=1),)) is Outcome.LIMITED
        scene.later(24 * HOUR)
        tomorrow = scene.make.spend(span=day, allowance=3, cost=3)
        answer = await scene.admit(spends=(tomorrow,))
        assert answer.tallies == (Tally(Counter(tomorrow.window, 3, 3), 3, fits=True),)

    @law
    async def test_a_level_goes_up_and_down_and_never_below_nothing(self, scene: Scene) -> None:
        level = scene.make.spend("storage_mb", span=LEVEL, allowance=500, cost=400)
        await scene.admit(spends=(level,))
        scene.later(400 * 24 * HOUR)
        assert await scene.outcome(spends=(replace(level, cost=101),)) is Outcome.LIMITED
        freed = await scene.admit(spends=(replace(level, cost=-150),))
        assert freed.tallies == (Tally(Counter(0, 250, 0), 500, fits=True),)
        emptied = await scene.admit(spends=(replace(level, cost=-9000),))
        assert emptied.tallies == (Tally(Counter(0, 0, 0), 500, fits=True),)

    @law
    async def test_giving_back_fits_always(self, scene: Scene) -> None:
        full = scene.make.spend(span=LEVEL, allowance=0, cost=-1)
        assert await scene.outcome(spends=(full,)) is Outcome.ADMITTED

    @law
    async def test_a_cost_of_nothing_wants_room_and_takes_none(self, scene: Scene) -> None:
        """Tokens known only after the answer: refused when they are used up already."""
        spend = scene.make.spend(allowance=2, cost=0)
        for _ in range(5):
            assert await scene.outcome(spends=(spend,)) is Outcome.ADMITTED
        assert await scene.used(spend) == 0
        await scene.admit(spends=(replace(spend, cost=2),))
        assert await scene.outcome(spends=(spend,)) is Outcome.LIMITED

    @law
    async def test_an_allowance_of_nothing_refuses_everything(self, scene: Scene) -> None:
        """B25."""
        for cost in (0, 1, CAP):
            answer = await scene.admit(spends=(scene.make.spend(allowance=0, cost=cost),))
            assert answer.outcome is Outcome.LIMITED
            assert answer.tallies[0] is not None
            assert (answer.tallies[0].counter.used, answer.tallies[0].fits) == (0, False)

    @law
    async def test_counters_saturate_at_the_cap(self, scene: Scene) -> None:
        spend = scene.make.spend(span=LEVEL, allowance=CAP, cost=CAP - 1)
        await scene.admit(spends=(spend,))
        shadow = replace(spend, cost=CAP, binding=False)
        answer = await scene.admit(spends=(shadow,))
        assert answer.tallies == (Tally(Counter(0, CAP, 0), CAP, fits=False),)
        await scene.record(settled(scene, replace(spend, cost=CAP)))
        assert await scene.used(spend) == CAP
        assert await scene.outcome(spends=(replace(spend, cost=1),)) is Outcome.LIMITED

    @law
    async def test_large_numbers_are_carried_exactly(self, scene: Scene) -> None:
        """9e9 times a carry of six digits, to the bit, in every engine's arithmetic."""
        span = Sliding(3 * MINUTE_MS)
        align(scene, span.period)
        await scene.admit(spends=(scene.make.spend(span=span, allowance=CAP, cost=CAP),))
        scene.later(5 * MINUTE_MS)  # a third is left: carry 333_333
        spend = scene.make.spend(span=span, cost=1)
        assert spend.carry == 333_333
        level = CAP * 333_333 // 1_000_000
        assert await scene.outcome(spends=(replace(spend, allowance=level),)) is Outcome.LIMITED
        answer = await scene.admit(spends=(replace(spend, allowance=level + 1),))
        assert answer.tallies == (Tally(Counter(spend.window, 1, CAP), level + 1, fits=True),)

    @law
    async def test_a_shadow_is_counted_and_refuses_nobody(self, scene: Scene) -> None:
        shadow = scene.make.spend(allowance=1, binding=False)
        answers = [await scene.admit(spends=(shadow,)) for _ in range(3)]
        assert {answer.outcome for answer in answers} == {Outcome.ADMITTED}
        found = [(tally.counter.used, tally.fits) for answer in answers for tally in answer.tallies if tally]
        assert found == [(1, True), (2, False), (3, False)]

    @law
    async def test_several_spends_are_taken_all_or_none(self, scene: Scene) -> None:
        work = await scene.start()
        roomy = [scene.make.spend(f"roomy-{scope}", scope=scope) for scope in Scope]
        tight = scene.make.spend("tight", allowance=1)
        shadow = scene.make.spend("shadow", allowance=0, binding=False)
        spends = (*roomy[:2], tight, *roomy[2:], shadow)
        first = await scene.admit(work, spends=spends)
        assert first.outcome is Outcome.ADMITTED
        refused = await scene.admit(work, spends=spends)
        assert refused.outcome is Outcome.LIMITED
        assert [tally.fits for tally in refused.tallies if tally] == [True, True, False, True, True, True, False]
        assert [await scene.used(spend, work) for spend in spends] == [1] * 7, "a refused request was charged"

    @law
    async def test_counters_are_kept_apart(self, scene: Scene) -> None:
        spends = [scene.make.spend(scope=scope, over=over) for scope in Scope for over in ("alice", "bob")]
        work = await scene.start()
        await scene.admit(work, spends=(spends[0],))
        assert [await scene.used(spend, work) for spend in spends] == [1] + [0] * 9

    @law
    async def test_what_creation_costs_is_spent_only_when_a_session_is_made(self, scene: Scene) -> None:
        """CREATE_LIMIT rides in the same step."""
        making = scene.make.spend("create", allowance=1, when=When.CREATED)
        template = scene.make.new(scene.make.session("work"))
        first = await scene.admit(template.session, new=template, spends=(making,))
        assert first.tallies == (Tally(Counter(making.window, 1, 0), 1, fits=True),)
        second = await scene.admit(template.session, new=template, spends=(making,))
        assert (second.outcome, second.tallies) == (Outcome.ADMITTED, (None,))
        other = scene.make.new(scene.make.session("other"))
        third = await scene.admit(other.session, new=other, spends=(making,))
        assert (third.outcome, await scene.get(other.session)) == (Outcome.LIMITED, None)

    @law
    async def test_a_session_counter_dies_with_its_session(self, scene: Scene) -> None:
        work = await scene.start()
        mine, everybodys = scene.make.spend(scope=Scope.SESSION), scene.make.spend(scope=Scope.USER)
        await scene.admit(work, spends=(mine, everybodys))
        await scene.end(work)
        again = await scene.start("work")
        assert await scene.used(mine, again) == 0
        assert await scene.used(everybodys, again) == 1

    @law
    async def test_a_template_begins_with_a_fresh_session_counter(self, scene: Scene) -> None:
        mine = scene.make.spend(scope=Scope.SESSION, span=LEVEL, allowance=1)
        template = scene.make.new(scene.make.session("work", idle=2000))
        assert await scene.outcome(template.session, new=template, spends=(mine,)) is Outcome.ADMITTED
        assert await scene.outcome(template.session, new=template, spends=(mine,)) is Outcome.LIMITED
        scene.later(2000)
        anew = scene.make.new(scene.make.session("work"))
        assert await scene.outcome(anew.session, new=anew, spends=(mine,)) is Outcome.ADMITTED

    @law
    async def test_an_override_of_the_session_beats_the_users_and_that_beats_the_rule(self, scene: Scene) -> None:
        work, other = await scene.start("work"), await scene.start("other")
        spend = scene.make.spend(allowance=10)
        assert await allowed(scene, work, spend) == 10
        await scene.record(UserLimits(work.key.bucket, work.birth.owner, {"calls": 20}))
        assert (await allowed(scene, work, spend), await allowed(scene, other, spend)) == (20, 20)
        await scene.record(SessionLimits(work.key, {"calls": 30, "unused": 1}))
        assert (await allowed(scene, work, spend), await allowed(scene, other, spend)) == (30, 20)
        await scene.record(SessionLimits(work.key, {"calls": None}))
        assert await allowed(scene, work, spend) == 20
        await scene.record(UserLimits(work.key.bucket, work.birth.owner, {"calls": None}))
        assert await allowed(scene, work, spend) == 10

    @law
    async def test_an_override_counts_for_its_limit_until_its_instant(self, scene: Scene) -> None:
        work, spend = await scene.start(idle=0), scene.make.spend(allowance=10)
        until = scene.now + 1000
        await scene.record(SessionLimits(work.key, {"calls": 30}, until))
        await scene.record(UserLimits(work.key.bucket, work.birth.owner, {"calls": 20}, until + 1000))
        assert await allowed(scene, work, scene.make.spend("others", allowance=10)) == 10
        scene.later(999)
        assert await allowed(scene, work, spend) == 30
        scene.later(1)
        assert await allowed(scene, work, spend) == 20
        scene.later(1000)
        assert await allowed(scene, work, spend) == 10

    @law
    async def test_an_override_of_nothing_refuses(self, scene: Scene) -> None:
        work, spend = await scene.start(), scene.make.spend(allowance=10)
        await scene.record(SessionLimits(work.key, {"calls": 0}))
        assert await scene.outcome(work, spends=(spend,)) is Outcome.LIMITED

    @law
    async def test_a_users_override_reaches_what_has_no_session_yet(self, scene: Scene) -> None:
        spend, owner = scene.make.spend(allowance=10), scene.make.owner()
        await scene.record(UserLimits(scene.make.bucket(), owner, {"calls": 0}))
        assert await scene.outcome(owner=owner, spends=(spend,)) is Outcome.LIMITED
        template = scene.make.new(scene.make.session("work"))
        assert await scene.outcome(template.session, new=template, spends=(spend,)) is Outcome.LIMITED
        assert await scene.outcome(owner=scene.make.owner("bob"), spends=(spend,)) is Outcome.ADMITTED


def align(scene: Scene, period: int) -> None:
    """Let time pass until a window begins."""
    scene.later(-scene.now % period)


def settled(scene: Scene, *spends: Spend) -> Settled:
    return Settled(scene.make.bucket(), scene.make.owner(), scene.make.operation(), None, spends)


async def allowed(scene: Scene, about: Session, spend: Spend) -> int:
    """The allowance that holds for a session."""
    tally = (await scene.admit(about, spends=(replace(spend, cost=0, binding=False),), touch=False)).tallies[0]
    assert tally is not None
    return tally.allowance
