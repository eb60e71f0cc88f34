"""What one process hears of another one through the file."""

import asyncio
import sqlite3

from sessionware.core.facts import Gap, Interrupted, OrgLimits, OrgLimitsNow, SessionGone
from sessionware.core.session import EndReason, Override
from sessionware.core.store import Query
from sessionware.stores.sqlite import SqliteStore
from sessionware.stores.sqlite.events import EVENTS_KEEP_MS
from sessionware.stores.sqlite.reading import NEWS_MAX
from sessionware.testing import Maker, ManualClock
from tests.stores.sqlite.workers import PATIENCE_MS

HEAR_WITHIN_S = 10.0
SOON_MS = 20


def stores(path, clock, poll_ms):
    """Two stores on one file, as two processes have them."""
    return [SqliteStore(path, clock=clock, timeout_ms=PATIENCE_MS, poll_ms=poll_ms) for _ in range(2)]


async def heard(watch, count):
    async with asyncio.timeout(HEAR_WITHIN_S):
        return [await anext(watch) for _ in range(count)]


async def end(store, name):
    make = Maker.of(store)
    session = make.session(name)
    await store.create(make.new(session), operation=name.encode(), now=make.now)
    await store.delete(session.key, now=make.now)
    return SessionGone(session.key, EndReason.ENDED)


def test_a_watcher_hears_what_another_process_does_in_its_order(tmp_path):
    async def run():
        here, there = stores(tmp_path / "sessions.db", ManualClock(), SOON_MS)
        async with here, there:
            watch = here.watch()
            assert await heard(watch, 1) == [Gap()]
            wanted = [await end(there, name) for name in ("one", "two")]
            await there.record([OrgLimits(b"org", {"calls": 5})], now=0)
            assert await heard(watch, 3) == [*wanted, OrgLimitsNow(b"org", {"calls": Override(5)})]

    asyncio.run(run())


def test_a_new_watcher_is_told_the_limits_that_another_process_set_before(tmp_path):
    async def run():
        here, there = stores(tmp_path / "sessions.db", ManualClock(), SOON_MS)
        async with here, there:
            await there.record([OrgLimits(b"org", {"calls": 5})], now=0)
            assert await heard(here.watch(), 2) == [Gap(), OrgLimitsNow(b"org", {"calls": Override(5)})]

    asyncio.run(run())


def test_our_own_events_do_not_wait_for_the_next_poll(tmp_path):
    async def run():
        here, there = stores(tmp_path / "sessions.db", ManualClock(), 3_600_000)
        async with here, there:
            watch = here.watch()
            assert await heard(watch, 1) == [Gap()]
            assert await heard_after(end(here, "one"), watch)

    asyncio.run(run())


async def heard_after(action, watch):
    return [await action] == await heard(watch, 1)


def test_a_watcher_that_slept_while_events_were_pruned_hears_a_gap(tmp_path):
    async def run():
        clock = ManualClock()
        here, there = stores(tmp_path / "sessions.db", clock, 3_600_000)
        async with here, there:
            watch = here.watch()
            assert await heard(watch, 1) == [Gap()]
            first = await end(here, "first")
            assert await heard(watch, 1) == [first]  # polled once: from here on it sleeps
            await end(there, "missed")
            await there.reap(now=clock.advance(EVENTS_KEEP_MS + 1), limit=10)
            last = await end(here, "last")
            assert await heard(watch, 2) == [Gap(), last]

    asyncio.run(run())


def test_a_watcher_hears_more_events_than_one_poll_reads(tmp_path):
    async def run():
        here, there = stores(tmp_path / "sessions.db", ManualClock(), SOON_MS)
        async with here, there:
            watch = here.watch()
            assert await heard(watch, 1) == [Gap()]
            facts = [OrgLimits(str(number).encode(), {"calls": 5}) for number in range(2 * NEWS_MAX + 1)]
            await there.record(facts, now=0)
            wanted = [OrgLimitsNow(fact.org, {"calls": Override(5)}) for fact in facts]
            assert await heard(watch, len(facts)) == wanted

    asyncio.run(run())


def test_watching_goes_on_after_the_file_was_unavailable(tmp_path):
    async def run():
        path = tmp_path / "sessions.db"
        here, there = stores(path, ManualClock(), SOON_MS)
        async with here, there:
            watch = here.watch()
            assert await heard(watch, 1) == [Gap()]
            await asyncio.to_thread(behind_its_back, path, "ALTER TABLE events RENAME TO hidden")
            for _ in range(20):
                assert (await here.list(Query(limit=0), now=0)).total == 0
            await asyncio.to_thread(behind_its_back, path, "ALTER TABLE hidden RENAME TO events")
            assert await heard_after(end(there, "one"), watch)

    asyncio.run(run())


def behind_its_back(path, statement):
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_nothing_is_polled_while_nobody_watches(tmp_path):
    async def run():
        here, there = stores(tmp_path / "sessions.db", ManualClock(), 1)
        async with here, there:
            watch = here.watch()
            assert await heard(watch, 1) == [Gap()]
            del watch
            async with asyncio.timeout(HEAR_WITHIN_S):
                while any(task.get_name() == "sqlite store: watch" for task in asyncio.all_tasks()):
                    await asyncio.sleep(0)

    asyncio.run(run())


def test_what_happened_between_two_watches_is_not_repeated(tmp_path):
    async def run():
        here, there = stores(tmp_path / "sessions.db", ManualClock(), SOON_MS)
        async with here, there:
            await end(here, "before")
            watch = here.watch()
            assert await heard(watch, 1) == [Gap()]
            make = Maker.of(there)
            session = make.session("live")
            await there.create(make.new(session), operation=b"live", now=make.now)
            await there.record([Interrupted(session.key)], now=make.now)
            assert await heard(watch, 1) == [Interrupted(session.key)]

    asyncio.run(run())
