"""The only place that keeps a connection to one Redis server: opening, checking, calibrating, reopening."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from weakref import WeakSet

import hiredis

from sessionware.clock import SAMPLES, StoreClock, monotonic_ms
from sessionware.core.ids import Addresses
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.redis.address import RedisAddress
from sessionware.stores.redis.connecting import connect
from sessionware.stores.redis.plain import ask, hang_up
from sessionware.stores.redis.welcome import agree_on_salt, check_role, check_server
from sessionware.stores.redis.wire import Reply, Wire

BUCKETS: Final = 1  # a single server keeps everything in one bucket; a cluster has 256
CONNECT_S: Final = 2.0  # one attempt: TCP, TLS, AUTH and the checks
START_S: Final = 5.0  # how long the first connection may take, retries included
BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)  # between attempts; calls in between fail at once
CALIBRATE_TICK_S: Final = 1.0  # how often the clock is asked whether it wants a calibration

Greeting = Callable[[Wire], Awaitable[object]]


class Node:
    """One server. `wire()` hands out the open connection, or makes one; many callers share one attempt.

    A server that moves is looked for by `find` before each connection, and is `known_as` whatever finds it. `greet` is
    what a server is told before it is asked anything: it may have lost what it knew.
    """

    def __init__(  # noqa: PLR0913  # each keyword is one thing that differs between a server, a primary and a master
        self,
        address: RedisAddress,
        *,
        timeout: float,
        calibrated: StoreClock | None,
        salt: bytes | None = None,
        find: Callable[[], Awaitable[RedisAddress]] | None = None,
        known_as: object | None = None,
        greet: Greeting | None = None,
        backoff: Sequence[float] = BACKOFF_S,
    ) -> None:
        self.address = address
        self.addresses: Addresses | None = None
        self.reconnects = 0
        self._timeout = timeout
        self._clock = calibrated
        self._salt = salt  # what a server without one is given
        self._find = find
        self._greet = greet
        self._known_as = known_as or address
        self._backoff = backoff
        self._tls = address.tls_context()
        self._checked: RedisAddress | None = None  # the server that was found fit to serve us
        self._wire: Wire | None = None
        self._wires: WeakSet[Wire] = WeakSet()  # every connection to the server, subscriptions too
        self._attempt: asyncio.Task[Wire] | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._why = "not connected yet"
        self._tick: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return repr(self._known_as)

    @property
    def open_wire(self) -> Wire | None:
        """The connection if it stands: the hot path does not await."""
        wire = self._wire
        return wire if wire is not None and wire.is_open else None

    async def start(self) -> None:
        """Connect for the first time, within START_S. Raises ConfigError when the server can never serve us."""
        self._closed = False  # a start that failed may be tried again
        give_up_at = asyncio.get_running_loop().time() + START_S
        while True:
            try:
                await self.wire(within=START_S)
            except StoreUnavailable:
                pause = self._retry_at - asyncio.get_running_loop().time()
                if asyncio.get_running_loop().time() + max(pause, 0) >= give_up_at:
                    raise
                await asyncio.sleep(max(pause, 0))
            else:
                return

    async def wire(self, *, within: float | None = None) -> Wire:
        """The open connection. Raises StoreUnavailable within the deadline if there is none to be had."""
        wire = self.open_wire
        if wire is not None:
            return wire
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + (within or self._timeout)
        while True:
            if self._closed:
                raise StoreUnavailable(f"the store {self!r} is closed")
            if self._attempt is None and loop.time() < self._retry_at:
                raise StoreUnavailable(f"Redis at {self!r} is away: {self._why}")
            attempt = self._begin()
            await asyncio.wait([attempt], timeout=max(give_up_at - loop.time(), 0))  # who is cancelled leaves it be
            if not attempt.done():
                raise StoreUnavailable(f"Redis at {self!r} cannot be reached in time: {self._why}")
            if attempt.cancelled():
                continue  # the server was left meanwhile
            try:
                return attempt.result()
            except ConfigError as error:
                if self.addresses is None:
                    raise
                raise StoreUnavailable(str(error)) from error  # it has served us before: not the moment to give up

    async def open(self, on_push: Callable[[Reply], None] | None = None) -> Wire:
        """A connection of its own, authenticated, with nothing checked but who leads: for subscriptions."""
        if self._find is not None:
            self._move_to(await self._find())
        wire = await connect(
            self.address,
            tls=self._tls,
            each=self._timeout if on_push is None else CONNECT_S,
            within=CONNECT_S,
            on_push=on_push,
        )
        self._wires.add(wire)
        if self._find is not None:
            try:
                await check_role(wire, self.address)
            except BaseException:
                await hang_up(wire)
                raise
        return wire

    def leave(self, why: str) -> None:
        """Drop every connection and every attempt: the next call looks for the server anew, and at once."""
        self._close_wires(why)
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        self._why = why
        self._failures = 0
        self._retry_at = 0.0

    async def close(self) -> None:
        """Drop the connection and whatever attempt is under way; returns when the sockets are closed."""
        self._closed = True
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.gather(self._attempt, return_exceptions=True)
        if self._wire is not None:
            await hang_up(self._wire)

    def calibrate_with(self, store_now: int) -> None:
        """Believe a time that the server sent with a refusal for skew."""
        if self._clock is not None:
            at = monotonic_ms()
            self._clock.calibrate([(at, store_now, at)])

    def _move_to(self, found: RedisAddress) -> None:
        """All connections lead to one server: whoever learns first that it is another one ends the old ones."""
        if found != self.address:
            self._close_wires(f"the server is {found!r} now")
        self.address = found

    def _close_wires(self, why: str) -> None:
        for wire in list(self._wires):
            wire.close(why)

    def _begin(self) -> asyncio.Task[Wire]:
        """The attempt under way, or a new one."""
        if self._attempt is None:
            self._attempt = asyncio.get_running_loop().create_task(self._connect())
            self._attempt.add_done_callback(self._settle)
        return self._attempt

    def _settle(self, attempt: asyncio.Task[Wire]) -> None:
        """Note how an attempt went, so that nobody waits for a server that has just been found away."""
        if self._attempt is attempt:
            self._attempt = None
        if attempt.cancelled():
            return
        error = attempt.exception()
        if error is None:
            self._failures = 0
            return
        self._why = str(error)
        self._retry_at = asyncio.get_running_loop().time() + self._backoff[min(self._failures, len(self._backoff) - 1)]
        self._failures += 1

    async def _connect(self) -> Wire:
        wire = await self.open()
        try:
            async with asyncio.timeout(CONNECT_S):
                if self._checked != self.address:
                    await check_server(wire, self.address)
                    self._checked = self.address
                self.addresses = await agree_on_salt(
                    wire, self.address, buckets=BUCKETS, known=self.addresses, salt=self._salt
                )
                await self._calibrate(wire)
                if self._greet is not None:
                    await self._greet(wire)
        except TimeoutError:
            await hang_up(wire)
            raise StoreUnavailable(f"Redis at {self.address!r} connected but did not answer in time") from None
        except BaseException:
            await hang_up(wire)
            raise
        if self._closed:
            await hang_up(wire)
            raise StoreUnavailable(f"the store {self!r} is closed")
        if self._wire is not None:
            self.reconnects += 1
        self._wire = wire
        if self._clock is not None and self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(CALIBRATE_TICK_S, self._keep_time)
        return wire

    async def _calibrate(self, wire: Wire, samples: int = SAMPLES) -> None:
        if self._clock is None:
            return
        taken = []
        for _ in range(samples):
            before = monotonic_ms()
            seconds, micros = await ask(wire, "TIME")
            taken.append((before, int(seconds) * 1000 + int(micros) // 1000, monotonic_ms()))
        self._clock.calibrate(taken)

    def _keep_time(self) -> None:
        """Every second: if the clock wants it, take one sample without making anybody wait."""
        self._tick = asyncio.get_running_loop().call_later(CALIBRATE_TICK_S, self._keep_time)
        wire, clock = self.open_wire, self._clock
        if wire is None or clock is None:
            return
        self._check_salt(wire)
        if not clock.wants_calibration():
            return
        before = monotonic_ms()

        def believe(answer: asyncio.Future[Reply]) -> None:
            if not answer.cancelled() and answer.exception() is None and isinstance(answer.result(), list):
                seconds, micros = answer.result()
                clock.calibrate([(before, int(seconds) * 1000 + int(micros) // 1000, monotonic_ms())])

        wire.call("TIME").add_done_callback(believe)

    def _check_salt(self, wire: Wire) -> None:
        """Connect anew when the salt is gone or another (FLUSHALL): the next worker would found an installation."""

        def compare(answer: asyncio.Future[Reply]) -> None:
            if answer.cancelled() or answer.exception() is not None or self.addresses is None or self._closed:
                return
            salt = answer.result()
            if salt != self.addresses.salt and not isinstance(salt, hiredis.ReplyError):
                wire.close("the installation's salt is gone from the server: connecting anew")
                self._begin()

        wire.call("HGET", f"{self.address.prefix}meta", "salt").add_done_callback(compare)
