"""What has happened is told to the store in batches, in order, and never without a bound."""

import asyncio
from typing import Any

from sessionware.core.facts import Released, Renewed, Settled, Touched
from sessionware.gate import FactQueue
from sessionware.gate.facts import BATCH_MAX, WAITING_MAX
from sessionware.stores.memory import MemoryStore
from sessionware.telemetry import Telemetry
from sessionware.testing import Fault, FaultyStore, Maker, ManualClock
from tests.gate.scene import until

SOON_MS, NEVER_MS = 1, 3_600_000


class Desk:
    """A queue in front of a store, and the batches that the store took."""

    def __init__(self, every_ms=SOON_MS):
        self.clock = ManualClock()
        self.store = FaultyStore(MemoryStore(clock=self.clock))
        self.telemetry = Telemetry()
        store: Any = self  # as much of a store as the queue needs
        self.queue = FactQueue(store, telemetry=self.telemetry, every_ms=every_ms)
        self.make = Maker.of(self.store)
        self.batches = []

    async def record(self, facts, *, now):
        answer = await self.store.record(facts, now=now)
        self.batches.append(list(facts))
        return answer

    def dropped(self):
        return {tuple(map(str, label)): count for label, count in self.telemetry.counts.degraded.items()}

    def touch(self, name="work", *, at=1, hits=1):
        return Touched(self.make.key(name), at, hits)

    def settled(self):
        return Settled(0, b"o", self.make.operation(), None, ())

    def released(self):
        return Released(0, self.make.operation(), None, ())


def test_facts_travel_together_and_touches_of_one_session_become_one():
    async def story():
        desk = Desk()
        settled = desk.settled()
        for fact in (desk.touch(at=5), settled, desk.touch(at=3, hits=2), desk.touch("other", at=4)):
            desk.queue.add(fact)
        desk.queue.start()
        await until(lambda: desk.batches)
        assert desk.batches == [[settled, desk.touch(at=5, hits=3), desk.touch("other", at=4)]]
        await desk.queue.aclose()

    asyncio.run(story())


def test_a_full_batch_does_not_wait():
    async def story():
        desk = Desk(NEVER_MS)
        desk.queue.start()
        for _ in range(BATCH_MAX + 1):
            desk.queue.add(desk.settled())
        await until(lambda: desk.queue.waiting == 0)
        assert [len(batch) for batch in desk.batches] == [BATCH_MAX, 1]
        await desk.queue.aclose()

    asyncio.run(story())


def test_a_release_does_not_wait():
    async def story():
        desk = Desk(NEVER_MS)
        desk.queue.start()
        fact = desk.released()
        desk.queue.add(fact)
        await until(lambda: desk.batches)
        assert desk.batches == [[fact]]
        await desk.queue.aclose()

    asyncio.run(story())


def test_what_waits_is_told_at_the_close():
    async def story():
        desk = Desk(NEVER_MS)
        desk.queue.start()
        fact = desk.settled()
        desk.queue.add(fact)
        await desk.queue.aclose()
        assert desk.batches == [[fact]]
        await desk.queue.aclose()

    asyncio.run(story())


def test_what_the_store_did_not_take_is_told_first_when_it_is_back():
    async def story():
        desk = Desk()
        first, renewal, second = desk.settled(), Renewed(0, b"op", None, (), 1), desk.released()
        desk.store.on("record", Fault.LOST_REPLY)
        desk.queue.add(first)
        desk.queue.add(renewal)
        desk.queue.start()
        await until(lambda: desk.store.calls["record"])
        desk.queue.add(second)
        await desk.queue.aclose()
        assert desk.batches == [[first, second]], "a renewal is not repeated: the next is on its way"
        assert desk.dropped() == {("facts", "store_down", "delayed"): 1}

    asyncio.run(story())


def test_facts_of_a_store_that_is_down_are_bounded_and_touches_go_first():
    async def story():
        desk = Desk()
        for number in range(WAITING_MAX):
            desk.queue.add(desk.touch(f"n{number}"))
        desk.queue.add(desk.touch("n1"))
        assert desk.dropped() == {}, "a session that waits already takes no more room"
        desk.queue.add(desk.touch("too many"))
        desk.queue.add(desk.settled())
        assert desk.queue.waiting == WAITING_MAX
        assert desk.dropped() == {("facts", "overfull", "dropped"): 2}

    asyncio.run(story())


def test_only_facts_that_are_no_touches_are_never_dropped_for_one():
    async def story():
        desk = Desk()
        for _ in range(WAITING_MAX + 1):
            desk.queue.add(desk.settled())
        assert desk.queue.waiting == WAITING_MAX

    asyncio.run(story())


def test_a_close_while_the_store_is_down_ends(caplog):
    async def story():
        desk = Desk()
        desk.store.always("record", Fault.REFUSED)
        desk.queue.start()
        desk.queue.add(desk.settled())
        await until(lambda: desk.store.calls["record"])
        await desk.queue.aclose()
        assert desk.queue.waiting == 1
        assert "1 facts could not be told" in caplog.text

    asyncio.run(story())


def test_a_telling_that_is_cancelled_loses_nothing():
    async def story():
        desk = Desk()
        desk.store.on("record", Fault.CANCELLED_LATE)
        desk.queue.start()
        desk.queue.add(desk.settled())
        await until(lambda: desk.store.applied["record"])
        await desk.queue.aclose()
        assert desk.queue.waiting == 1, "it may have been applied: it is idempotent, and told again"
        desk.queue.start()
        await until(lambda: desk.batches)
        await desk.queue.aclose()

    asyncio.run(story())


def test_a_batch_that_breaks_the_store_is_lost_and_the_next_is_told(caplog):
    async def story():
        desk = Desk()
        desk.queue.start()
        nonsense: Any = "no fact at all"
        desk.queue.add(nonsense)
        await until(desk.dropped)
        fact = desk.released()
        desk.queue.add(fact)
        await until(lambda: desk.batches)
        assert desk.batches == [[fact]]
        await desk.queue.aclose()

    asyncio.run(story())
    assert "the store raised what it must not" in caplog.text
