"""Expired sessions are found, told and acknowledged, by whichever worker comes first."""

import asyncio
import logging

import pytest

from sessionware.core.ids import handle, ref
from sessionware.core.session import EndReason
from sessionware.core.store import CLAIM_MS
from sessionware.errors import StoreUnavailable
from sessionware.reaper import Reaper
from sessionware.stores.memory import MemoryStore
from sessionware.telemetry import Endings, Observer, Observers, Telemetry
from sessionware.testing import Fault, FaultyStore, Maker, ManualClock

IDLE_MS = 1_000


class Diary(Observer):
    """Writes down every end; waits at `gate` first if there is one."""

    def __init__(self):
        self.ends = []
        self.gate = None
        self.reached = asyncio.Event()

    async def on_end(self, session, reason):
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        self.ends.append((session.birth.name, reason))


class Worker:
    """One worker's reaper, with an observer and counts of its own."""

    def __init__(self, store, *, interval_ms=1, batch=100):
        self.diary, self.telemetry = Diary(), Telemetry()
        observers = Observers([self.diary], telemetry=self.telemetry)
        self.endings = Endings(observers, telemetry=self.telemetry)
        self.reaper = Reaper(store, self.endings, telemetry=self.telemetry, interval_ms=interval_ms, batch=batch)

    @property
    def expired(self):
        return self.telemetry.counts.ended[EndReason.EXPIRED]


class Desk:
    """A store with sessions that have expired."""

    def __init__(self):
        self.clock = ManualClock()
        self.store = FaultyStore(MemoryStore(clock=self.clock))
        self.make = Maker.of(self.store)

    async def expired(self, count):
        made = [self.make.session(f"n{number}", idle=IDLE_MS) for number in range(count)]
        for session in made:
            await self.store.create(self.make.new(session), operation=self.make.operation(), now=self.clock.now())
        self.clock.advance(IDLE_MS)
        return made


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


def test_b11_expired_sessions_are_told_in_batches_until_none_is_left(caplog):
    """B11, E16: each removal is logged with its ref and reason, and with nothing else that names it."""

    async def story():
        desk = Desk()
        made = await desk.expired(25)
        worker = Worker(desk.store, batch=10)
        with caplog.at_level(logging.INFO, "sessionware"):
            handles = await worker.reaper.reap()
        assert sorted(handles) == sorted(handle(session.key) for session in made)
        assert sorted(worker.diary.ends) == sorted((session.birth.name, "expired") for session in made)
        assert worker.expired == 25
        assert sorted(record.getMessage() for record in caplog.records) == sorted(
            f"session {ref(session.key)} ended: expired" for session in made
        )
        desk.clock.advance(CLAIM_MS)
        assert await worker.reaper.reap() == [], "an end that was acknowledged came back"

    asyncio.run(story())


def test_b12_two_workers_tell_each_end_once():
    """B12."""

    async def story():
        desk = Desk()
        await desk.expired(30)
        workers = [Worker(desk.store, batch=4), Worker(desk.store, batch=4)]
        for worker in workers:
            worker.reaper.start()
            worker.reaper.start()
        await until(lambda: sum(len(worker.diary.ends) for worker in workers) == 30)
        for later in (0, CLAIM_MS):  # what was told is acknowledged; what was acknowledged does not come back
            desk.clock.advance(later)
            passes = desk.store.calls["list"]
            await until(lambda passes=passes: desk.store.calls["list"] > passes + 4)
        for worker in workers:
            await worker.reaper.aclose()
        told = [name for worker in workers for name, _ in worker.diary.ends]
        assert len(told) == len(set(told)) == 30
        assert sum(worker.expired for worker in workers) == 30

    asyncio.run(story())


def test_an_end_is_acknowledged_only_when_its_observers_were_told():
    async def story():
        desk = Desk()
        await desk.expired(1)
        slow, other = Worker(desk.store), Worker(desk.store)
        slow.diary.gate = asyncio.Event()
        slow.reaper.start()
        await slow.diary.reached.wait()
        assert desk.store.calls["record"] == 0
        await slow.reaper.aclose()
        assert slow.diary.ends == []
        desk.clock.advance(CLAIM_MS)
        await other.reaper.reap()
        assert other.diary.ends == [("n0", EndReason.EXPIRED)]

    asyncio.run(story())


