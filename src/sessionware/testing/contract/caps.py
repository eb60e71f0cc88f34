"""What the contract asks of caps: how many sessions live, who goes to make room, and what counts as room."""

from __future__ import annotations

from sessionware.core.admission import VICTIMS_MAX, Caps, Outcome
from sessionware.core.facts import OwnerRevocation
from sessionware.core.session import EndReason, Session
from sessionware.core.store import Making
from sessionware.testing.build import NO_CAPS
from sessionware.testing.contract.exam import Exam, at_once, law
from sessionware.testing.contract.scene import Scene


class OwnerCaps(Exam):
    """The cap of one owner, and eviction."""

    @law
    async def test_the_oldest_goes_when_its_owner_is_full(self, scene: Scene) -> None:
        """B8: the sixth start ends the first, the other five live."""
        caps = Caps(per_owner=5)
        made = await start_many(scene, 5, caps)
        scene.later(1)
        sixth = scene.make.session("sixth")
        answer = await scene.create(sixth, caps)
        assert answer.outcome is Making.CREATED
        assert [(ended.session.key, ended.reason) for ended in answer.evicted] == [(made[0].key, EndReason.EVICTED)]
        assert [await scene.lives(session) for session in (*made, sixth)] == [False] + [True] * 5
        assert await scene.why_gone(made[0]) is EndReason.EVICTED

    @law
    async def test_an_admission_evicts_as_well(self, scene: Scene) -> None:
        caps = Caps(per_owner=2)
        made = await start_many(scene, 2, caps)
        template = scene.make.new(scene.make.session("third"), caps)
        answer = await scene.admit(template.session, new=template)
        assert (answer.outcome, answer.is_new) == (Outcome.ADMITTED, True)
        assert [ended.session.key for ended in answer.evicted] == [made[0].key]
        assert await names(scene) == ["1", "third"]

    @law
    async def test_age_counts_not_use(self, scene: Scene) -> None:
        made = await start_many(scene, 2)
        scene.later(1)
        await scene.admit(made[0])
        await scene.start("third", caps=Caps(per_owner=2))
        assert not await scene.lives(made[0])

    @law
    async def test_twenty_parallel_creates_never_exceed_the_cap(self, scene: Scene) -> None:
        """B8, SES-12."""
        caps = Caps(per_owner=5)
        made = await at_once(20, lambda number: scene.create(scene.make.session(str(number)), caps))
        assert {each.outcome for each in made} == {Making.CREATED}
        assert len(await scene.listed()) == 5
        evicted = [ended.session.key for each in made for ended in each.evicted]
        assert len(evicted) == len(set(evicted)) == 15, "an eviction was handed over twice, or to nobody"

    @law
    async def test_twenty_parallel_creates_without_eviction_make_exactly_the_cap(self, scene: Scene) -> None:
        """SES-12."""
        caps = Caps(per_owner=5, evict=False)
        made = await at_once(20, lambda number: scene.create(scene.make.session(str(number)), caps))
        outcomes = [each.outcome for each in made]
        assert (outcomes.count(Making.CREATED), outcomes.count(Making.FULL)) == (5, 15)
        assert {each.full for each in made} == {"", "owner"}
        assert await scene.total() == 5

    @law
    async def test_the_dead_go_before_the_living(self, scene: Scene) -> None:
        old = await scene.start("old", idle=0)
        scene.later(1)
        short = await scene.start("short", idle=1000)
        scene.later(1000)
        answer = await scene.create(scene.make.session("new"), Caps(per_owner=2))
        assert [(ended.session.key, ended.reason) for ended in answer.evicted] == [(short.key, EndReason.EXPIRED)]
        assert await scene.lives(old)

    @law
    async def test_an_open_session_is_passed_over(self, scene: Scene) -> None:
        made = await start_many(scene, 3)
        await scene.admit(made[0], opens=True)
        answer = await scene.create(scene.make.session("new"), Caps(per_owner=3))
        assert [ended.session.key for ended in answer.evicted] == [made[1].key]

    @law
    async def test_when_all_are_open_the_new_one_is_refused(self, scene: Scene) -> None:
        caps = Caps(per_owner=3)
        for session in await start_many(scene, 3, caps):
            await scene.admit(session, opens=True)
        answer = await scene.create(scene.make.session("new"), caps)
        assert (answer.outcome, answer.full, answer.evicted) == (Making.FULL, "owner", ())
        assert await scene.total() == 3

    @law
    async def test_without_eviction_the_new_one_is_refused(self, scene: Scene) -> None:
        caps = Caps(per_owner=2, evict=False)
        made = await start_many(scene, 2, caps)
        answer = await scene.create(scene.make.session("new"), caps)
        assert (answer.outcome, answer.full, answer.session) == (Making.FULL, "owner", None)
        assert [await scene.lives(session) for session in made] == [True, True]

    @law
    async def test_few_go_in_one_call(self, scene: Scene) -> None:
        """A cap that was lowered is reached step by step: no call stalls the store."""
        made = await start_many(scene, 12)
        answer = await scene.create(scene.make.session("new"), Caps(per_owner=2))
        assert [ended.session.key for ended in answer.evicted] == [session.key for session in made[:VICTIMS_MAX]]
        again = await scene.create(scene.make.session("newer"), Caps(per_owner=2))
        assert len(again.evicted) == 4
        assert await names(scene) == ["new", "newer"]

    @law
    async def test_a_cap_is_one_owners(self, scene: Scene) -> None:
        caps = Caps(per_owner=1)
        alices = await scene.start("work", user="alice", caps=caps)
        bobs = await scene.start("work", user="bob", caps=caps)
        assert [await scene.lives(session) for session in (alices, bobs)] == [True, True]

    @law
    async def test_the_same_name_again_needs_no_room(self, scene: Scene) -> None:
        caps = Caps(per_owner=1, evict=False)
        await scene.start("work", caps=caps, idle=1000)
        scene.later(1000)
        await scene.start("work", caps=caps)

    @law
    async def test_without_a_cap_nobody_goes(self, scene: Scene) -> None:
        await start_many(scene, 30)
        assert await scene.total() == 30


