"""What the contract asks of `move`: a session under a new id is the same session, and the old id is dead."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from sessionware.core.admission import Binding, Caps, Outcome
from sessionware.core.facts import SessionLimits
from sessionware.core.ids import SessionKey
from sessionware.core.ledger import Scope
from sessionware.core.session import EndReason, Proof, Session
from sessionware.core.store import Log, Move, Moved
from sessionware.errors import Conflict, SessionExists, SessionNotFound, SessionwareError, TooManySessions
from sessionware.testing.build import NO_CAPS
from sessionware.testing.contract.exam import Exam, at_once, law, raises
from sessionware.testing.contract.scene import Scene


class Moving(Exam):
    """Rotation and login."""

    @law
    async def test_what_a_session_is_moves_with_it(self, scene: Scene) -> None:
        work = await scene.start(None, idle=5000, absolute_at=scene.now + 9000, data=b"d", metadata=b"m")
        await scene.admit(work, candidate=Binding("tools", "a"))
        await scene.record(SessionLimits(work.key, {"calls": 5}))
        stored = await scene.read(work)
        scene.later(1000)
        moved = await rotate(scene, work)
        assert (moved.unlinked, moved.evicted) == ((), ())
        wanted = replace(stored, birth=moved.session.birth)
        assert moved.session.without_payload() == wanted.without_payload()
        assert moved.session.key != work.key
        assert await scene.get(moved.session) == wanted
        assert [session.key for session in await scene.listed()] == [moved.session.key]
        assert await scene.total() == 1

    @law
    async def test_the_old_id_is_dead_and_says_why(self, scene: Scene) -> None:
        """SES-11."""
        work = await scene.start(None)
        await rotate(scene, work)
        assert await scene.get(work) is None
        assert await scene.why_gone(work) is EndReason.ROTATED
        await raises(SessionNotFound, scene.update(work, data=b"late"))
        assert await scene.delete(work) is None

    @law
    async def test_a_move_is_not_an_end(self, scene: Scene) -> None:
        work = await scene.start(None)
        moved = await rotate(scene, work)
        scene.later(60_000)
        assert await scene.reap() == [], "observers would be told that the session ended"
        assert await scene.lives(moved.session)

    @law
    async def test_counters_logs_and_leases_move_too(self, scene: Scene) -> None:
        work, operation = await scene.start(None), scene.make.operation()
        spend = scene.make.spend(scope=Scope.SESSION, allowance=5, cost=4)
        await scene.admit(work, spends=(spend,), opens=True, operation=operation)
        await scene.store.append(work.key, Log.CONTEXT, b"hello", keep=10, now=scene.now)
        session = (await rotate(scene, work)).session
        assert await scene.outcome(session, spends=(spend,)) is Outcome.LIMITED, "a new id refilled a limit"
        assert await scene.store.tail(session.key, Log.CONTEXT, 5, now=scene.now) == [b"hello"]
        assert await scene.store.append(session.key, Log.CONTEXT, b"again", keep=10, now=scene.now) == 2
        full = await scene.create(scene.make.session("new"), Caps(per_owner=1))
        assert full.full == "owner", "the moved session is not open any more"

    @law
    async def test_a_level_is_held_by_the_moved_session(self, scene: Scene) -> None:
        caps = Caps(levels=(scene.make.level(allowance=1),))
        work = await scene.start(None, caps=caps)
        moved = await rotate(scene, work)
        assert moved.session.birth.holds == work.birth.holds
        assert (await scene.create(scene.make.session("new"), caps)).full == "MAX_SESSIONS"
        await scene.end(moved.session)
        await scene.start("new", caps=caps)

    @law
    async def test_links_move_while_the_tag_stays(self, scene: Scene) -> None:
        work = await scene.start(None)
        link = await scene.link(work, handshake=b"h")
        moved = await rotate(scene, work)
        assert moved.unlinked == ()
        assert (await scene.read(moved.session)).links == (replace(link, session=moved.session.key),)
        assert await scene.outcome(moved.session, link=link.key) is Outcome.ADMITTED
        (handed_back,) = (await scene.end(moved.session)).session.links
        assert handed_back.key == link.key

    @law
    async def test_links_end_when_the_tag_changes(self, scene: Scene) -> None:
        """Rule 20: a login moves to another partition, the legacy ids do not."""
        work = await scene.start_anonymous()
        link = await scene.link(work)
        moved = await login(scene, work)
        assert [each.key for each in moved.unlinked] == [link.key]
        assert (await scene.read(moved.session)).links == ()
        assert await scene.outcome(link=link.key, owner=moved.session.birth.owner) is Outcome.UNKNOWN

    @law
    async def test_a_login_changes_the_owner(self, scene: Scene) -> None:
        work = await scene.start_anonymous(data=b"cart")
        session = (await login(scene, work)).session
        found = await scene.read(session)
        assert (found.data, found.birth.owner, found.birth.proof) == (b"cart", scene.make.owner("alice"), Proof.TOKEN)
        assert await scene.outcome(session.key) is Outcome.UNKNOWN
        owned = await scene.listed(owner=session.birth.owner, bucket=session.key.bucket)
        assert [each.key for each in owned] == [session.key]
        assert await scene.total(owner=work.birth.owner, bucket=work.key.bucket) == 0

    @law
    async def test_a_login_meets_the_cap_of_its_new_owner(self, scene: Scene) -> None:
        work = await scene.start_anonymous()
        old = await scene.start("old", key=SessionKey(work.key.bucket, scene.make.key("old").hash))
        await refuses(scene, work, TooManySessions, caps=Caps(per_owner=1, evict=False))
        moved = await login(scene, work, caps=Caps(per_owner=1))
        assert [(ended.session.key, ended.reason) for ended in moved.evicted] == [(old.key, EndReason.EVICTED)]

    @law
    async def test_a_rotation_needs_no_room(self, scene: Scene) -> None:
        work = await scene.start(None)
        moved = await rotate(scene, work, caps=Caps(per_owner=1, evict=False))
        assert moved.evicted == ()

    @law
    async def test_a_stale_move_conflicts_and_changes_nothing(self, scene: Scene) -> None:
        work = await scene.start_anonymous()
        stands = await scene.update(work, data=b"new")
        error = await refuses(scene, work, Conflict)
        assert isinstance(error, Conflict)
        assert error.revision == stands.revision

    @law
    async def test_a_move_never_lands_on_a_live_session(self, scene: Scene) -> None:
        work, taken = await scene.start_anonymous(), await scene.start_anonymous()
        key = SessionKey(work.key.bucket, taken.key.hash)
        taken = await scene.start("taken", key=key, user="bob") if key != taken.key else taken
        await refuses(scene, work, SessionExists, key=key)
        assert await scene.lives(taken)

    @law
    async def test_what_is_gone_does_not_move(self, scene: Scene) -> None:
        ended, expired = await scene.start("ended"), await scene.start("expired", idle=1000)
        await scene.end(ended)
        scene.later(1000)
        for session in (ended, expired, scene.make.session("never")):
            await raises(SessionNotFound, rotate(scene, session))
            assert await scene.listed() == []

    @law
    async def test_ten_moves_of_one_session_make_one(self, scene: Scene) -> None:
        work = await scene.start(None)

        async def try_to(_: int) -> bool:
            try:
                await rotate(scene, work)
            except (SessionNotFound, Conflict):
                return False
            return True

        assert (await at_once(10, try_to)).count(True) == 1
        assert await scene.total() == 1

    @law
    async def test_a_move_stays_in_its_bucket(self, scene: Scene) -> None:
        work = await scene.start_anonymous()
        elsewhere = SessionKey(work.key.bucket + 1, scene.make.key_beside(work.key).hash)
        birth = replace(work.birth, key=elsewhere)
        await raises(ValueError, scene.store.move(Move(work.key, birth, work.revision), now=scene.now))
        assert await scene.get(work) == work


async def rotate(scene: Scene, session: Session, *, caps: Caps = NO_CAPS) -> Moved:
    """Give the session a new id in its owner's partition."""
    birth = replace(session.birth, key=scene.make.key_beside(session.key), holds=())
    found = await scene.get(session)
    revision = found.revision if found is not None else session.revision
    return await scene.store.move(Move(session.key, birth, revision, caps), now=scene.now)


async def login(scene: Scene, session: Session, *, caps: Caps = NO_CAPS, **fields: Any) -> Moved:
    """Give an anonymous session to alice, as if her partition lay in the same bucket."""
    alices = scene.make.session(None, user="alice", **{"key": scene.make.key_beside(session.key), **fields}).birth
    return await scene.store.move(Move(session.key, alices, session.revision, caps), now=scene.now)


async def refuses(scene: Scene, session: Session, kind: type[SessionwareError], **fields: Any) -> SessionwareError:
    """A login that fails and leaves the session where it is."""
    before = await scene.get(session)
    error = await raises(kind, login(scene, session, **fields))
    assert await scene.get(session) == before
    assert await scene.total(owner=session.birth.owner, bucket=session.key.bucket) == 1
    return error
