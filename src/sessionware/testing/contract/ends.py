"""What the contract asks of ends: each is handed to one caller, told to the owner for a while, and swept in time."""

from __future__ import annotations

from sessionware.core.admission import Admitted, Caps, Outcome
from sessionware.core.facts import Acknowledged
from sessionware.core.session import TOMBSTONE_MAX_MS, Ended, EndReason, Proof, Session
from sessionware.core.store import CLAIM_MS, ENDED_KEEP_MS
from sessionware.testing.contract.exam import Exam, at_once, law
from sessionware.testing.contract.scene import Scene

MINUTE = 60_000


class Ends(Exam):
    """`delete`, tombstones, and ends that must be told."""

    @law
    async def test_ten_closes_end_a_session_once(self, scene: Scene) -> None:
        """D20, C4."""
        work = await scene.start()
        answers = await at_once(10, lambda _: scene.delete(work))
        ended = [answer for answer in answers if answer is not None]
        assert len(ended) == 1
        assert (ended[0].session.key, ended[0].reason, ended[0].ended_at) == (work.key, EndReason.ENDED, scene.now)
        assert ended[0].receipt, "an end needs a receipt to be acknowledged by"
        assert await scene.get(work) is None

    @law
    async def test_an_end_hands_the_record_back(self, scene: Scene) -> None:
        work = await scene.start(org_id="acme", groups=("g",))
        await scene.admit(work)
        stored = await scene.read(work)
        ended = await scene.end(work)
        assert ended.session.without_payload() == stored.without_payload()

    @law
    async def test_nothing_ends_what_was_never_made(self, scene: Scene) -> None:
        assert await scene.delete(scene.make.session("work")) is None

    @law
    async def test_the_owner_learns_why(self, scene: Scene) -> None:
        for reason in EndReason:
            work = await scene.start(reason.value)
            await scene.end(work, reason)
            assert await scene.why_gone(work) is reason

    @law
    async def test_an_expired_session_says_so_swept_or_not(self, scene: Scene) -> None:
        work = await scene.start(idle=1000)
        scene.later(1000)
        assert await scene.why_gone(work) is EndReason.EXPIRED, "before the sweep"
        await scene.reap()
        assert await scene.why_gone(work) is EndReason.EXPIRED, "after the sweep"

    @law
    async def test_nobody_else_learns_why(self, scene: Scene) -> None:
        protected, open_to_all = await scene.start(None), await scene.start_anonymous()
        expired = await scene.start(None, idle=1000)
        await scene.end(protected)
        await scene.end(open_to_all)
        scene.later(1000)
        unknown = Admitted(Outcome.UNKNOWN, scene.now)
        for session in (protected, expired):
            assert await scene.admit(session, owner=scene.make.owner("bob")) == unknown
            assert await scene.admit(session.key) == unknown
        assert (await scene.admit(open_to_all.key)).reason is EndReason.ENDED

    @law
    async def test_the_reason_is_kept_as_long_as_the_session_was_idle_at_most(self, scene: Scene) -> None:
        """Rule 17: min(idle, 1 h)."""
        for idle, kept in ((MINUTE, MINUTE), (2 * TOMBSTONE_MAX_MS, TOMBSTONE_MAX_MS), (0, TOMBSTONE_MAX_MS)):
            work = await scene.start(idle=idle)
            await scene.end(work)
            scene.later(kept - 1)
            assert await scene.why_gone(work) is EndReason.ENDED
            scene.later(1)
            assert await scene.why_gone(work) is None

    @law
    async def test_the_reason_is_forgotten_when_the_name_is_used_again(self, scene: Scene) -> None:
        first = await scene.start("work")
        await scene.end(first)
        second = await scene.start("work", proof=Proof.ID, idle=1000)
        assert await scene.outcome(second) is Outcome.ADMITTED
        await scene.end(second, EndReason.REVOKED)
        assert await scene.why_gone(second) is EndReason.REVOKED

    @law
    async def test_what_has_ended_is_neither_listed_nor_counted(self, scene: Scene) -> None:
        """A21."""
        work = await scene.start()
        await scene.admit(work)
        await scene.end(work)
        page = await scene.page()
        assert (page.sessions, page.total) == ((), 0)

    @law
    async def test_an_end_that_nobody_acknowledged_is_handed_out_again(self, scene: Scene) -> None:
        """Rule 18: at least once, also when the worker dies between ending and telling."""
        work = await scene.start()
        first = await scene.end(work)
        scene.later(CLAIM_MS - 1)
        assert await scene.reap() == []
        scene.later(1)
        again = await scene.reap()
        assert [told(ended) for ended in again] == [told(first)]
        assert await scene.reap() == [], "one claim was handed to two"
        scene.later(CLAIM_MS)
        assert [told(ended) for ended in await scene.reap()] == [told(first)]

    @law
    async def test_an_acknowledged_end_is_never_handed_out_again(self, scene: Scene) -> None:
        work = await scene.start()
        ended = await scene.end(work)
        fact = Acknowledged(work.key.bucket, ended.receipt)
        assert await scene.record(fact) == [True]
        assert await scene.record(fact) == [False]
        scene.later(CLAIM_MS)
        assert await scene.reap() == []

    @law
    async def test_every_kind_of_end_waits_to_be_told(self, scene: Scene) -> None:
        caps = Caps(per_owner=1)
        await scene.start("evicted", caps=caps)
        await scene.start("ended", caps=caps, idle=0)
        await scene.end(await scene.read(scene.make.key("ended")))
        await scene.start("expired", caps=caps, idle=1000)
        scene.later(1000)
        assert len(await scene.reap()) == 1
        scene.later(CLAIM_MS)
        told_again = {(ended.session.birth.name, ended.reason.value) for ended in await scene.reap()}
        assert told_again == {(name, name) for name in ("evicted", "ended", "expired")}

    @law
    async def test_an_end_that_nobody_ever_acknowledges_is_dropped_at_last(self, scene: Scene) -> None:
        await scene.end(await scene.start())
        scene.later(ENDED_KEEP_MS)
        assert await scene.reap() == []

    @law
    async def test_ends_that_share_a_session_have_their_own_receipts(self, scene: Scene) -> None:
        first = await scene.end(await scene.start("work"))
        second = await scene.end(await scene.start("work"))
        assert first.receipt != second.receipt
        assert await scene.record(Acknowledged(first.session.key.bucket, first.receipt)) == [True]
        scene.later(CLAIM_MS)
        assert [ended.receipt for ended in await scene.reap()] == [second.receipt]