class LevelCaps(Exam):
    """Caps over a client or over everybody: they refuse, and every end gives back."""

    @law
    async def test_a_full_level_refuses_by_name(self, scene: Scene) -> None:
        """D9: exactly three of twenty."""
        roomy, tight = scene.make.level("roomy", allowance=100), scene.make.level("MAX_SESSIONS", allowance=3)
        caps = Caps(levels=(roomy, tight))
        made = await at_once(20, lambda _: scene.create(scene.make.anonymous(), caps))
        assert [each.outcome for each in made].count(Making.CREATED) == 3
        assert {each.full for each in made} == {"", "MAX_SESSIONS"}
        assert await scene.total() == 3

    @law
    async def test_an_admission_meets_a_full_level(self, scene: Scene) -> None:
        caps = Caps(levels=(scene.make.level(allowance=1),))
        await scene.start_anonymous(caps=caps)
        template = scene.make.new(scene.make.session("work"), caps)
        answer = await scene.admit(template.session, new=template)
        assert (answer.outcome, answer.full) == (Outcome.FULL, "MAX_SESSIONS")
        assert await scene.get(template.session) is None

    @law
    async def test_a_refused_create_takes_nothing_from_any_level(self, scene: Scene) -> None:
        first, second = scene.make.level("first", allowance=2), scene.make.level("second", allowance=1)
        await scene.start("one", caps=Caps(levels=(second,)))
        for _ in range(5):
            refused = await scene.create(scene.make.session("two"), Caps(levels=(first, second)))
            assert refused.full == "second"
        for name in ("three", "four"):
            await scene.start(name, caps=Caps(levels=(first,)))

    @law
    async def test_every_kind_of_end_gives_its_level_back(self, scene: Scene) -> None:
        """A19: what a session took is free again however it ended."""
        caps = Caps(per_owner=1, levels=(scene.make.level(allowance=1),))
        ended = await scene.start("ended", caps=caps)
        await scene.end(ended)
        await scene.start("expired", caps=caps, idle=1000)
        scene.later(1000)
        await scene.reap()
        await scene.start("evicted", caps=caps)
        await scene.start("revoked", caps=caps)
        await scene.revoke(OwnerRevocation(scene.make.bucket(), scene.make.owner(), scene.now))
        scene.later(1)
        unnamed = await scene.start(None, caps=caps)
        await scene.store.unlink((await scene.link(unnamed)).key, now=scene.now)
        await scene.start("idle", caps=caps)
        scene.later(1000)
        await scene.reap(idle_for=1000)
        await scene.start("last", caps=caps)
        full = await scene.create(scene.make.session("other", user="bob"), Caps(levels=caps.levels))
        assert full.outcome is Making.FULL, "a level was given back twice"

    @law
    async def test_one_end_gives_one_place_back(self, scene: Scene) -> None:
        caps = Caps(levels=(scene.make.level(allowance=3),))
        made = [await scene.start_anonymous(caps=caps) for _ in range(3)]
        await scene.end(made[0])
        answers = [await scene.create(scene.make.anonymous(), caps) for _ in range(2)]
        assert [answer.outcome for answer in answers] == [Making.CREATED, Making.FULL]

    @law
    async def test_who_is_evicted_makes_room_at_the_level_too(self, scene: Scene) -> None:
        caps = Caps(per_owner=1, levels=(scene.make.level(allowance=1),))
        old = await scene.start("old", caps=caps)
        await scene.start("new", caps=caps)
        assert not await scene.lives(old)

    @law
    async def test_nobody_is_evicted_for_a_level(self, scene: Scene) -> None:
        level = scene.make.level(allowance=1)
        old = await scene.start("old", user="bob", caps=Caps(levels=(level,)))
        mine = await scene.start("mine")
        full = await scene.create(scene.make.session("new"), Caps(per_owner=1, levels=(level,)))
        assert (full.outcome, full.full, full.evicted) == (Making.FULL, "MAX_SESSIONS", ())
        assert [await scene.lives(session) for session in (old, mine)] == [True, True]

    @law
    async def test_the_expired_do_not_fill_a_level(self, scene: Scene) -> None:
        """Unswept: a full level loses them first, and hands them over."""
        caps = Caps(levels=(scene.make.level(allowance=3),))
        short = [await scene.start_anonymous(caps=caps, idle=1000) for _ in range(3)]
        scene.later(1000)
        answer = await scene.create(scene.make.anonymous(), caps)
        assert answer.outcome is Making.CREATED
        assert {ended.session.key for ended in answer.evicted} == {session.key for session in short}
        assert {ended.reason for ended in answer.evicted} == {EndReason.EXPIRED}
        assert await scene.reap() == []


async def start_many(scene: Scene, count: int, caps: Caps = NO_CAPS) -> list[Session]:
    """Sessions named `0`, `1`, ... a millisecond apart."""
    made = []
    for number in range(count):
        made.append(await scene.start(str(number), caps=caps))
        scene.later(1)
    return made


async def names(scene: Scene) -> list[str]:
    return sorted(session.birth.name or "" for session in await scene.listed())
