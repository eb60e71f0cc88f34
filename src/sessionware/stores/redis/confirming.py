"""The only place that waits for replicas: what must not be lost with the primary is held by them when it is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.redis.plain import ask
from sessionware.stores.redis.wire import Wire

WAIT_MS: Final = 50  # a replica in the same place acknowledges in one or two
CONFIRM_WITHIN_S: Final = 0.25  # two WAITs, of which one may be under way, and a connection to send them on
WARN_EVERY_S: Final = 1.0
MARK_KEEP_MS: Final = 1_000

log = logging.getLogger("sessionware.store")


class Confirmation:
    """WAIT on a connection of its own, for it blocks the one that it is sent on; one WAIT serves all who wait.

    What the replicas do not confirm stands nevertheless, and is lost only if the primary is lost now: a warning.
    """

    def __init__(self, open_wire: Callable[[], Awaitable[Wire]], *, replicas: int, mark: str) -> None:
        self.unconfirmed = 0
        self._open = open_wire
        self._replicas = replicas
        self._mark = mark
        self._wire: Wire | None = None
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._warned_at = float("-inf")

    async def confirm(self) -> None:
        """Returns when enough replicas hold what was written until now, or have not said so in time."""
        if self._replicas == 0:
            return
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._after(self._running))
        confirming = self._next
        await asyncio.wait([confirming], timeout=CONFIRM_WITHIN_S)  # who is cancelled does not end it for the others
        if not confirming.done():
            self.warn("the primary cannot be asked in time")

    def warn(self, why: str) -> None:
        """Count it, and say it once a second at most."""
        self.unconfirmed += 1
        now = asyncio.get_running_loop().time()
        if now - self._warned_at >= WARN_EVERY_S:
            self._warned_at = now
            log.warning("a revocation, end or rotation is not held by replicas yet, a failover now loses it: %s", why)

    async def close(self) -> None:
        """A store that is opened again confirms again."""
        tasks = [task for task in (self._running, self._next) if task is not None]
        self._running = self._next = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._wire is not None:
            self._wire.close()
            await self._wire.wait_closed()

    async def _after(self, before: asyncio.Task[None] | None) -> None:
        """One WAIT, when the one under way is done: that one was sent before the writes of these callers."""
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        try:
            held_by = await self._ask()
        except (StoreUnavailable, ConfigError) as error:
            self.warn(str(error))
            return
        if held_by < self._replicas:
            self.warn(f"{held_by} of {self._replicas} replicas confirmed within {WAIT_MS} ms")

    async def _ask(self) -> int:
        if self._wire is None or not self._wire.is_open:
            self._wire = await self._open()
        # A write of this connection's own, so that WAIT means everything that was written before it.
        marked = self._wire.call("SET", self._mark, "", "PX", MARK_KEEP_MS)
        held_by, _ = await asyncio.gather(ask(self._wire, "WAIT", self._replicas, WAIT_MS), marked)
        return int(held_by)
