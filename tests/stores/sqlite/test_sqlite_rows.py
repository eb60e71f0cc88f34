"""One bad row, one bad argument: what cannot be read or asked hits nobody else, and does not come back for ever."""

import asyncio
import os
import sqlite3
import threading

import pytest

from sessionware.core.admission import Caps, Level, Outcome
from sessionware.core.facts import Gap, OwnerRevocation, SessionGone
from sessionware.core.session import EndReason
from sessionware.core.store import CLAIM_MS, REAP_MAX, Log, Query
from sessionware.errors import ConfigError, PayloadUnreadable, StoreUnavailable
from sessionware.stores.sqlite import SqliteStore
from sessionware.testing import Maker, ManualClock
from tests.stores.sqlite.test_sqlite_faults import open_files
from tests.stores.sqlite.workers import PATIENCE_MS

HOUR_MS = 3_600_000
NAMES = ("one", "two", "three")
BAD = (b"\xff", b"\x93\xc1", b"\xa1\xff", "text", 7)


def store_at(path, clock=None):
    return SqliteStore(path, clock=clock or ManualClock(), timeout_ms=PATIENCE_MS)


async def create(store, session, caps=Caps()):  # noqa: B008  # frozen
    make = Maker.of(store)
    await store.create(make.new(session, caps), operation=os.urandom(16), now=make.now)
    return session


async def in_file(path, statement, *values):
    """Do something to the file behind the store's back."""

    def act():
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    return await asyncio.to_thread(act)


def threads():
    return [thread.name for thread in threading.enumerate() if "session store" in thread.name]


def names_of(sessions):
    return [session.birth.name for session in sessions]


# ---------------------------------------------------------------------- a row that cannot be read


async def spoil(path, key, column="birth", bad=b"\xff"):
    await in_file(path, f"UPDATE sessions SET {column} = ? WHERE hash = ?", bad, key.hash)


@pytest.mark.parametrize(
    ("column", "bad"),
    [("birth", b"")] + [(column, bad) for column in ("birth", "counters", "bindings") for bad in BAD],
)
def test_a_session_that_cannot_be_read_hides_no_other_and_goes_when_its_time_has_come(tmp_path, column, bad):
    path, clock = tmp_path / "sessions.db", ManualClock()

    async def run():
        async with store_at(path, clock) as store:
            make = Maker.of(store)
            for name in NAMES:
                await create(store, make.session(name))
            await spoil(path, make.key("two"), column, bad)
            assert set(names_of((await store.list(Query(), now=make.now)).sessions)) == {"one", "three"}
            listed, cursor = [], ""
            while True:
                page = await store.list(Query(owner=make.owner(), cursor=cursor, limit=1), now=make.now)
                listed += names_of(page.sessions)
                cursor = page.cursor
                if not cursor:
                    break
            assert sorted(listed) == ["one", "three"]
            with pytest.raises(PayloadUnreadable):
                await store.delete(make.key("two"), now=make.now)
            watch = store.watch()
            assert await anext(watch) == Gap()
            clock.advance(HOUR_MS)
            ended = await store.reap(now=clock.now(), limit=10)
            assert sorted(names_of(each.session for each in ended)) == ["one", "three"]
            gone = [await anext(watch) for _ in NAMES]
            assert SessionGone(make.key("two"), EndReason.EXPIRED) in gone
            assert (await store.list(Query(limit=0), now=clock.now())).total == 0
            assert await store.reap(now=clock.now(), limit=10) == []
            answer = await store.admit(make.ask(make.session("two"), now=clock.now()))
            assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, EndReason.EXPIRED)

    asyncio.run(run())


def test_an_unreadable_session_that_was_touched_since_it_was_filed_is_not_ended_early(tmp_path):
    path, clock = tmp_path / "sessions.db", ManualClock()

    async def run():
        async with store_at(path, clock) as store:
            make = Maker.of(store)
            session = await create(store, make.session("work"))
            await spoil(path, session.key)
            await in_file(path, "UPDATE sessions SET expires_at = ?", session.expires_at + HOUR_MS)
            assert await store.reap(now=session.expires_at, limit=10) == []
            assert (await store.list(Query(limit=0), now=make.now)).total == 1
            assert await store.reap(now=session.expires_at + HOUR_MS, limit=10) == []
            assert (await store.list(Query(limit=0), now=make.now)).total == 0

    asyncio.run(run())


def test_an_unreadable_session_lets_go_of_its_levels_and_upstreams_where_they_can_be_read(tmp_path):
    path, clock = tmp_path / "sessions.db", ManualClock()
    caps = Caps(levels=(Level("all", b"level", 1),))

    async def run():
        async with store_at(path, clock) as store:
            make = Maker.of(store)
            session = await create(store, make.session("work", holds=(b"level",)), caps)
            await store.rebind(session.key, pool="pool", was=None, to="a", now=make.now)
            assert await in_file(path, "SELECT used FROM counters") == [(1,)]
            await spoil(path, session.key, "counters")
            assert await store.reap(now=clock.advance(HOUR_MS), limit=10) == []
            assert await in_file(path, "SELECT used FROM counters") == []
            assert (await store.list(Query(limit=0), now=make.now)).upstreams == {}

    asyncio.run(run())


