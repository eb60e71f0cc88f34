"""What the SQLite store does when something goes wrong: killed, full, locked, cancelled, late, forked, closed."""

import asyncio
import os
import sqlite3
import subprocess
import threading
import time
import warnings

import pytest

from sessionware.core.admission import Outcome
from sessionware.core.store import Log, Query
from sessionware.errors import StoreUnavailable
from sessionware.stores.sqlite import SqliteStore
from sessionware.stores.sqlite.lane import WAITING_MAX
from sessionware.testing import Maker, ManualClock
from tests.stores.sqlite.workers import PATIENCE_MS, text_of, workers

KILLS = 8
HOUR_MS = 3_600_000


def store_at(path, clock=None, **options):
    return SqliteStore(path, clock=clock or ManualClock(), **({"timeout_ms": PATIENCE_MS} | options))


async def create(store, session):
    make = Maker.of(store)
    return await store.create(make.new(session), operation=os.urandom(16), now=make.now)


# ---------------------------------------------------------------------- killed


def test_c16_b30_everything_acknowledged_survives_kill_9_and_nothing_is_half_written(tmp_path):
    path = tmp_path / "sessions.db"
    acknowledged: list[tuple[int, int]] = []

    async def prepare():
        async with store_at(path) as store:
            await create(store, Maker.of(store).session("work"))

    async def check(newest):
        async with store_at(path) as store:
            make = Maker.of(store)
            for round_, number in acknowledged:
                session = await store.get(make.key(f"{round_}-{number}"), now=make.now)
                assert session is not None
                assert session.data == text_of(number)
            work = await store.get(make.key("work"), now=make.now)
            assert work is not None
            assert work.data in {text_of(newest), text_of(newest + 1)}

    asyncio.run(prepare())
    for round_ in range(KILLS):
        with workers(1, "write", path, round=round_) as (worker,):
            worker.go()
            said = [worker.line() for _ in range(10 + 7 * round_)]
            said += worker.kill().split()
        numbers = [int(each) for each in said]
        acknowledged = [(round_, number) for number in numbers]
        asyncio.run(check(numbers[-1]))


# ---------------------------------------------------------------------- full


async def fill(store):
    """Create sessions until there is no room; how many there are, and the refusal."""
    make, made = Maker.of(store), 0
    while True:
        try:
            await create(store, make.session(f"s{made}", data=b"x" * 3_000))
        except StoreUnavailable as error:
            return made, error
        made += 1


