"""The only place that speaks RESP: one connection, the calls of one event-loop tick in one write.

Nothing is ever sent twice: a call whose reply is lost fails, because it may have been applied (redis-py 8 would
repeat it). Deadlines are ours and one timer serves all calls of a connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis

from sessionware.errors import StoreUnavailable

PENDING_MAX: Final = 10_000  # calls that wait for a reply; beyond it the server is hopelessly behind
SILENCE_FACTOR: Final = 4  # a server that says nothing for this many deadlines is given up
_SILENT: Final = "is it Redis, and does it want TLS (rediss://)?"

Reply = Any


class Wire(asyncio.Protocol):
    """One connection. `call` answers a future; the caller awaits it."""

    def __init__(self, *, timeout: float, on_push: Callable[[Reply], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._on_push = on_push
        self._reader = hiredis.Reader()
        self._pending: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self._loop.time()
        self._lost: StoreUnavailable | None = None
        self._gone = self._loop.create_future()
        self.where = ""  # " at 127.0.0.1:6379", once connected
        self._has_heard = False
        self.writes = 0

    @property
    def is_open(self) -> bool:
        return self._lost is None

    def call(self, *command: Any) -> asyncio.Future[Reply]:
        """Queue a command; it leaves with everything else of this tick.

        The future ends with the reply (an error reply is a value, not an exception) or StoreUnavailable.
        """
        future: asyncio.Future[Reply] = self._loop.create_future()
        if self._lost is not None:
            future.set_exception(StoreUnavailable(str(self._lost)))
            return future
        if len(self._pending) >= PENDING_MAX:
            future.set_exception(StoreUnavailable(f"Redis is behind: {PENDING_MAX} calls wait for a reply"))
            return future
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(hiredis.pack_command(command))
        self._pending.append((future, self._loop.time() + self._timeout))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._check_deadlines)
        return future

    def close(self, why: str = "the store was closed") -> None:
        """Fail what is pending and drop the connection; doing it again does nothing."""
        if self._lost is not None:
            return
        self._lost = StoreUnavailable(why)
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        pending, self._pending = self._pending, deque()
        for future, _ in pending:
            if not future.done():
                future.set_exception(StoreUnavailable(why))
        self._outgoing.clear()

    async def wait_closed(self) -> None:
        """Wait until the socket is really closed."""
        if self._transport is not None:
            await asyncio.shield(self._gone)

    async def is_lost_within(self, seconds: float) -> bool:
        """Wait for the connection to be lost, at most so long."""
        await asyncio.wait([self._gone], timeout=seconds)
        return not self.is_open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        peer = transport.get_extra_info("peername")  # None when it hung up at once
        if peer:
            self.where = f" at [{peer[0]}]:{peer[1]}" if ":" in peer[0] else f" at {peer[0]}:{peer[1]}"

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        self._has_heard = True
        reader = self._reader
        reader.feed(data)
        try:
            while True:
                reply = reader.gets()
                if reply is False:
                    return
                self._deliver(reply)
        except hiredis.ProtocolError as error:
            self.close(f"the server{self.where} is no Redis: it sent something that is not RESP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        why = "closed by the server" if self._has_heard else f"closed by the server, which said nothing: {_SILENT}"
        self.close(f"the connection to Redis{self.where} was lost: {exc or why}")
        if not self._gone.done():
            self._gone.set_result(None)

    def _deliver(self, reply: Reply) -> None:
        if self._on_push is not None and isinstance(reply, list) and reply[:1] == [b"message"]:
            self._on_push(reply)
            return
        if not self._pending:
            self.close("Redis answered a question that was not asked")
            return
        future, _ = self._pending.popleft()
        if not future.done():  # a caller that was cancelled or timed out has gone; its reply still has its turn
            future.set_result(reply)

    def _flush(self) -> None:
        if self._transport is None or not self._outgoing:
            return
        outgoing, self._outgoing = self._outgoing, []
        self.writes += 1
        self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))

    def _check_deadlines(self) -> None:
        """Fail what is overdue; give up a server that has been silent for much longer than any deadline."""
        now = self._loop.time()
        self._timer = None
        if not self._pending:
            return
        upcoming, ms = None, round(self._timeout * 1000)
        for future, due in self._pending:
            if due > now:
                upcoming = due
                break
            if not future.done():
                future.set_exception(StoreUnavailable(f"Redis{self.where} did not answer within {ms} ms"))
        overdue_for = now - self._pending[0][1] + self._timeout
        if overdue_for > self._timeout * SILENCE_FACTOR and now - self._heard_at > self._timeout * SILENCE_FACTOR:
            self.close(f"Redis{self.where} said nothing for {overdue_for * 1000:.0f} ms: connection given up")
            return
        self._timer = self._loop.call_later((upcoming or now + self._timeout) - now, self._check_deadlines)
