"""What the contract asks of leases: how many run at once, how long, and which sessions are open."""

from __future__ import annotations

from msgspec.structs import replace

from sessionware.core.admission import Caps, Outcome
from sessionware.core.facts import Fact, Released, Renewed, UserLimits
from sessionware.core.ledger import LEASE_MS, Lease, LeaseTally, Scope
from sessionware.core.session import Session
from sessionware.testing.contract.exam import Exam, at_once, law
from sessionware.testing.contract.scene import Scene


class Leases(Exam):
    """`concurrent` limits and open sessions."""

    @law
    async def test_twenty_at_once_get_exactly_five_slots(self, scene: Scene) -> None:
        work, lease = await scene.start(), scene.make.lease(allowance=5)
        answers = await at_once(20, lambda _: scene.admit(work, leases=(lease,)))
        outcomes = [answer.outcome for answer in answers]
        assert (outcomes.count(Outcome.ADMITTED), outcomes.count(Outcome.LIMITED)) == (5, 15)

    @law
    async def test_a_lease_tally_says_how_many_run(self, scene: Scene) -> None:
        lease = scene.make.lease(allowance=2)
        answers = [await scene.admit(leases=(lease,)) for _ in range(3)]
        assert [answer.outcome for answer in answers] == [Outcome.ADMITTED, Outcome.ADMITTED, Outcome.LIMITED]
        assert [answer.leases for answer in answers] == [
            (LeaseTally(1, 2, fits=True),), (LeaseTally(2, 2, fits=True),), (LeaseTally(2, 2, fits=False),)
        ]  # fmt: skip

    @law
    async def test_an_operation_that_holds_a_lease_fits_again(self, scene: Scene) -> None:
        lease, operation = scene.make.lease(allowance=1), scene.make.operation()
        first = await scene.admit(leases=(lease,), operation=operation)
        again = await scene.admit(leases=(lease,), operation=operation)
        assert (again.outcome, again.leases) == (Outcome.ADMITTED, first.leases)
        assert await scene.outcome(leases=(lease,)) is Outcome.LIMITED

    @law
    async def test_a_finished_request_frees_its_slot_once(self, scene: Scene) -> None:
        lease, operation = scene.make.lease(allowance=1), scene.make.operation()
        await scene.admit(leases=(lease,), operation=operation)
        assert await scene.record(released(scene, operation, lease)) == [True]
        assert await scene.record(released(scene, operation, lease)) == [False]
        assert await scene.outcome(leases=(lease,)) is Outcome.ADMITTED

    @law
    async def test_a_lease_that_ran_out_is_not_there_to_be_released(self, scene: Scene) -> None:
        work, operation, lease = await scene.start(), scene.make.operation(), scene.make.lease()
        await scene.admit(work, operation=operation, leases=(lease,))
        scene.later(LEASE_MS)
        assert await scene.record(released(scene, operation, lease, session=work)) == [False]
        short = await scene.start("short", idle=1000)
        await scene.admit(short, operation=operation, opens=True)
        scene.later(1000)
        assert await scene.record(released(scene, operation, session=short)) == [False]

    @law
    async def test_a_slot_of_a_worker_that_died_frees_itself(self, scene: Scene) -> None:
        """ASGI-09."""
        lease = scene.make.lease(allowance=1)
        await scene.admit(leases=(lease,))
        scene.later(LEASE_MS - 1)
        assert await scene.outcome(leases=(lease,)) is Outcome.LIMITED
        scene.later(1)
        assert await scene.outcome(leases=(lease,), lease_ms=10) is Outcome.ADMITTED
        scene.later(10)
        assert await scene.outcome(leases=(lease,)) is Outcome.ADMITTED, "the lease lasted longer than asked"

    @law
    async def test_a_renewed_lease_holds_until_its_new_instant(self, scene: Scene) -> None:
        lease, operation = scene.make.lease(allowance=1), scene.make.operation()
        await scene.admit(leases=(lease,), operation=operation)
        scene.later(LEASE_MS - 1)
        assert await scene.record(renewed(scene, operation, lease)) == [True]
        scene.later(LEASE_MS - 1)
        assert await scene.outcome(leases=(lease,)) is Outcome.LIMITED
        scene.later(1)
        assert await scene.outcome(leases=(lease,)) is Outcome.ADMITTED

    @law
    async def test_a_lease_that_ran_out_is_taken_again_by_its_renewal(self, scene: Scene) -> None:
        """The work is still running: it counts, even beyond the allowance."""
        lease, slow = scene.make.lease(allowance=1), scene.make.operation()
        await scene.admit(leases=(lease,), operation=slow)
        scene.later(LEASE_MS)
        assert await scene.outcome(leases=(lease,)) is Outcome.ADMITTED
        await scene.record(renewed(scene, slow, lease))
        answer = await scene.admit(leases=(lease,))
        assert answer.leases == (LeaseTally(2, 1, fits=False),)

    @law
    async def test_a_shadow_lease_is_counted_and_refuses_nobody(self, scene: Scene) -> None:
        shadow = scene.make.lease(allowance=1, binding=False)
        answers = [await scene.admit(leases=(shadow,)) for _ in range(2)]
        assert [answer.outcome for answer in answers] == [Outcome.ADMITTED] * 2
        assert answers[1].leases == (LeaseTally(2, 1, fits=False),)

    @law
    async def test_leases_and_spends_are_taken_all_or_none(self, scene: Scene) -> None:
        lease, spend = scene.make.lease(allowance=1), scene.make.spend(allowance=1)
        other = scene.make.lease("other", allowance=1)
        await scene.admit(leases=(lease,))
        assert await scene.outcome(leases=(other, lease), spends=(spend,)) is Outcome.LIMITED
        assert await scene.used(spend) == 0
        await scene.admit(spends=(spend,))
        assert await scene.outcome(leases=(other,), spends=(spend,)) is Outcome.LIMITED
        assert await scene.outcome(leases=(other,)) is Outcome.ADMITTED, "a refused request holds a lease"

    @law
    async def test_an_override_changes_how_many_run(self, scene: Scene) -> None:
        lease, owner = scene.make.lease(allowance=0), scene.make.owner()
        assert await scene.outcome(owner=owner, leases=(lease,)) is Outcome.LIMITED
        await scene.record(UserLimits(scene.make.bucket(), owner, {"at-once": 1}))
        answer = await scene.admit(owner=owner, leases=(lease,))
        assert answer.leases == (LeaseTally(1, 1, fits=True),)

    @law
    async def test_lease_sets_are_kept_apart(self, scene: Scene) -> None:
        for scope in Scope:
            for over in ("alice", "bob"):
                lease = scene.make.lease(allowance=1, scope=scope, over=over)
                assert await scene.outcome(leases=(lease,)) is Outcome.ADMITTED

    @law
    async def test_a_session_is_open_while_it_holds_a_lease(self, scene: Scene) -> None:
        """Rule 16: an open session is passed over by eviction."""
        work, operation, lease = await scene.start(), scene.make.operation(), scene.make.lease()
        assert not await is_open(scene, work)
        await scene.admit(work, leases=(lease,), operation=operation)
        assert await is_open(scene, work)
        await scene.record(released(scene, operation, lease, session=work))
        assert not await is_open(scene, work)
        await scene.admit(work, leases=(lease,))
        scene.later(LEASE_MS)
        assert not await is_open(scene, work), "it stayed open after its lease ran out"

    @law
    async def test_a_stream_opens_its_session_without_any_limit(self, scene: Scene) -> None:
        work, operation = await scene.start(), scene.make.operation()
        await scene.admit(work, opens=True, operation=operation)
        assert await is_open(scene, work)
        assert await scene.record(released(scene, operation, session=work)) == [True]
        assert not await is_open(scene, work)
        assert await scene.record(released(scene, operation, session=work)) == [False]

    @law
    async def test_a_renewal_opens_its_session(self, scene: Scene) -> None:
        """A request that runs for 10 s opens its session with its first renewal."""
        work, operation = await scene.start(), scene.make.operation()
        assert await scene.record(renewed(scene, operation, session=work)) == [True]
        scene.later(LEASE_MS - 1)
        assert await is_open(scene, work)
        scene.later(1)
        assert not await is_open(scene, work)

    @law
    async def test_a_session_stays_open_until_its_last_request_is_done(self, scene: Scene) -> None:
        work, one, two = await scene.start(), scene.make.operation(), scene.make.operation()
        await scene.admit(work, opens=True, operation=one)
        await scene.admit(work, opens=True, operation=two)
        await scene.record(released(scene, one, session=work))
        assert await is_open(scene, work)
        await scene.record(released(scene, two, session=work))
        assert not await is_open(scene, work)

    @law
    async def test_leases_outlive_their_session(self, scene: Scene) -> None:
        """The work goes on until it notices: renewals keep its slot, and say that the session is gone."""
        work, lease, operation = await scene.start(), scene.make.lease(allowance=1), scene.make.operation()
        await scene.admit(work, leases=(lease,), operation=operation)
        await scene.end(work)
        assert await scene.record(renewed(scene, operation, lease, session=work)) == [False]
        scene.later(LEASE_MS - 1)
        assert await scene.outcome(leases=(lease,)) is Outcome.LIMITED
        assert await scene.record(released(scene, operation, lease, session=work)) == [True]
        assert await scene.outcome(leases=(lease,)) is Outcome.ADMITTED


def released(scene: Scene, operation: bytes, *leases: Lease, session: Session | None = None) -> Fact:
    return Released(scene.make.bucket(), operation, session.key if session else None, leases)


def renewed(scene: Scene, operation: bytes, *leases: Lease, session: Session | None = None) -> Fact:
    """Running for another lease time."""
    return Renewed(scene.make.bucket(), operation, session.key if session else None, leases, scene.now + LEASE_MS)


async def is_open(scene: Scene, session: Session) -> bool:
    """Whether eviction passes the session over: asked with a cap that only this session could make room for."""
    probe = scene.make.new(scene.make.session("probe"), Caps(per_owner=1))
    impossible = scene.make.level("impossible", allowance=0)
    caps = replace(probe.caps, levels=(impossible,))
    answer = await scene.create(probe.session, caps)
    assert answer.full in {"owner", "impossible"}, f"the probe was not refused: {answer}"
    assert await scene.lives(session)
    return answer.full == "owner"
