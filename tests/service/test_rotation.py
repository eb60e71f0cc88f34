"""Another id for the same session: rotated, handed over, adopted; in one bucket and between two."""

import asyncio
import secrets

import pytest

from sessionware.core.identity import Claims, prove
from sessionware.core.ids import SALT_BYTES, Addresses
from sessionware.core.session import EndReason, Proof
from sessionware.errors import InvalidValue, PermissionDenied, SessionNotFound, StoreUnavailable, TooManySessions
from sessionware.service import Actor, rotation
from sessionware.service.refusals import SessionDead
from sessionware.stores.memory import MemoryStore
from sessionware.testing import Fault, ManualClock
from tests.service.scene import in_scene

LIMITS = "100 tokens/hour per session"


def login(s, user="alice"):
    claims = Claims(issuer="login:", user_id=user, proof=Proof.ID)
    return prove(claims, addresses=s.store.addresses)


class Buckets(MemoryStore):
    """A memory store that keeps 256 buckets apart, as Redis Cluster does."""

    def __init__(self):
        super().__init__(clock=ManualClock())
        self.addresses = Addresses(secrets.token_bytes(SALT_BYTES), 256)


async def lived_in(s):
    """An anonymous session with everything that a session can have."""
    made = await s.sessions.start(by=s.stranger(), data={"cart": [1]}, metadata={"m": 1})
    holder = s.holder(made)
    await s.sessions.append_context(made.id, {"text": "hello"}, by=holder)
    await s.sessions.spend(made.id, by=holder, tokens=30)
    return made, (await s.sessions.get(made.id, by=holder)).record


async def check_moved(s, moved, old_id, record):
    """The new id has it all, the old one is dead and says why."""
    bearer = Actor(presented=None, client="192.0.2.1")
    found = await s.sessions.status(moved.id, by=bearer)
    assert (found.data, found.metadata) == ({"cart": [1]}, {"m": 1})
    assert found.record.absolute_at == record.absolute_at
    assert [each["text"] for each in await s.sessions.last_context(moved.id, by=bearer)] == ["hello"]
    assert (await s.sessions.usage(moved.id, by=bearer))["tokens"]["used"] == 30
    with pytest.raises(SessionDead) as gone:
        await s.sessions.get(old_id, by=bearer)
    assert gone.value.reason is EndReason.ROTATED


@in_scene(limits=LIMITS)
async def test_ses11_a_rotated_session_keeps_everything_but_its_id(s):
    """SES-11."""
    made, record = await lived_in(s)
    moved = await s.sessions.rotate(made.id, by=s.holder(made))
    assert moved.id != made.id
    assert moved.id[:12] == made.id[:12]
    await check_moved(s, moved, made.id, record)
    assert s.witness.ends == []  # nothing has ended


@in_scene()
async def test_a_name_is_no_secret_and_stays(s):
    await s.sessions.start("work", by=s.actor())
    assert (await s.sessions.rotate("work", by=s.actor())).id == "work"


@in_scene(limits=LIMITS)
async def test_a_login_hands_the_session_over_in_the_users_name(s):
    made, record = await lived_in(s)
    s.clock.advance(1000)
    moved = await rotation.hand_over(s.runtime, record, login(s))
    assert (moved.session.birth.user_id, moved.session.birth.created_at) == ("alice", s.clock.now())
    assert moved.id.startswith("u")
    await check_moved(s, moved, made.id, record)


@in_scene()
async def test_who_logs_in_is_somebody(s):
    made = await s.sessions.start(by=s.stranger())
    with pytest.raises(InvalidValue, match="invalid user ID"):
        await rotation.login(s.runtime, made.session.record, "")
    moved = await rotation.login(s.runtime, made.session.record, "alice", org_id="acme", groups=("pro",))
    birth = moved.session.birth
    assert (birth.user_id, birth.org_id, birth.groups, birth.proof) == ("alice", "acme", ("pro",), Proof.ID)


@in_scene(limits=LIMITS)
async def test_a_login_that_keeps_no_data_starts_clean(s):
    _, record = await lived_in(s)
    moved = await rotation.hand_over(s.runtime, record, login(s), keep_data=False)
    found = await s.sessions.get(moved.id, by=s.stranger())
    assert (found.data, found.metadata, moved.session.data) == ({}, {}, b"")


@in_scene()
async def test_a_login_that_wipes_and_fails_leaves_the_session_as_it_was(s):
    """What one user has left is never shown to another: the emptied copy goes."""
    made = await s.sessions.start(by=s.stranger(), data={"secret": 1})
    s.store.on("delete", Fault.REFUSED)
    with pytest.raises(StoreUnavailable):
        await rotation.hand_over(s.runtime, made.session.record, login(s), keep_data=False)
    assert await s.sessions.count(everyone=True) == 1
    assert (await s.sessions.get(made.id, by=s.holder(made))).data == {"secret": 1}


