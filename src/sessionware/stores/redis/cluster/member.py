"""The only place that keeps a connection to one node of a cluster: opening, checking, reopening."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sessionware.clock import StoreClock, monotonic_ms
from sessionware.errors import StoreUnavailable
from sessionware.stores.redis.address import RedisAddress
from sessionware.stores.redis.cluster.topology import Place
from sessionware.stores.redis.connecting import connect
from sessionware.stores.redis.node import CONNECT_S
from sessionware.stores.redis.plain import ask, hang_up
from sessionware.stores.redis.welcome import check_scripts, check_version
from sessionware.stores.redis.wire import Reply, Wire

GREET_S: Final = 60.0  # measured: 10,000 revocations in 84 buckets are compared in 2 s, and all said again in 35
RETRY_AFTER_S: Final = 0.1  # a node that was found away is tried again after this; calls in between fail at once


class NothingRan(StoreUnavailable):
    """A call that failed and provably left nothing behind."""


class Member:
    """One node. `wire()` hands out the open connection, or makes one; many callers share one attempt."""

    def __init__(
        self,
        address: RedisAddress,
        *,
        timeout: float,
        calibrated: StoreClock | None,
        greet: Callable[[Member, Wire], Awaitable[object]],
    ) -> None:
        self.address = address
        self.place: Place = (address.host, address.port)
        self.owned = ""  # a key in a slot that it serves, for the probe; empty when it serves none of ours
        self._greet = greet  # what it is told before it is asked anything: it may have lost what it knew
        self._tls = address.tls_context()
        self._timeout = timeout
        self._clock = calibrated
        self._wire: Wire | None = None
        self._attempt: asyncio.Task[Wire] | None = None
        self._retry_at = 0.0
        self._why = "not connected yet"
        self._was_checked = False
        self._closed = False

    def __repr__(self) -> str:
        return repr(self.address)

    @property
    def open_wire(self) -> Wire | None:
        wire = self._wire
        return wire if wire is not None and wire.is_open else None

    async def wire(self, *, within: float | None = None) -> Wire:
        """The open connection. Raises NothingRan within the deadline if there is none to be had, or ConfigError."""
        wire = self.open_wire
        if wire is not None:
            return wire
        if self._closed:
            raise self._left()
        if self._attempt is None:
            if asyncio.get_running_loop().time() < self._retry_at:
                raise NothingRan(f"Redis at {self!r} is away: {self._why}")
            self._attempt = asyncio.get_running_loop().create_task(self._connect())
            self._attempt.add_done_callback(self._settle)
        attempt = self._attempt
        await asyncio.wait([attempt], timeout=within or self._timeout)  # who is cancelled leaves it be
        if not attempt.done():
            raise NothingRan(f"Redis at {self!r} cannot be reached in time: {self._why}")
        if attempt.cancelled():
            raise self._left()  # by `close`, not by whoever waits here
        try:
            return attempt.result()
        except StoreUnavailable as error:
            raise NothingRan(str(error)) from error

    async def open(self, on_push: Callable[[Reply], None] | None = None) -> Wire:
        """A connection of its own, authenticated, with nothing checked."""
        each = self._timeout if on_push is None else CONNECT_S
        return await connect(self.address, tls=self._tls, each=each, within=CONNECT_S, on_push=on_push)

    async def close(self) -> None:
        """Drop the connection and whatever attempt is under way; returns when the sockets are closed."""
        self._closed = True
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.gather(self._attempt, return_exceptions=True)
        if self._wire is not None:
            await hang_up(self._wire)

    async def calibrate(self, samples: int = 1) -> None:
        """Set the clock by this node's time. Raises StoreUnavailable."""
        if self._clock is None:
            return
        wire, taken = await self.wire(), []
        for _ in range(samples):
            before = monotonic_ms()
            seconds, micros = await ask(wire, "TIME")
            taken.append((before, int(seconds) * 1000 + int(micros) // 1000, monotonic_ms()))
        self._clock.calibrate(taken)

    def _left(self) -> NothingRan:
        return NothingRan(f"{self!r} has left the cluster, or the store is closed")

    def _settle(self, attempt: asyncio.Task[Wire]) -> None:
        self._attempt = None
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            self._why = str(error)
            self._retry_at = asyncio.get_running_loop().time() + RETRY_AFTER_S

    async def _connect(self) -> Wire:
        wire = await self.open()
        try:
            async with asyncio.timeout(CONNECT_S):
                if not self._was_checked:
                    await check_version(wire, self.address, clustered=True)
                if not self._was_checked and self.owned:
                    await check_scripts(wire, self.address, self.owned)
                self._was_checked = True
            async with asyncio.timeout(GREET_S):
                await self._greet(self, wire)
        except TimeoutError:
            await hang_up(wire)
            raise StoreUnavailable(f"Redis at {self!r} connected but did not answer in time") from None
        except BaseException:
            await hang_up(wire)
            raise
        self._wire = wire
        return wire
