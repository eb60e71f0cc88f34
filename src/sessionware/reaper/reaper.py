"""The only place that goes looking for sessions that have expired, and for ends that nobody was told of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final, TypeVar

from sessionware.core.ids import handle
from sessionware.core.store import Query, Store
from sessionware.errors import StoreUnavailable
from sessionware.telemetry import Action, Endings, Feature, Reason, Telemetry

Answer = TypeVar("Answer")

BATCH: Final = 100  # told together: within the observers' deadline, and long before their claims run out
BATCHES_MAX: Final = 10_000  # one pass; a store that never runs dry must not hold its caller for ever
CALL_DEADLINE_MS: Final = 10_000  # a busy store takes its time; a dead connection must not hold the loop

log: Final = logging.getLogger("sessionware.reaper")


class Reaper:
    """Every interval: batches until nothing is left. Any number of workers may run one: the store shares out.

    An end is acknowledged after its observers were told: if this worker dies in between, another tells them.
    """

    def __init__(
        self, store: Store, endings: Endings, *, telemetry: Telemetry, interval_ms: int, batch: int = BATCH
    ) -> None:
        self._store = store
        self._endings = endings
        self._telemetry = telemetry
        self._interval_ms = interval_ms
        self._batch = batch
        self._stopping = asyncio.Event()
        self._looping: asyncio.Task[None] | None = None

    async def reap(self, *, idle_for: int | None = None) -> list[str]:
        """Reap now, until nothing is left; `idle_for` also takes what was idle for so many milliseconds.

        Answers the handles of all whose end was told. Raises StoreUnavailable; what was told until then is told.
        """
        handles: list[str] = []
        for _ in range(BATCHES_MAX):
            now = self._store.clock.now()
            ends = await _in_time(self._store.reap(now=now, limit=self._batch, idle_for=idle_for))
            if not ends:
                break
            told = await self._endings.tell(ends)
            await _in_time(self._store.record(told, now=now))
            handles += [handle(ended.session.key) for ended in ends]
        self._telemetry.counts.cleaned(len(handles))
        return handles

    def start(self) -> None:
        """Begin to reap. Does nothing when it has begun; needs a running event loop."""
        if self._looping is None:
            self._stopping.clear()
            self._looping = asyncio.get_running_loop().create_task(self._run(), name="sessionware-reaper")

    async def aclose(self) -> None:
        """Stop at once; what was not acknowledged is handed out again later. Does nothing when it does not run."""
        looping, self._looping = self._looping, None
        if looping is not None:
            self._stopping.set()
            looping.cancel()
            await asyncio.gather(looping, return_exceptions=True)

    async def _run(self) -> None:
        while not await self._stopped_within(self._interval_ms):
            try:
                await self.reap()
                page = await _in_time(self._store.list(Query(limit=0), now=self._store.clock.now()))
                self._telemetry.counts.saw_active(page.total)
            except StoreUnavailable as error:
                self._telemetry.degraded(Feature.REAPER, Reason.STORE_DOWN, Action.DELAYED, error=error)
            except Exception:
                # A store that breaks its contract once must not keep sessions from ever expiring again.
                log.exception("the store raised what it must not; reaping goes on")
                self._telemetry.degraded(Feature.REAPER, Reason.FAILED, Action.DELAYED)

    async def _stopped_within(self, ms: int) -> bool:
        try:
            async with asyncio.timeout(ms / 1000):
                return await self._stopping.wait()
        except TimeoutError:
            return False


async def _in_time(call: Awaitable[Answer]) -> Answer:
    try:
        async with asyncio.timeout(CALL_DEADLINE_MS / 1000):
            return await call
    except TimeoutError as error:
        raise StoreUnavailable(f"the store did not answer the reaper within {CALL_DEADLINE_MS} ms") from error