def check_that_a_full_store_recovers(path, clock, **options):
    async def run():
        async with store_at(path, clock, **options) as store:
            make = Maker.of(store)
            made, refusal = await fill(store)
            assert str(path) in str(refusal)
            assert "no room left" in str(refusal)
            first = make.session("s0")
            assert (await store.get(first.key, now=make.now)) is not None
            ended = await store.delete(make.key("s1"), now=make.now)
            assert ended is not None
            clock.advance(HOUR_MS * 3 // 4)
            reaped: list[object] = []
            while found := await store.reap(now=clock.now(), limit=20):
                reaped += found
            assert len(reaped) == made  # the rest, and the end of s1 that nobody acknowledged
            assert (await store.list(Query(limit=0), now=make.now)).total == 0
            clock.advance(2 * HOUR_MS)
            assert await store.reap(now=clock.now(), limit=20) == []  # forgets the ends as well
            again, _ = await fill(store)
            assert again > made // 2

    asyncio.run(run())


def test_st_04_at_max_pages_creating_is_refused_and_reaping_makes_room(tmp_path):
    check_that_a_full_store_recovers(tmp_path / "sessions.db", ManualClock(), max_pages=300)


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of two megabytes, where root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_st_04_on_a_full_disk_creating_is_refused_and_reaping_makes_room(tiny_disk):
    check_that_a_full_store_recovers(tiny_disk / "sessions.db", ManualClock())


# ---------------------------------------------------------------------- locked


def test_a_lock_held_by_another_process_is_unavailable_within_the_deadline(tmp_path):
    path = tmp_path / "sessions.db"

    async def run():
        async with store_at(path, timeout_ms=200) as store:
            make = Maker.of(store)
            await create(store, make.session("work"))
            ask = make.ask(make.session("work"), spends=(make.spend(allowance=100),))
            with workers(1, "hold_lock", path) as (holder,):
                started = time.monotonic()
                with pytest.raises(StoreUnavailable, match="another process has held its lock"):
                    await store.admit(ask)
                assert time.monotonic() - started < 0.35
                assert await store.get(make.key("work"), now=make.now) is not None  # reading goes on
                holder.go()
                holder.process.wait(timeout=10)
            answer = await store.admit(ask)
            assert answer.outcome is Outcome.ADMITTED
            assert [tally.counter.used for tally in answer.tallies if tally] == [1]  # the late one was not applied

    asyncio.run(run())


def test_calls_beyond_the_bound_are_refused_at_once(tmp_path):
    path = tmp_path / "sessions.db"

    async def run():
        async with store_at(path, timeout_ms=2_000) as store:
            make = Maker.of(store)
            with workers(1, "hold_lock", path) as (holder,):
                ask = make.ask(make.session("work"))
                waiting = [asyncio.ensure_future(store.admit(ask)) for _ in range(WAITING_MAX)]
                await asyncio.sleep(0)
                with pytest.raises(StoreUnavailable, match="calls wait already"):
                    await store.admit(ask)
                holder.go()
                for each in waiting:
                    each.cancel()
                assert len(await asyncio.gather(*waiting, return_exceptions=True)) == WAITING_MAX

    asyncio.run(run())


# ---------------------------------------------------------------------- cancelled


@pytest.mark.parametrize("turns", [*range(8), 20, 50, 200])
def test_a_call_cancelled_at_any_moment_leaves_the_store_in_order(tmp_path, turns):
    async def run():
        async with store_at(tmp_path / "sessions.db") as store:
            make, acknowledged = Maker.of(store), 0
            session = make.session("work")
            await create(store, session)
            spend = make.spend(allowance=1_000)
            for _ in range(20):
                calls = [
                    asyncio.ensure_future(call)
                    for call in (
                        store.admit(make.ask(session, spends=(spend,))),
                        store.get(session.key, now=make.now),
                        store.append(session.key, Log.EVENTS, b"x", keep=1_000, now=make.now),
                        store.reap(now=make.now, limit=10),
                    )
                ]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for call in calls:
                    call.cancel()
                answers = await asyncio.gather(*calls, return_exceptions=True)
                assert not [each for each in answers if isinstance(each, Exception)]
                acknowledged += not isinstance(answers[0], BaseException)
            last = await store.admit(make.ask(session, spends=(spend,)))
            used = [tally.counter.used for tally in last.tallies if tally]
            assert acknowledged + 1 <= used[0] <= 21

    asyncio.run(run())


def test_an_opening_cancelled_at_any_moment_leaves_nothing_behind(tmp_path):
    async def open_and_close(path):
        async with store_at(path):
            pass

    async def run():
        for turns in range(0, 60, 3):
            opening = asyncio.ensure_future(open_and_close(tmp_path / f"{turns}.db"))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        assert [thread.name for thread in threading.enumerate() if "session store" in thread.name] == []

    asyncio.run(run())


# ---------------------------------------------------------------------- one bad call among good ones


def test_a_statement_that_raises_hits_its_own_call_only(tmp_path):
    path = tmp_path / "sessions.db"

    async def run():
        async with store_at(path) as store:
            make = Maker.of(store)
            sessions = [make.session(f"s{number}") for number in range(10)]
            for session in sessions:
                await create(store, session)
            await asyncio.to_thread(refuse_updates_of, path, sessions[5].key.hash)
            spend = make.spend(allowance=100)
            answers = await asyncio.gather(
                *[store.admit(make.ask(each, spends=(spend,))) for each in sessions], return_exceptions=True
            )
            assert [number for number, each in enumerate(answers) if isinstance(each, StoreUnavailable)] == [5]
            assert "boom" in str(answers[5])
            last = await store.admit(make.ask(sessions[0], spends=(spend,)))
            assert [tally.counter.used for tally in last.tallies if tally] == [10]  # nine, each counted once, and this

    asyncio.run(run())


def refuse_updates_of(path, hash_):
    """A fault inside SQLite for one row."""
    connection = sqlite3.connect(path)
    connection.execute(
        f"CREATE TRIGGER fault BEFORE UPDATE ON sessions WHEN NEW.hash = X'{hash_.hex()}' "
        "BEGIN SELECT RAISE(ABORT, 'boom'); END"
    )
    connection.commit()
    connection.close()


def test_a_value_that_sqlite_cannot_hold_hits_its_own_call_only(tmp_path):
    async def run():
        async with store_at(tmp_path / "sessions.db") as store:
            make = Maker.of(store)
            names = ("one", "two", "three")
            sessions = [make.session(name, hits=2**70 if name == "two" else 0) for name in names]
            answers = await asyncio.gather(*[create(store, each) for each in sessions], return_exceptions=True)
            assert [type(each).__name__ for each in answers] == ["Created", "OverflowError", "Created"]
            listed = (await store.list(Query(), now=make.now)).sessions
            assert sorted(each.birth.name or "" for each in listed) == ["one", "three"]

    asyncio.run(run())


# ---------------------------------------------------------------------- not open, moved, forked, leaking


def test_a_store_that_is_not_open_says_so(tmp_path):
    store = store_at(tmp_path / "sessions.db")

    async def run():
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.reap(now=0, limit=0)
        with pytest.raises(StoreUnavailable, match="not open"):
            assert store.addresses
        async with store:
            assert await store.reap(now=0, limit=0) == []
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.reap(now=0, limit=0)
        async with store:  # it may be opened again
            assert await store.reap(now=0, limit=0) == []

    asyncio.run(run())


async def probe_until_it_fails(store):
    while True:
        await store.reap(now=0, limit=0)


def test_a_file_that_was_moved_away_while_in_use_is_noticed_within_moments(tmp_path):
    path = tmp_path / "sessions.db"

    async def run():
        async with store_at(path) as store:
            path.rename(tmp_path / "elsewhere.db")
            with pytest.raises(StoreUnavailable, match="moved or replaced"):
                await asyncio.wait_for(probe_until_it_fails(store), 10)

    asyncio.run(run())


def test_a_store_used_after_a_fork_says_so(tmp_path):
    async def run():
        async with store_at(tmp_path / "sessions.db") as store:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads: that is the point
                child = os.fork()
            if child == 0:
                try:
                    store.get(Maker.of(store).key("work"), now=0).send(None)
                except StoreUnavailable as error:
                    os._exit(0 if "forked" in str(error) else 2)
                os._exit(1)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert await store.reap(now=0, limit=0) == []

    asyncio.run(run())


def test_after_closing_no_thread_and_no_file_is_left(tmp_path):
    async def run():
        before = open_files()
        for _ in range(5):
            async with store_at(tmp_path / "sessions.db") as store:
                watch = store.watch()
                await anext(watch)
                await store.reap(now=0, limit=0)
        assert open_files() == before
        assert [thread.name for thread in threading.enumerate() if "session store" in thread.name] == []

    asyncio.run(run())


def open_files():
    """How many files this process has open, where that can be told."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
