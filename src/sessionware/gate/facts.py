"""The only place where what has happened waits to be told to the store: bounded, batched, in order."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from itertools import islice
from typing import Final

from sessionware.core.facts import Fact, Released, Renewed, Touched
from sessionware.core.ids import SessionKey
from sessionware.core.store import Store
from sessionware.errors import StoreUnavailable
from sessionware.telemetry import Action, Feature, Reason, Telemetry

FLUSH_EVERY_MS: Final = 100
BATCH_MAX: Final = 256
WAITING_MAX: Final = 10_000
RECORD_DEADLINE_MS: Final = 1_000  # nobody waits for the answer, but a dead connection must not hold the queue
PAUSE_MS: Final = 1_000  # after a failure
CLOSE_DEADLINE_MS: Final = 2_000  # what could not be told by then is lost

log: Final = logging.getLogger("sessionware.facts")


class FactQueue:
    """`add` never waits and never fails; one task tells the store, one batch after the other.

    Touches of one session become one. A batch that the store did not take is told again, first: facts are
    idempotent by their operation, and a touch may count a request twice but never lengthens a life. When too
    many wait, the oldest touch is dropped, else the newcomer, and that is counted.
    """

    def __init__(self, store: Store, *, telemetry: Telemetry, every_ms: int = FLUSH_EVERY_MS) -> None:
        self._store = store
        self._telemetry = telemetry
        self._every_ms = every_ms
        self._touched: OrderedDict[SessionKey, Touched] = OrderedDict()
        self._told: deque[Fact] = deque()
        self._filled = asyncio.Event()
        self._urgent = asyncio.Event()
        self._closing = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many facts the store has not been told yet."""
        return len(self._touched) + len(self._told)

    def add(self, fact: Fact) -> None:
        """Tell the store soon: a release at once, so that the next request finds the slot free."""
        if isinstance(fact, Touched):
            self._add_touch(fact)
        elif self._has_room_for_other():
            self._told.append(fact)
        self._filled.set()
        if isinstance(fact, Released) or self.waiting >= BATCH_MAX:
            self._urgent.set()

    def start(self) -> None:
        """Begin to tell. Does nothing when it has begun; needs a running event loop."""
        if self._telling is None:
            self._closing.clear()
            self._telling = asyncio.get_running_loop().create_task(self._run(), name="sessionware-facts")

    async def aclose(self) -> None:
        """Tell what waits, within a deadline, and stop. Does nothing when it was never started."""
        telling, self._telling = self._telling, None
        if telling is None:
            return
        self._closing.set()
        self._filled.set()
        self._urgent.set()
        _, late = await asyncio.wait([telling], timeout=CLOSE_DEADLINE_MS / 1000)
        for task in late:
            task.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        if self.waiting:
            log.warning("%d facts could not be told to the store and are lost", self.waiting)

    async def _run(self) -> None:
        while not self._closing.is_set():
            await self._work()
            if not await self._flush():
                await _within(PAUSE_MS, self._closing)
        await self._flush()

    async def _work(self) -> None:
        """Wait until something is to be told, and then a little, so that more comes together."""
        await self._filled.wait()
        await _within(self._every_ms, self._urgent)
        self._filled.clear()
        self._urgent.clear()

    async def _flush(self) -> bool:
        """Tell everything; False when the store did not take it."""
        while batch := self._take():
            try:
                async with asyncio.timeout(RECORD_DEADLINE_MS / 1000):
                    await self._store.record(batch, now=self._store.clock.now())
            except (StoreUnavailable, TimeoutError) as error:
                self._put_back(batch)
                self._telemetry.degraded(Feature.FACTS, Reason.STORE_DOWN, Action.DELAYED, error=error)
                return False
            except asyncio.CancelledError:
                self._put_back(batch)
                raise
            except Exception:
                # A store that breaks its contract must not stop all others' facts for good.
                log.exception("the store raised what it must not: a batch of %d facts is lost", len(batch))
                self._telemetry.degraded(Feature.FACTS, Reason.FAILED, Action.DROPPED)
        return True

    def _take(self) -> list[Fact]:
        batch = list(islice(self._told, BATCH_MAX))
        for _ in batch:
            self._told.popleft()
        while self._touched and len(batch) < BATCH_MAX:
            batch.append(self._touched.popitem(last=False)[1])
        return batch

    def _put_back(self, batch: list[Fact]) -> None:
        """What was not told goes first again; renewals are not repeated: the next ones are on their way."""
        self._filled.set()
        for fact in reversed(batch):
            if isinstance(fact, Touched):
                self._add_touch(fact)
            elif not isinstance(fact, Renewed) and self._has_room_for_other():
                self._told.appendleft(fact)

    def _add_touch(self, fact: Touched) -> None:
        before = self._touched.get(fact.key)
        if before is not None:
            self._touched[fact.key] = Touched(fact.key, max(before.at, fact.at), before.hits + fact.hits)
        elif self.waiting < WAITING_MAX:
            self._touched[fact.key] = fact
        else:
            self._telemetry.degraded(Feature.FACTS, Reason.OVERFULL, Action.DROPPED)

    def _has_room_for_other(self) -> bool:
        """Whether a fact that is no touch may wait; makes room by forgetting the oldest touch."""
        if self.waiting < WAITING_MAX:
            return True
        self._telemetry.degraded(Feature.FACTS, Reason.OVERFULL, Action.DROPPED)
        if not self._touched:
            return False
        self._touched.popitem(last=False)
        return True


async def _within(ms: int, event: asyncio.Event) -> None:
    """Wait for the event, but not longer than this."""
    try:
        async with asyncio.timeout(ms / 1000):
            await event.wait()
    except TimeoutError:
        return