def test_an_end_that_comes_back_is_told_and_counted_once_by_one_worker():
    async def story():
        desk = Desk()
        await desk.expired(1)
        worker = Worker(desk.store)
        desk.store.on("record", Fault.REFUSED)
        with pytest.raises(StoreUnavailable):
            await worker.reaper.reap()
        desk.clock.advance(CLAIM_MS)
        assert len(await worker.reaper.reap()) == 1
        assert (worker.diary.ends, worker.expired) == ([("n0", EndReason.EXPIRED)], 1)
        desk.clock.advance(CLAIM_MS)
        assert await worker.reaper.reap() == []

    asyncio.run(story())


def test_a_name_that_lives_and_dies_again_is_told_again():
    async def story():
        desk = Desk()
        worker = Worker(desk.store)
        for _ in range(2):
            await desk.expired(1)
            await worker.reaper.reap()
        assert worker.expired == len(worker.diary.ends) == 2

    asyncio.run(story())


@pytest.mark.parametrize("method", ["reap", "record", "list"])
def test_the_loop_outlives_a_store_that_is_down(method):
    async def story():
        desk = Desk()
        await desk.expired(3)
        worker = Worker(desk.store)
        desk.store.always(method, Fault.REFUSED)
        worker.reaper.start()
        await until(lambda: desk.store.calls[method] >= 2 or (method == "record" and desk.store.calls["reap"] >= 2))
        assert worker.telemetry.counts.degraded
        desk.store.heal()
        desk.clock.advance(CLAIM_MS)
        await until(lambda: worker.expired == 3 and desk.store.applied["list"])
        await worker.reaper.aclose()

    asyncio.run(story())


def test_the_loop_outlives_a_store_with_a_bug(caplog):
    class Buggy(FaultyStore):
        async def reap(self, *, now, limit, idle_for=None):
            if not self.calls["reap"]:
                self.calls["reap"] += 1
                raise KeyError("a bug")
            return await super().reap(now=now, limit=limit, idle_for=idle_for)

    async def story():
        desk = Desk()
        desk.store = Buggy(MemoryStore(clock=desk.clock))
        desk.make = Maker.of(desk.store)
        await desk.expired(1)
        worker = Worker(desk.store)
        worker.reaper.start()
        await until(lambda: worker.expired == 1)
        await worker.reaper.aclose()

    asyncio.run(story())
    assert "reaping goes on" in caplog.text


def test_the_loop_stops_at_once():
    async def story():
        desk = Desk()
        worker = Worker(desk.store, interval_ms=3_600_000)
        await worker.reaper.aclose()
        worker.reaper.start()
        async with asyncio.timeout(1):
            await worker.reaper.aclose()
        gate = desk.store.hold("reap")
        busy = Worker(desk.store)
        busy.reaper.start()
        await gate.reached.wait()
        async with asyncio.timeout(1):
            await busy.reaper.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(story())


def test_a_pass_tells_how_many_sessions_are_left():
    async def story():
        desk = Desk()
        await desk.expired(2)
        await desk.store.create(
            desk.make.new(desk.make.session("alive")), operation=desk.make.operation(), now=desk.clock.now()
        )
        worker = Worker(desk.store)
        worker.reaper.start()
        await until(lambda: desk.store.applied["list"])
        await until(lambda: worker.telemetry.counts.active == 1)
        await worker.reaper.aclose()

    asyncio.run(story())


def test_idle_sessions_are_ended_on_demand():
    """D16."""

    async def story():
        desk = Desk()
        old, new = desk.make.session("old"), None
        await desk.store.create(desk.make.new(old), operation=desk.make.operation(), now=desk.clock.now())
        desk.clock.advance(60_000)
        new = desk.make.session("new")
        await desk.store.create(desk.make.new(new), operation=desk.make.operation(), now=desk.clock.now())
        assert await Worker(desk.store).reaper.reap(idle_for=60_000) == [handle(old.key)]

    asyncio.run(story())
