"""What the contract asks of a session's life: when it is gone, and what keeps it alive."""

from __future__ import annotations

from sessionware.core.admission import Caps, Outcome
from sessionware.core.facts import Touched
from sessionware.core.session import EndReason
from sessionware.core.store import Log, Making
from sessionware.errors import SessionNotFound
from sessionware.testing.contract.exam import Exam, law, raises
from sessionware.testing.contract.scene import Scene

MINUTE = 60_000
DAY = 86_400_000


class Lives(Exam):
    """Idle, absolute and endless lives, and no resurrection."""

    @law
    async def test_an_idle_session_is_gone_at_its_instant_before_any_sweep(self, scene: Scene) -> None:
        """A20, C1, C2."""
        work = await scene.start(idle=MINUTE)
        scene.later(MINUTE - 1)
        assert await scene.lives(work), "it died a millisecond early"
        scene.later(1)
        assert await scene.get(work) is None, "it was served after its idle time, because nobody swept"

    @law
    async def test_use_begins_the_idle_time_anew(self, scene: Scene) -> None:
        """C9."""
        work = await scene.start(idle=2000)
        for _ in range(5):
            scene.later(1000)
            assert await scene.outcome(work) is Outcome.ADMITTED
        scene.later(2000)
        assert await scene.outcome(work) is Outcome.UNKNOWN

    @law
    async def test_use_never_extends_a_life_past_its_absolute_end(self, scene: Scene) -> None:
        """SES-07, C9."""
        work = await scene.start(idle=2000, absolute_at=scene.now + 5000)
        for _ in range(4):
            scene.later(1000)
            assert await scene.outcome(work) is Outcome.ADMITTED
        assert (await scene.read(work)).expires_at == work.absolute_at
        scene.later(999)
        assert await scene.lives(work)
        scene.later(1)
        assert await scene.outcome(work) is Outcome.UNKNOWN

    @law
    async def test_a_session_without_limits_of_time_lives_on(self, scene: Scene) -> None:
        """C7."""
        work = await scene.start(idle=0)
        scene.later(3650 * DAY)
        assert await scene.reap() == []
        assert await scene.outcome(work) is Outcome.ADMITTED

    @law
    async def test_a_session_without_idle_time_dies_at_its_absolute_end(self, scene: Scene) -> None:
        work = await scene.start(idle=0, absolute_at=scene.now + DAY)
        scene.later(DAY - 1)
        assert await scene.outcome(work) is Outcome.ADMITTED
        scene.later(1)
        assert await scene.get(work) is None

    @law
    async def test_reading_does_not_keep_a_session_alive(self, scene: Scene) -> None:
        """A31 at the store: looking is not using."""
        work = await scene.start(idle=2000)
        scene.later(1000)
        assert await scene.get(work) == work
        await scene.page()
        await scene.admit(work, touch=False)
        assert await scene.get(work) == work

    @law
    async def test_nothing_brings_an_expired_session_back(self, scene: Scene) -> None:
        """SES-08: neither a late touch nor a late save."""
        work = await scene.start(idle=2000)
        link = await scene.link(work)
        used_at = scene.later(1999)
        scene.later(1)
        key, store, now = work.key, scene.store, scene.now
        assert await scene.record(Touched(key, used_at, 1)) == [False]
        assert await scene.outcome(work) is Outcome.UNKNOWN
        assert await scene.outcome(work, link=link.key) is Outcome.UNKNOWN
        await raises(SessionNotFound, scene.update(work, data=b"late"))
        await raises(SessionNotFound, store.rebind(key, pool="tools", was=None, to="a", now=now))
        await raises(SessionNotFound, store.link(link, operation=scene.make.operation(), now=now))
        await raises(SessionNotFound, store.append(key, Log.CONTEXT, b"late", keep=10, now=now))
        await raises(SessionNotFound, store.tail(key, Log.CONTEXT, 1, now=now))
        assert await store.unlink(link.key, now=now) is None
        assert await scene.delete(work) is None
        assert await scene.get(work) is None

    @law
    async def test_an_expired_session_makes_room_for_its_name_and_is_handed_over(self, scene: Scene) -> None:
        old = await scene.start("work", idle=2000, data=b"old")
        scene.later(2000)
        anew = scene.make.session("work", data=b"new")
        made = await scene.create(anew)
        assert made.outcome is Making.CREATED
        assert [(ended.session.key, ended.reason) for ended in made.evicted] == [(old.key, EndReason.EXPIRED)]
        assert await scene.get(anew) == anew
        assert await scene.reap() == [], "the old session ended twice"

    @law
    async def test_an_expired_session_makes_room_for_a_template_and_is_handed_over(self, scene: Scene) -> None:
        old = await scene.start("work", idle=2000)
        scene.later(2000)
        anew = scene.make.session("work", idle=5000)
        answer = await scene.admit(anew, new=scene.make.new(anew))
        assert (answer.outcome, answer.is_new) == (Outcome.ADMITTED, True)
        assert [(ended.session.key, ended.reason) for ended in answer.evicted] == [(old.key, EndReason.EXPIRED)]
        assert (await scene.read(anew)).idle == 5000

    @law
    async def test_a_lagging_clock_takes_nothing_back(self, scene: Scene) -> None:
        work = await scene.start(idle=MINUTE)
        early = scene.now
        scene.later(30_000)
        await scene.admit(work)
        fresh = await scene.read(work)
        answer = await scene.store.admit(scene.make.ask(work).at(early))
        assert answer.outcome is Outcome.ADMITTED
        assert answer.session is not None
        assert (answer.session.seen_at, answer.session.expires_at) == (fresh.seen_at, fresh.expires_at)
        assert await scene.record(Touched(work.key, early, 1)) == [True]
        written = await scene.store.update(await scene.read(work), now=early)
        assert (written.seen_at, written.expires_at) == (fresh.seen_at, fresh.expires_at)
        after = await scene.read(work)
        assert (after.seen_at, after.expires_at, after.hits) == (fresh.seen_at, fresh.expires_at, 3)

    @law
    async def test_a_lifetime_that_is_set_counts_from_now(self, scene: Scene) -> None:
        """C6: set to an hour, the session expires in an hour."""
        work = await scene.start(idle=MINUTE)
        scene.later(1000)
        longer = await scene.update(work, idle=60 * MINUTE)
        assert longer.expires_at == scene.now + 60 * MINUTE
        scene.later(60 * MINUTE - 1)
        assert await scene.lives(work)
        scene.later(1)
        assert await scene.get(work) is None

    @law
    async def test_a_lifetime_that_is_shortened_ends_sooner_and_is_swept_then(self, scene: Scene) -> None:
        work = await scene.start(idle=60 * MINUTE)
        await scene.update(work, idle=1000)
        scene.later(1000)
        assert await scene.get(work) is None
        assert [ended.session.key for ended in await scene.reap()] == [work.key]

    @law
    async def test_a_lifetime_can_be_made_endless(self, scene: Scene) -> None:
        """C7."""
        work = await scene.start(idle=1000, absolute_at=scene.now + 5000)
        await scene.update(work, idle=0, absolute_at=0)
        scene.later(3650 * DAY)
        assert await scene.reap() == []
        assert await scene.lives(work)

    @law
    async def test_expired_sessions_do_not_stand_in_the_way_of_a_cap(self, scene: Scene) -> None:
        caps = Caps(per_owner=2, evict=False)
        for name in ("one", "two"):
            await scene.start(name, caps=caps, idle=2000)
        scene.later(2000)
        for name in ("three", "four"):
            await scene.start(name, caps=caps, idle=2000)
        assert {session.birth.name for session in await scene.listed()} == {"three", "four"}