def test_idle_sessions_are_found_and_owners_revoked_beside_one_that_cannot_be_read(tmp_path):
    path = tmp_path / "sessions.db"

    async def run():
        async with store_at(path) as store:
            make = Maker.of(store)
            for name in NAMES:
                await create(store, make.session(name))
            await spoil(path, make.key("two"))
            later = make.now + 1_000
            ended = await store.reap(now=later, limit=1, idle_for=1_000)
            ended += await store.revoke(OwnerRevocation(make.bucket(), make.owner(), later), now=later)
            assert sorted(names_of(each.session for each in ended)) == ["one", "three"]

    asyncio.run(run())


def test_an_end_and_a_link_that_cannot_be_read_are_dropped(tmp_path):
    path = tmp_path / "sessions.db"

    async def run():
        async with store_at(path) as store:
            make = Maker.of(store)
            for name in NAMES[:2]:
                session = await create(store, make.session(name))
                await store.link(make.link(session, name), operation=os.urandom(16), now=make.now)
            await in_file(path, "UPDATE links SET body = X'ff' WHERE session = ?", make.key("one").hash)
            found = await store.get(make.key("one"), now=make.now)
            assert found is not None
            assert found.links == ()
            for name in NAMES[:2]:
                assert await store.delete(make.key(name), now=make.now) is not None
            await in_file(path, "UPDATE ended SET body = X'ff' WHERE id = 1")
            again = await store.reap(now=make.now + CLAIM_MS, limit=10)
            assert names_of(each.session for each in again) == ["two"]
            assert await in_file(path, "SELECT id FROM ended") == [(2,)]

    asyncio.run(run())


# ---------------------------------------------------------------------- an argument that cannot be


def test_an_argument_that_sqlite_cannot_hold_fails_no_other_reader(tmp_path):
    async def run():
        async with store_at(tmp_path / "sessions.db") as store:
            make = Maker.of(store)
            session = await create(store, make.session("work"))
            for _ in range(2):
                answers = await asyncio.gather(
                    store.get(session.key, now=make.now),
                    store.list(Query(), now=2**70),
                    store.get(session.key, now=make.now),
                    return_exceptions=True,
                )
                assert [type(each).__name__ for each in answers] == ["Session", "OverflowError", "Session"]

    asyncio.run(run())


def test_a_huge_count_or_limit_means_as_many_as_there_may_be(tmp_path):
    async def run():
        async with store_at(tmp_path / "sessions.db") as store:
            make = Maker.of(store)
            session = await create(store, make.session("work"))
            await store.append(session.key, Log.EVENTS, b"item", keep=3, now=make.now)
            assert await store.tail(session.key, Log.EVENTS, 2**64, now=make.now) == [b"item"]
            assert len(await store.reap(now=make.now + HOUR_MS, limit=2**64, idle_for=1)) == 1

    asyncio.run(run())


def test_one_reap_ends_no_more_than_is_good_for_all_others(tmp_path):
    async def run():
        async with store_at(tmp_path / "sessions.db") as store:
            make = Maker.of(store)
            await asyncio.gather(*[create(store, make.session(f"s{number}")) for number in range(REAP_MAX + 1)])
            later = make.now + HOUR_MS
            assert len(await store.reap(now=later, limit=10 * REAP_MAX)) == REAP_MAX
            assert len(await store.reap(now=later, limit=10 * REAP_MAX)) == 1

    asyncio.run(run())


# ---------------------------------------------------------------------- cancelled while it closes


@pytest.mark.parametrize("turns", range(8))
def test_a_closing_cancelled_at_any_moment_leaves_no_thread_and_no_file(tmp_path, turns):
    async def live(path, ready):
        async with store_at(path) as store:
            watch = store.watch()
            await anext(watch)
            reading = [asyncio.ensure_future(store.list(Query(), now=0)) for _ in range(10)]
            ready.set()
        await asyncio.gather(*reading, return_exceptions=True)

    async def run():
        before = open_files()
        for number in range(5):
            ready = asyncio.Event()
            life = asyncio.ensure_future(live(tmp_path / f"{number}.db", ready))
            await ready.wait()
            for _ in range(turns):
                life.cancel()  # each `await` of the closing is cancelled, one after the other
                await asyncio.sleep(0)
            await asyncio.gather(life, return_exceptions=True)
        assert threads() == []
        assert open_files() == before

    asyncio.run(run())


# ---------------------------------------------------------------------- the path


def test_a_relative_path_leads_to_the_same_file_after_a_change_of_folder(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    store = store_at("sessions.db")
    monkeypatch.chdir(elsewhere)

    async def run():
        async with store:
            make = Maker.of(store)
            session = await create(store, make.session("work"))
            assert await store.get(session.key, now=make.now) is not None

    asyncio.run(run())
    assert (tmp_path / "sessions.db").exists()
    assert list(elsewhere.iterdir()) == []


def test_a_path_with_a_nul_character_is_refused():
    with pytest.raises(ConfigError, match=r"'a\\x00b'.*NUL"):
        SqliteStore("a\0b")


async def read_until_it_fails(store, key):
    while True:
        await store.get(key, now=0)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_reader_notices_within_moments_that_its_file_is_gone(tmp_path, is_replaced):
    path = tmp_path / "sessions.db"

    async def run():
        async with store_at(path) as store:
            path.unlink()
            if is_replaced:
                path.touch()
            with pytest.raises(StoreUnavailable, match="moved or replaced"):
                await asyncio.wait_for(read_until_it_fails(store, Maker.of(store).key("work")), 10)

    asyncio.run(run())