@in_scene(max_sessions_per_user=2, on_user_full="refuse")
async def test_a_full_user_cannot_log_in_and_the_session_stays(s):
    identity = login(s)
    for _ in range(2):
        await s.sessions.start(by=Actor(identity=identity))
    made = await s.sessions.start(by=s.stranger())
    with pytest.raises(TooManySessions):
        await rotation.hand_over(s.runtime, made.session.record, identity)
    assert (await s.sessions.get(made.id, by=s.holder(made))).id == made.id


@in_scene()
async def test_a_login_after_the_user_was_revoked_lives(s):
    """An older anonymous session that logs in counts as made at the login."""
    made = await s.sessions.start(by=s.stranger())
    s.clock.advance(10)
    await s.sessions.revoke(user="alice", iss="login:")
    s.clock.advance(10)
    moved = await rotation.hand_over(s.runtime, made.session.record, login(s))
    assert (await s.sessions.get(moved.id, by=s.stranger())).user_id == "alice"


@in_scene(limits=LIMITS)
async def test_an_anonymous_session_is_adopted_by_a_proved_identity(s):
    made, _ = await lived_in(s)
    alice = s.actor()
    moved = await s.sessions.adopt(made.id, by=alice)
    assert (moved.user_id, moved.data) == ("alice", {"cart": [1]})
    assert (await s.sessions.get(moved.id, by=alice)).id == moved.id
    with pytest.raises(SessionNotFound):
        await s.sessions.get(moved.id, by=s.stranger())  # it is proved by the token from now on


@in_scene()
async def test_only_what_is_nobodys_can_be_adopted(s):
    made = await s.sessions.start(by=Actor(identity=login(s, "bob")))
    with pytest.raises(PermissionDenied):
        await s.sessions.adopt(made.id, by=s.actor())
    anonymous = await s.sessions.start(by=s.stranger())
    with pytest.raises(PermissionDenied):
        await s.sessions.adopt(anonymous.id, by=s.stranger())


@in_scene()
async def test_a_rotation_that_meets_another_writer_begins_again(s):
    made = await s.sessions.start(by=s.stranger())
    gate = s.store.hold("move")
    rotating = asyncio.create_task(s.sessions.rotate(made.id, by=s.holder(made)))
    await gate.reached.wait()
    await s.sessions.update(made.id, lambda _: {"late": 1}, by=s.holder(made))
    gate.open()
    moved = await rotating
    assert moved.data == {"late": 1}


def across(**how):
    return in_scene(store=Buckets(), **how)


def test_between_buckets_the_session_is_copied_with_all_that_is_in_it():
    """Store rule 20."""

    @across(limits=LIMITS)
    async def story(s):
        made, record = await lived_in(s)
        identity = next(
            login(s, user) for user in "abcdefgh" if s.store.addresses.bucket(login(s, user).tag) != record.key.bucket
        )
        moved = await rotation.hand_over(s.runtime, record, identity)
        assert s.store.calls["move"] == 0
        await check_moved(s, moved, made.id, record)
        assert s.witness.ends == []

    story()


@pytest.mark.parametrize("method", ["append", "delete", "tail"])
def test_between_buckets_a_failure_leaves_the_original_and_nothing_else(method):
    @across()
    async def story(s):
        made, record = await lived_in_plain(s)
        identity = next(
            login(s, user) for user in "abcdefgh" if s.store.addresses.bucket(login(s, user).tag) != record.key.bucket
        )
        s.store.on(method, Fault.REFUSED)
        with pytest.raises(StoreUnavailable):
            await rotation.hand_over(s.runtime, record, identity)
        assert (await s.sessions.get(made.id, by=s.holder(made))).id == made.id
        assert await s.sessions.count() == 1

    story()


async def lived_in_plain(s):
    made = await s.sessions.start(by=s.stranger())
    await s.sessions.append_context(made.id, {"text": "hello"}, by=s.holder(made))
    return made, (await s.sessions.get(made.id, by=s.holder(made))).record


def test_between_buckets_a_late_write_is_not_lost():
    @across()
    async def story(s):
        made, record = await lived_in_plain(s)
        identity = next(
            login(s, user) for user in "abcdefgh" if s.store.addresses.bucket(login(s, user).tag) != record.key.bucket
        )
        gate = s.store.hold("append")
        moving = asyncio.create_task(rotation.hand_over(s.runtime, record, identity))
        await gate.reached.wait()
        await s.sessions.update(made.id, lambda _: {"late": 1}, by=s.holder(made))
        gate.open()
        moved = await moving
        assert (await s.sessions.get(moved.id, by=s.stranger())).data == {"late": 1}

    story()
