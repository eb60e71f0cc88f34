"""Pinged, changed, closed: what happens to a session while it lives."""

import asyncio

import pytest

from sessionware.core.session import EndReason
from sessionware.errors import Conflict, InvalidValue, PayloadTooLarge, PermissionDenied, SessionNotFound
from sessionware.service.refusals import SessionDead
from sessionware.testing import Fault
from tests.service.scene import in_scene


@in_scene()
async def test_a17_c24_a_ping_begins_the_idle_time_anew_and_changes_nothing_else(s):
    """A17, C24, B3, B9."""
    made = await s.sessions.start("work", by=s.actor(), ttl=10)
    s.clock.advance(9_000)
    pinged = await s.sessions.ping("work", by=s.actor())
    assert pinged.record.seen_at == s.clock.now()
    assert pinged.record.expires_at == s.clock.now() + 10_000
    assert pinged.revision == made.session.revision


@in_scene()
async def test_a31_looking_at_a_session_keeps_nothing_alive(s):
    """A31, D17."""
    made = await s.sessions.start("work", by=s.actor())
    s.clock.advance(1_000)
    seen = await s.sessions.status("work", by=s.actor())
    assert seen.record == made.session.record


@in_scene(session_max_age=5_000)
async def test_c9_ses07_no_ping_passes_the_absolute_age(s):
    """C9, SES-07."""
    await s.sessions.start("work", by=s.actor(), ttl=2)
    for _ in range(4):
        s.clock.advance(1_000)
        await s.sessions.ping("work", by=s.actor())
    s.clock.advance(1_000)
    with pytest.raises(SessionNotFound):
        await s.sessions.ping("work", by=s.actor())


@in_scene()
async def test_a18_a_close_says_how_long_it_was_and_the_second_one_finds_nothing(s):
    """A18, B10, A42, C4."""
    await s.sessions.start("work", by=s.actor())
    s.clock.advance(1_815_000 - 60_000)
    await s.sessions.ping("work", by=s.actor())
    s.clock.advance(60_000)
    closed = await s.sessions.close("work", by=s.actor())
    assert (closed.duration, closed.duration_ms, closed.total_requests) == ("30m15s", 1_815_000, 1)
    with pytest.raises(SessionDead) as gone:
        await s.sessions.close("work", by=s.actor())
    assert gone.value.reason is EndReason.ENDED


@in_scene()
async def test_d20_of_ten_who_close_at_once_exactly_one_does_and_observers_hear_once(s):
    """D20, B11, ASVS."""
    await s.sessions.start("work", by=s.actor())
    answers = await asyncio.gather(*[s.sessions.close("work", by=s.actor()) for _ in range(10)], return_exceptions=True)
    assert sum(isinstance(each, SessionNotFound) for each in answers) == 9
    assert [reason for _, reason in s.witness.ends] == [EndReason.ENDED]


@in_scene()
async def test_c6_a_new_ttl_counts_from_now(s):
    """C6."""
    await s.sessions.start("work", by=s.actor())
    s.clock.advance(1_000)
    found = await s.sessions.set_ttl("work", 3600, by=s.actor())
    assert found.record.expires_at == s.clock.now() + 3_600_000


@in_scene()
async def test_c7_only_an_administrator_lifts_the_idle_time_and_the_absolute_age_stays(s):
    """C7."""
    made = await s.sessions.start("work", by=s.actor(), ttl=1)
    with pytest.raises(PermissionDenied):
        await s.sessions.set_ttl("work", None, by=s.actor())
    with pytest.raises(InvalidValue):
        await s.sessions.set_ttl("work", 86_401, by=s.actor())
    await s.sessions.set_ttl(made.session.handle, None, by=s.admin())
    s.clock.advance(3_000)
    assert (await s.sessions.get("work", by=s.actor())).record.expires_at == made.session.record.absolute_at


@in_scene(session_max_ttl=0)
async def test_c7_without_a_maximum_everybody_may_lift_it(s):
    """C7."""
    await s.sessions.start("work", by=s.actor())
    assert (await s.sessions.set_ttl("work", None, by=s.actor())).record.idle == 0


@in_scene()
async def test_c3_many_writers_of_one_counter_lose_nothing(s):
    """C3, A39, SES-18."""
    alice = s.actor()
    await s.sessions.start("work", by=alice)

    def more(data):
        data["n"] = data.get("n", 0) + 1

    await asyncio.gather(*[s.sessions.update("work", more, by=alice) for _ in range(200)])
    assert (await s.sessions.get("work", by=alice)).data == {"n": 200}