class Reaping(Exam):
    """`reap`: what has expired is handed over, each to one caller."""

    @law
    async def test_a_sweep_hands_over_what_has_expired_and_then_nothing(self, scene: Scene) -> None:
        """C8, C10: three at once after their time, then none."""
        short = [await scene.start(str(number), idle=1000) for number in range(3)]
        long = await scene.start("long")
        scene.later(1000)
        ended = await scene.reap()
        assert {each.session.key for each in ended} == {session.key for session in short}
        assert {(each.reason, each.ended_at) for each in ended} == {(EndReason.EXPIRED, scene.now)}
        assert await scene.reap() == []
        assert await scene.listed() == [long.without_payload()]

    @law
    async def test_parallel_sweeps_share_no_session(self, scene: Scene) -> None:
        """B12: counted once with several workers."""
        await start_short(scene, 30)
        swept = await at_once(10, lambda _: scene.reap(7))
        keys = [ended.session.key for each in swept for ended in each]
        assert len(keys) == len(set(keys)) == 30

    @law
    async def test_a_sweep_is_bounded(self, scene: Scene) -> None:
        short = await start_short(scene, 10)
        sizes, keys = [], set()
        for _ in range(5):
            ended = await scene.reap(4)
            sizes.append(len(ended))
            keys |= {each.session.key for each in ended}
        assert (sizes, keys) == ([4, 4, 2, 0, 0], {session.key for session in short})

    @law
    async def test_a_sweep_is_bounded_whatever_it_hands_out(self, scene: Scene) -> None:
        """What has expired, what is idle, and what nobody has acknowledged share the limit."""
        told_before = [await scene.end(await scene.start(f"told {number}")) for number in range(2)]
        idle = [await scene.start(f"idle {number}", idle=0) for number in range(2)]
        short = [await scene.start(f"short {number}", idle=CLAIM_MS) for number in range(2)]
        scene.later(CLAIM_MS)
        swept = [await scene.reap(1, idle_for=CLAIM_MS) for _ in range(7)]
        assert [len(ended) for ended in swept] == [1] * 6 + [0]
        keys = {session.key for session in (*idle, *short, *[ended.session for ended in told_before])}
        assert {each.session.key for ended in swept for each in ended} == keys

    @law
    async def test_a_sweep_that_comes_a_moment_early_loses_nothing(self, scene: Scene) -> None:
        work = await scene.start(idle=1500)
        scene.later(1499)
        assert await scene.reap() == []
        scene.later(1)
        assert [ended.session.key for ended in await scene.reap()] == [work.key]

    @law
    async def test_a_session_that_was_used_lately_is_swept_in_its_own_time(self, scene: Scene) -> None:
        work = await scene.start(idle=8000)
        scene.later(500)
        await scene.admit(work)
        scene.later(7500)
        assert await scene.reap() == [], "its first time has come, but it was used since"
        scene.later(500)
        assert [ended.session.key for ended in await scene.reap()] == [work.key]

    @law
    async def test_a_sweep_of_nothing_is_only_a_probe(self, scene: Scene) -> None:
        await start_short(scene, 1)
        assert await scene.reap(0) == []
        assert await scene.total() == 1

    @law
    async def test_a_session_in_use_is_not_swept(self, scene: Scene) -> None:
        """However lazily an index of expiry follows."""
        work = await scene.start(idle=8000)
        for _ in range(30):
            scene.later(777)
            assert await scene.outcome(work) is Outcome.ADMITTED
            assert await scene.reap() == []
        scene.later(8000)
        assert [ended.session.key for ended in await scene.reap()] == [work.key]

    @law
    async def test_long_idle_sessions_can_be_swept_on_demand(self, scene: Scene) -> None:
        """D16: the idle one is returned, the others not."""
        idle, used, streaming = [await scene.start(name, idle=0) for name in ("idle", "used", "streaming")]
        scene.later(500)
        await scene.admit(used)
        await scene.admit(streaming, opens=True, touch=False)
        scene.later(499)
        assert await scene.reap(idle_for=1000) == []
        scene.later(1)
        ended = await scene.reap(idle_for=1000)
        assert [(each.session.key, each.reason) for each in ended] == [(idle.key, EndReason.EXPIRED)]
        assert [await scene.lives(session) for session in (used, streaming)] == [True, True]

    @law
    async def test_a_sweep_on_demand_is_bounded_too(self, scene: Scene) -> None:
        for number in range(5):
            await scene.start(str(number), idle=0)
        scene.later(1000)
        assert [len(await scene.reap(3, idle_for=1000)) for _ in range(3)] == [3, 2, 0]

    @law
    async def test_a_clock_that_jumped_ends_nothing_before_it_has_settled(self, scene: Scene) -> None:
        work = await scene.start(idle=1000, data=b"d")
        scene.clock.jump(3_600_000)
        assert await scene.reap() == []
        scene.clock.jump(-3_600_000)
        assert await scene.reap() == []
        assert await scene.get(work) == work, "a clock that was set wrong for a moment ended a session"
        scene.later(1000)
        assert [ended.session.key for ended in await scene.reap()] == [work.key]

    @law
    async def test_a_thousand_starts_and_ends_leave_nothing(self, scene: Scene) -> None:
        """A19: closing frees what a session took."""
        caps = Caps(levels=(scene.make.level(allowance=50),))
        for _ in range(20):
            made = [scene.make.session(None, user=str(number), bindings={"tools": "a"}) for number in range(50)]
            await at_once(50, lambda number, made=made: scene.create(made[number], caps))  # type: ignore[misc]
            ended = await at_once(50, lambda number, made=made: scene.delete(made[number]))  # type: ignore[misc]
            facts = [Acknowledged(each.session.key.bucket, each.receipt) for each in ended]
            assert await scene.record(*facts) == [True] * 50
        page = await scene.page(limit=0)
        assert (page.total, page.upstreams) == (0, {})


def told(ended: Ended) -> tuple[object, ...]:
    """What an observer is told, the same every time."""
    return ended.session.key, ended.reason, ended.ended_at, ended.receipt


async def start_short(scene: Scene, count: int) -> list[Session]:
    """Sessions that have just expired."""
    made = [await scene.start(str(number), idle=1000) for number in range(count)]
    scene.later(1000)
    return made
