"""An app's data: what counts as a change, and how it meets another writer's."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionware.core.payload import pack, unpack
from sessionware.errors import Conflict, PayloadTooLarge, SessionNotFound
from sessionware.service.data import RESERVED_KEY, SAVE_TRIES, SessionData, edited, reserved, save, with_reserved
from tests.service.scene import in_scene


def packed(**values):
    return pack(values, what="data", at_most=10**6)


def test_reading_changes_nothing():
    data = SessionData(packed(a={"b": [1]}, c=2))
    assert (data["a"], data.get("x"), "c" in data, len(data), dict(data)) == (
        {"b": [1]}, None, True, 2, {"a": {"b": [1]}, "c": 2},
    )  # fmt: skip
    assert data.changes() is None


def test_a_nested_change_is_noticed():
    data = SessionData(packed(a={"b": [1]}, c=2))
    data["a"]["b"].append(2)
    changes = data.changes()
    assert changes is not None
    assert set(changes.written) == {"a"}
    assert unpack(changes.applied(packed(a={"b": [1]}, c=2))[0]) == {"a": {"b": [1, 2]}, "c": 2}


def test_a_value_put_back_as_it_was_is_no_change():
    data = SessionData(packed(a=1))
    data["a"] = 2
    data["a"] = 1
    assert data.changes() is None
    del data["a"]
    data["a"] = 1
    assert data.changes() is None


def test_a_key_that_is_gone_is_gone_for_every_reader():
    data = SessionData(packed(a=1, b=2))
    del data["a"]
    assert ("a" in data, list(data)) == (False, ["b"])
    with pytest.raises(KeyError):
        data["a"]
    with pytest.raises(KeyError):
        del data["a"]
    changes = data.changes()
    assert changes is not None
    assert changes.removed == {"a"}


def test_what_is_ours_in_the_data_is_neither_seen_nor_lost():
    kept = with_reserved(packed(a=1), {"token": b"h"})
    data = SessionData(kept)
    assert dict(data) == {"a": 1}
    data.clear()
    data["b"] = 2
    changes = data.changes()
    assert changes is not None
    after, _ = changes.applied(kept)
    assert (reserved(after), unpack(after)["b"], "a" in unpack(after)) == ({"token": b"h"}, 2, False)
    with pytest.raises(ValueError, match="reserved"):
        data[RESERVED_KEY] = 1
    assert reserved(edited(kept, lambda _: {}, at_most=100)) == {"token": b"h"}
    with pytest.raises(ValueError, match="reserved"):
        edited(kept, lambda _: {RESERVED_KEY: 1}, at_most=100)


@pytest.mark.parametrize("value", [object(), 2**70, "\ud800"])
def test_what_cannot_be_kept_is_an_error_that_names_the_key(value):
    data = SessionData()
    data["odd"] = value
    with pytest.raises(TypeError, match="'odd'"):
        data.changes()


def test_keys_are_text():
    with pytest.raises(TypeError, match="text"):
        SessionData()[1] = 1  # type: ignore[index]


def test_ses17_data_over_its_cap_or_too_deep_is_refused_whole():
    """SES-17."""
    data = SessionData()
    data["a"] = "x" * 100
    changes = data.changes()
    assert changes is not None
    with pytest.raises(PayloadTooLarge):
        changes.applied(b"", at_most=50)
    deep: dict[str, object] = {}
    for _ in range(40):
        deep = {"d": deep}
    data["a"] = deep
    with pytest.raises(PayloadTooLarge, match="nests deeper"):
        data.changes()


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_maps = st.dictionaries(st.text(max_size=3).filter(lambda key: key != RESERVED_KEY), _values, max_size=4)


@given(_maps)
def test_reading_everything_is_never_a_change(values):
    data = SessionData(pack(values, what="data", at_most=10**6))
    assert msgspec.msgpack.encode(dict(data)) == msgspec.msgpack.encode(values)
    assert data.changes() is None


@given(_maps, _maps)
def test_changes_lead_from_one_map_to_the_other(before, after):
    stored = pack(before, what="data", at_most=10**6)
    data = SessionData(stored)
    data.clear()
    data.update(after)
    changes = data.changes()
    made = stored if changes is None else changes.applied(stored)[0]
    assert sorted(unpack(made)) == sorted(after)
    assert {key: msgspec.msgpack.encode(value) for key, value in unpack(made).items()} == {
        key: msgspec.msgpack.encode(value) for key, value in after.items()
    }


@in_scene()
async def test_two_writers_of_different_keys_both_stay(s):
    """Store rule 22."""
    made = await s.sessions.start("work", by=s.actor(), data={"a": 1})
    record = made.session.record
    ours, theirs = SessionData(record.data), SessionData(record.data)
    ours["mine"] = 1
    theirs["theirs"] = 2
    await save(s.store, record, theirs, now=s.clock.now())
    saved = await save(s.store, record, ours, now=s.clock.now())
    assert saved.overwritten == 0
    assert unpack(saved.session.data or b"") == {"a": 1, "mine": 1, "theirs": 2}
    assert (await s.sessions.get("work", by=s.actor())).data == {"a": 1, "mine": 1, "theirs": 2}


@in_scene()
async def test_a_key_that_both_wrote_is_the_last_writers_and_counted(s):
    made = await s.sessions.start("work", by=s.actor(), data={"a": 1, "b": 1})
    record = made.session.record
    ours, theirs = SessionData(record.data), SessionData(record.data)
    ours["a"], ours["b"] = "ours", 5
    theirs["a"], theirs["b"] = "theirs", 5
    await save(s.store, record, theirs, now=s.clock.now())
    saved = await save(s.store, record, ours, now=s.clock.now())
    assert (unpack(saved.session.data or b"")["a"], saved.overwritten) == ("ours", 1)  # both wrote the same b


@in_scene()
async def test_a_stale_value_that_the_app_only_holds_is_never_written_back(s):
    made = await s.sessions.start("work", by=s.actor(), data={"held": {"n": 1}, "mine": 0})
    record = made.session.record
    ours, theirs = SessionData(record.data), SessionData(record.data)
    held = ours["held"]
    theirs["held"] = {"n": 2}
    ours["mine"] = 1
    await save(s.store, record, theirs, now=s.clock.now())
    saved = await save(s.store, record, ours, now=s.clock.now())
    assert ours.changes() is None
    held["n"] = 9  # the app goes on changing what it holds: that is a change
    again = await save(s.store, saved.session, ours, now=s.clock.now())
    assert unpack(again.session.data or b"") == {"held": {"n": 9}, "mine": 1}


@in_scene()
async def test_a_clean_session_asks_the_store_nothing(s):
    made = await s.sessions.start("work", by=s.actor(), data={"a": 1})
    asked = s.store.calls.total()
    data = SessionData(made.session.record.data)
    assert data["a"] == 1
    await save(s.store, made.session.record, data, now=s.clock.now())
    assert s.store.calls.total() == asked


@in_scene()
async def test_an_ended_session_is_never_made_again_by_a_save(s):
    made = await s.sessions.start("work", by=s.actor())
    await s.sessions.close("work", by=s.actor())
    data = SessionData()
    data["a"] = 1
    with pytest.raises(SessionNotFound):
        await save(s.store, made.session.record, data, now=s.clock.now())


@in_scene()
async def test_a_save_that_loses_every_race_gives_up(s):
    made = await s.sessions.start("work", by=s.actor())
    data = SessionData()
    data["a"] = 1
    gates = [s.store.hold("update", after=number) for number in range(0, 2 * SAVE_TRIES, 2)]

    async def race():
        for gate in gates:
            await gate.reached.wait()
            await s.sessions.update("work", lambda found: {"n": found.get("n", 0) + 1}, by=s.actor())
            gate.open()

    racing = asyncio.create_task(race())
    with pytest.raises(Conflict):
        await save(s.store, made.session.record, data, now=s.clock.now())
    await racing


@in_scene()
async def test_an_update_that_lost_a_race_runs_again_on_the_newer_data(s):
    """C3."""
    made = await s.sessions.start("work", by=s.actor(), data={"n": 0})
    gate = s.store.hold("update")
    slow = asyncio.create_task(s.sessions.update("work", lambda found: {"n": found["n"] + 1}, by=s.actor()))
    await gate.reached.wait()
    data = SessionData(made.session.record.data)
    data["n"] = 10
    await save(s.store, made.session.record, data, now=s.clock.now())
    gate.open()
    assert (await slow).data == {"n": 11}