@in_scene()
async def test_c3_an_edit_that_fails_changes_nothing(s):
    """C3."""
    await s.sessions.start("work", by=s.actor(), data={"n": 1})

    def fail(data):
        data["n"] = 2
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await s.sessions.update("work", fail, by=s.actor())
    assert (await s.sessions.get("work", by=s.actor())).data == {"n": 1}


@in_scene()
async def test_c24_an_identity_update_moves_activity_and_revision_only(s):
    """C24."""
    made = await s.sessions.start("work", by=s.actor(), data={"n": 1})
    s.clock.advance(5)
    after = await s.sessions.update("work", lambda data: data, by=s.actor())
    assert (after.data, after.revision) == ({"n": 1}, made.session.revision + 1)
    assert after.record.seen_at == s.clock.now()


@in_scene()
async def test_metadata_is_replaced_only_at_the_revision_that_was_seen(s):
    made = await s.sessions.start("work", by=s.actor(), metadata={"a": 1})
    changed = await s.sessions.set_metadata("work", lambda old: old | {"b": 2}, by=s.actor(), revision=1)
    assert changed.metadata == {"a": 1, "b": 2}
    with pytest.raises(Conflict) as conflict:
        await s.sessions.set_metadata("work", lambda _: {}, by=s.actor(), revision=made.session.revision)
    assert conflict.value.revision == changed.revision
    with pytest.raises(PayloadTooLarge):
        await s.sessions.set_metadata("work", lambda _: {"a": "x" * 70_000}, by=s.actor())


@in_scene(max_context=1000)
async def test_b4_b5_b44_the_newest_messages_stay_each_with_its_instant(s):
    """B4, B5, B44, E10."""
    alice = s.actor()
    await s.sessions.start("work", by=alice)
    for number in range(1001):
        await s.sessions.append_context("work", {"n": number, "timestamp": "forged"}, by=alice)
    every = await s.sessions.last_context("work", by=alice)
    assert (len(every), every[0]["n"]) == (1000, 1)
    assert every[0]["timestamp"] == "2027-01-15T08:00:00Z"
    assert [each["n"] for each in await s.sessions.last_context("work", 2, by=alice)] == [999, 1000]
    assert await s.sessions.last_context("work", 0, by=alice) == []
    with pytest.raises(InvalidValue):
        await s.sessions.last_context("work", -1, by=alice)
    with pytest.raises(PayloadTooLarge):
        await s.sessions.append_context("work", {"text": "x" * 70_000}, by=alice)
    with pytest.raises(InvalidValue, match="cannot be kept"):
        await s.sessions.append_context("work", {"n": object()}, by=alice)


@in_scene()
async def test_b43_the_conversations_of_two_users_are_apart(s):
    """B43, E6."""
    for user in ("alice", "bob"):
        await s.sessions.start("chat", by=s.actor(user))
        await s.sessions.append_context("chat", {"from": user}, by=s.actor(user))
    assert [each["from"] for each in await s.sessions.last_context("chat", by=s.actor("bob"))] == ["bob"]


@in_scene()
async def test_e9_an_interrupt_is_told_to_every_worker_and_ends_nothing(s):
    """E9."""
    made = await s.sessions.start("work", by=s.actor())
    watching = s.store.watch()
    told = []

    async def hear():
        async for event in watching:
            told.append(event)
            if getattr(event, "key", None) == made.session.record.key:
                return

    hearing = asyncio.create_task(hear())
    await asyncio.wait([hearing], timeout=0)
    await s.sessions.interrupt("work", by=s.actor())
    await asyncio.wait_for(hearing, 1)
    assert (await s.sessions.get("work", by=s.actor())).id == "work"


@in_scene()
async def test_d16_c8_a_cleanup_removes_the_expired_and_the_long_idle_once(s):
    """D16, C8."""
    for name in ("a", "b", "c"):
        await s.sessions.start(name, by=s.actor(), ttl=1)
    s.clock.advance(1_000)
    assert len(await s.sessions.cleanup()) == 3
    assert await s.sessions.cleanup() == []
    idle = await s.sessions.start("idle", by=s.actor())
    s.clock.advance(60_000)
    await s.sessions.start("busy", by=s.actor())
    assert await s.sessions.cleanup(idle_seconds=60) == [idle.session.handle]
    with pytest.raises(InvalidValue):
        await s.sessions.cleanup(idle_seconds=-1)


@in_scene()
async def test_a_lost_acknowledgement_harms_nothing(s):
    """Ends are told at least once, and this worker tells them once."""
    await s.sessions.start("work", by=s.actor())
    s.store.on("record", Fault.REFUSED)
    await s.sessions.close("work", by=s.actor())
    assert len(s.witness.ends) == 1
    s.clock.advance(60_000)
    await s.sessions.cleanup()
    assert len(s.witness.ends) == 1
