"""A store that fails on command fails as it was told, once, and is otherwise the store behind it."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from sessionware.core.admission import Outcome
from sessionware.core.session import Session
from sessionware.core.store import Store
from sessionware.errors import StoreUnavailable
from sessionware.stores.memory import MemoryStore
from sessionware.testing import Fault, FaultyStore, Maker, ManualClock, StoreContract


class TestFaultyStoreWithoutFaults(StoreContract):
    def open(self, clock: ManualClock) -> AbstractAsyncContextManager[Store]:
        return FaultyStore(MemoryStore(clock=clock))


class Desk:
    """A faulty store with one session in it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = FaultyStore(MemoryStore(clock=self.clock))
        self.make = Maker.of(self.store)
        self.work: Session = self.make.session("work", data=b"0")

    async def start(self) -> "Desk":
        await self.store.create(self.make.new(self.work), operation=self.make.operation(), now=self.clock.now())
        self.store.calls.clear()
        self.store.applied.clear()
        return self

    async def admit(self) -> Outcome:
        return (await self.store.admit(self.make.ask(self.work))).outcome

    async def hits(self) -> int:
        found = await self.store.get(self.work.key, now=self.clock.now())
        assert found is not None
        return found.hits


def test_a_refused_call_was_not_applied():
    async def story():
        desk = await Desk().start()
        desk.store.on("admit", Fault.REFUSED)
        with pytest.raises(StoreUnavailable, match="admit failed"):
            await desk.admit()
        assert await desk.hits() == 0
        assert await desk.admit() is Outcome.ADMITTED
        assert (desk.store.calls["admit"], desk.store.applied["admit"]) == (2, 1)

    asyncio.run(story())


def test_a_lost_reply_was_applied():
    async def story():
        desk = await Desk().start()
        desk.store.on("admit", Fault.LOST_REPLY)
        with pytest.raises(StoreUnavailable):
            await desk.admit()
        assert await desk.hits() == 1

    asyncio.run(story())


@pytest.mark.parametrize(("fault", "hits"), [(Fault.TIMED_OUT, 0), (Fault.TIMED_OUT_LATE, 1)])
def test_a_timeout_is_unavailability(fault, hits):
    async def story():
        desk = await Desk().start()
        desk.store.on("admit", fault)
        with pytest.raises(StoreUnavailable) as caught:
            await desk.admit()
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert await desk.hits() == hits

    asyncio.run(story())


@pytest.mark.parametrize(("fault", "hits"), [(Fault.CANCELLED, 0), (Fault.CANCELLED_LATE, 1)])
def test_a_cancelled_caller_is_really_cancelled(fault, hits):
    async def story():
        desk = await Desk().start()
        desk.store.on("admit", fault)
        task = asyncio.create_task(desk.admit())
        await asyncio.wait([task])
        assert task.cancelled()
        assert await desk.hits() == hits

    asyncio.run(story())


@pytest.mark.parametrize(("late", "hits"), [(False, 0), (True, 1)])
def test_a_slow_call_waits_until_the_test_lets_it_go(late, hits):
    async def story():
        desk = await Desk().start()
        gate = desk.store.hold("admit", late=late)
        slow = asyncio.create_task(desk.admit())
        await gate.reached.wait()
        assert await desk.hits() == hits
        assert not slow.done()
        gate.open()
        assert await slow is Outcome.ADMITTED
        assert await desk.hits() == 1

    asyncio.run(story())


def test_a_slow_call_can_be_cancelled_at_its_gate():
    async def story():
        desk = await Desk().start()
        desk.store.hold("admit")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await desk.admit()
        assert await desk.hits() == 0

    asyncio.run(story())


def test_faults_strike_the_call_they_were_meant_for():
    async def story():
        desk = await Desk().start()
        await desk.admit()
        desk.store.on("admit", Fault.REFUSED, after=2)
        desk.store.on("admit", Fault.LOST_REPLY)
        desk.store.on("any", Fault.REFUSED, after=4)
        outcomes = []
        for call in (desk.admit, desk.admit, desk.admit, desk.admit, desk.hits, desk.hits):
            try:
                outcomes.append(str(await call()))
            except StoreUnavailable:
                outcomes.append("down")
        assert outcomes == ["down", "admitted", "down", "admitted", "down", "4"]

    asyncio.run(story())


def test_a_store_that_is_down_stays_down_until_it_is_healed():
    async def story():
        desk = await Desk().start()
        desk.store.always("any", Fault.REFUSED)
        desk.store.on("get", Fault.CANCELLED)
        for call in (desk.admit, desk.admit):
            with pytest.raises(StoreUnavailable):
                await call()
        desk.store.heal()
        assert await desk.hits() == 0
        assert await desk.admit() is Outcome.ADMITTED

    asyncio.run(story())


def test_every_method_can_fail():
    async def story():
        desk = await Desk().start()
        desk.store.always("any", Fault.REFUSED)
        make, now, store = desk.make, desk.clock.now(), desk.store
        link = make.link(desk.work)
        calls = [
            store.admit(make.ask(desk.work)),
            store.link(link, operation=make.operation(), now=now),
            store.unlink(link.key, now=now),
            store.reap(now=now, limit=1),
            store.record([], now=now),
            store.rebind(desk.work.key, pool="tools", was=None, to="a", now=now),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable):
                await call
        assert store.applied.total() == 0

    asyncio.run(story())


def test_a_mistyped_script_is_said_at_once():
    store = FaultyStore(MemoryStore())
    with pytest.raises(ValueError, match="no method 'admitt'"):
        store.on("admitt", Fault.REFUSED)
    with pytest.raises(ValueError, match="no method 'watch'"):
        store.always("watch", Fault.REFUSED)
    with pytest.raises(ValueError, match="0 or more"):
        store.on("admit", Fault.REFUSED, after=-1)
