"""The only place that decides which connection carries a request: an idle one, a new one, or the next to be free."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Final

from sessionware.proxy.wire.addresses import Address
from sessionware.proxy.wire.connection import Connection
from sessionware.proxy.wire.faults import NotDelivered, Reason
from sessionware.proxy.wire.terms import READ_SIZE, WireLimits

_CLOSING_SECONDS: Final = 5.0  # for the loop to tell that aborted connections are gone; it needs one turn
_SAFETY_SECONDS: Final = 1  # an upstream that keeps a connection for n seconds is trusted for n - 1


class Pool:
    """The connections to one address. A slot is one connection, open or being opened."""

    def __init__(self, address: Address, limits: WireLimits, tls: ssl.SSLContext | None) -> None:
        self._address = address
        self._limits = limits
        self._tls = tls
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._slots = 0
        self._connections: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # -> when to close it
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._sweeping: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None

    def take_idle(self) -> Connection | None:
        """The youngest idle connection that is still open: the others may then grow old and be closed."""
        while self._idle:
            connection, until = self._idle.popitem()
            if connection.can_be_reused(until):
                return connection
            connection.abort()
        return None

    async def take(self, within: float, *, fresh: bool = False) -> Connection:
        """Get a connection that nobody uses; `fresh` prefers a new one to an idle one.

        Raises NotDelivered when none could be had within these seconds.
        """
        if self._emptied is not None:
            raise NotDelivered(self._address, Reason.WIRE_CLOSED, "the wire is closed")
        has_slot = self._slots < self._limits.connections
        if not (fresh and has_slot):
            idle = self.take_idle()
            if idle is not None:
                return idle
        reason, deed = Reason.NO_FREE_CONNECTION, f"all {self._limits.connections} connections are in use"
        try:
            async with asyncio.timeout(within):
                if self._slots < self._limits.connections:
                    self._slots += 1
                else:
                    given = await self._wait_for_slot()
                    if given is not None:
                        return given
                reason, deed = Reason.CONNECT_TIMEOUT, "no connection"
                return await self._open()
        except TimeoutError:
            raise NotDelivered(self._address, reason, f"{deed} within {within} s") from None

    async def probe(self, within: float) -> None:
        """Open a connection and close it again. Raises NotDelivered when that takes longer, or fails."""
        try:
            async with asyncio.timeout(within):
                (await self._connect()).abort()
        except TimeoutError:
            raise NotDelivered(self._address, Reason.CONNECT_TIMEOUT, f"no connection within {within} s") from None

    async def aclose(self) -> None:
        """Close all connections, in use or not; whoever waits for one gets NotDelivered."""
        if self._emptied is None:
            self._emptied = asyncio.Event()
            fault = NotDelivered(self._address, Reason.WIRE_CLOSED, "the wire is closed")
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_exception(fault)
            self._waiters.clear()
            for connection in tuple(self._connections):
                connection.cut_off()
            if self._sweeping is not None:
                self._sweeping.cancel()
            if not self._connections:
                self._emptied.set()
        async with asyncio.timeout(_CLOSING_SECONDS):
            await self._emptied.wait()

    # -- told by connections -------------------------------------------------------------------------------------

    def keep(self, connection: Connection) -> None:
        """Give a free connection to who waits longest, else keep it for later."""
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
        elif self._emptied is not None or len(self._idle) >= self._limits.idle_connections:
            connection.abort()
        else:
            self._idle[connection] = connection.idle_since + self._idle_seconds(connection)
            if self._sweeping is None:
                self._sweep_after(self._limits.idle_seconds)

    def forget(self, connection: Connection) -> None:
        """Free the slot of a closed connection."""
        self._idle.pop(connection, None)
        if connection in self._connections:  # else it never became ours: who opened it frees the slot
            self._connections.remove(connection)
            self._free_slot()
            if self._emptied is not None and not self._connections:
                self._emptied.set()

    # -- slots ---------------------------------------------------------------------------------------------------

    async def _wait_for_slot(self) -> Connection | None:
        """Wait for a connection; None is a slot to open one in."""
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            given = await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._return(waiter.result())
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise
        if given is not None and not given.can_be_reused():
            given.abort()  # its slot goes to the next in the queue
            return await self._wait_for_slot()
        return given

    def _return(self, given: Connection | None) -> None:
        if given is None:
            self._free_slot()
        else:
            self.keep(given)

    def _next_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _free_slot(self) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
            return
        self._slots -= 1

    # -- opening and growing old ---------------------------------------------------------------------------------

    async def _open(self) -> Connection:
        """Open a connection in a slot that is ours already; the slot is freed when that fails."""
        try:
            connection = await self._connect()
        except BaseException:
            self._free_slot()
            raise
        if self._emptied is None and not connection.is_lost:
            self._connections.add(connection)
            return connection
        connection.abort()
        self._free_slot()
        reason = Reason.CONNECT_REFUSED if connection.is_lost else Reason.WIRE_CLOSED
        raise NotDelivered(self._address, reason, "the connection was closed at once")

    async def _connect(self) -> Connection:
        loop, address = asyncio.get_running_loop(), self._address

        def protocol() -> Connection:
            return Connection(address, self, self._buffer)

        try:
            if address.unix_path:
                return (await loop.create_unix_connection(protocol, address.unix_path))[1]
            name = (address.server_name or address.host) if self._tls else None
            return (
                await loop.create_connection(protocol, address.host, address.port, ssl=self._tls, server_hostname=name)
            )[1]
        except ssl.SSLError as error:
            raise NotDelivered(address, Reason.TLS_FAILED, f"TLS failed ({error})") from error
        except OSError as error:
            is_refused = isinstance(error, ConnectionError | FileNotFoundError)  # else a name, a route, our own limits
            reason = Reason.CONNECT_REFUSED if is_refused else Reason.CONNECT_FAILED
            raise NotDelivered(address, reason, f"cannot connect ({error})") from error

    def _idle_seconds(self, connection: Connection) -> float:
        said = connection.idle_seconds
        ours = self._limits.idle_seconds
        return ours if said is None else min(ours, max(0, said - _SAFETY_SECONDS))

    def _sweep_after(self, seconds: float) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long."""
        self._sweeping = None
        now = asyncio.get_running_loop().time()
        for connection in [connection for connection, until in self._idle.items() if until <= now]:
            del self._idle[connection]
            connection.abort()
        if self._idle:
            self._sweep_after(max(0.0, min(self._idle.values()) - now))
