"""The only place that sends calls to PostgreSQL: a few connections, one call at a time on each, all with a deadline.

Nothing is ever sent twice: a call whose reply is lost fails, because it may have been applied. A call that is overdue
fails at once; its connection is kept while the server, which has the same deadline, gives up too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from sessionware.errors import StoreUnavailable
from sessionware.stores.postgres import faults

SILENCE_FACTOR: Final = 4  # a server that owes a reply for this many deadlines is given up
WAITING_MAX: Final = 10_000  # calls that wait for a free connection; beyond it the server is hopelessly behind
GOODBYE_S: Final = 0.5  # how long a connection may take to close in order

Connect = Callable[[], Awaitable[Any]]


class _Call:
    """One call on its way: whether it has left, and whether its caller still waits."""

    __slots__ = ("arguments", "is_abandoned", "sent_on", "statement")

    def __init__(self, statement: str, arguments: Sequence[Any]) -> None:
        self.statement = statement
        self.arguments = arguments
        self.sent_on: Any = None
        self.is_abandoned = False


class Lines:
    """Up to `size` connections, opened when they are needed and kept."""

    def __init__(self, connect: Connect, *, size: int, timeout: float, address: object) -> None:
        self._connect = connect
        self._timeout = timeout
        self._address = address
        self._turns = asyncio.Semaphore(size)  # in the order of arrival
        self._idle: list[Any] = []
        self._open: set[Any] = set()
        self._calls: set[asyncio.Task[Sequence[Any]]] = set()

    async def call(self, statement: str, *arguments: Any) -> Sequence[Any]:
        """The rows that the statement answers. Raises StoreUnavailable, which is `Refused` when nothing was written."""
        if len(self._calls) >= WAITING_MAX:
            raise StoreUnavailable(f"PostgreSQL at {self._address!r} is behind: {WAITING_MAX} calls wait for a reply")
        call = _Call(statement, arguments)
        task = asyncio.create_task(self._perform(call))
        self._calls.add(task)
        task.add_done_callback(self._finish)
        try:
            await asyncio.wait((task,), timeout=self._timeout)
        finally:
            if not task.done():
                self._abandon(call, task)
        if task.done():
            return task.result()
        raise StoreUnavailable(
            f"PostgreSQL at {self._address!r} did not answer within {self._timeout * 1000:.0f} ms"
            if call.sent_on is not None
            else f"no connection to PostgreSQL at {self._address!r} came free within {self._timeout * 1000:.0f} ms"
        )

    async def prepare(self) -> None:
        """Open the first connection now. Raises what the connecting raises."""
        async with self._turns:
            if not self._idle:
                self._put_back(await self._connect())

    def drop_all(self) -> None:
        """Drop every connection at once, whatever it is doing: the next calls connect anew."""
        for connection in tuple(self._open):
            self._drop(connection)

    async def close(self) -> None:
        """End all calls and close all connections."""
        calls = tuple(self._calls)
        for task in calls:
            task.cancel()
        for connection in self._open.difference(self._idle):
            connection.terminate()
        await asyncio.gather(*calls, return_exceptions=True)
        closing = [hang_up(connection) for connection in self._open]
        self._open.clear()
        self._idle.clear()
        await asyncio.gather(*closing)

    async def _perform(self, call: _Call) -> Sequence[Any]:
        async with self._turns:
            connection = self._take() or await self._opened()
            try:
                if call.is_abandoned:  # before it was sent: then it is not sent at all
                    return ()
                call.sent_on = connection
                rows: Sequence[Any] = await connection.fetch(call.statement, *call.arguments)
            except faults.ANY as error:
                failure = faults.explained(error, self._address)
                if faults.wants_another(failure):
                    self.drop_all()
                raise failure from error
            else:
                return rows
            finally:
                self._put_back(connection)

    def _take(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._open.discard(connection)
        return None

    async def _opened(self) -> Any:
        connection = await self._connect()
        self._open.add(connection)
        return connection

    def _put_back(self, connection: Any) -> None:
        if connection.is_closed():
            self._open.discard(connection)
            return
        self._open.add(connection)
        self._idle.append(connection)

    def _drop(self, connection: Any) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        connection.terminate()

    def _abandon(self, call: _Call, task: asyncio.Task[Sequence[Any]]) -> None:
        """The caller has gone; when the server never answers, its connection goes, too."""
        call.is_abandoned = True
        if call.sent_on is None:
            return
        connection = call.sent_on
        loop = asyncio.get_running_loop()
        given_up = loop.call_later(self._timeout * (SILENCE_FACTOR - 1), self._drop, connection)
        task.add_done_callback(lambda _: given_up.cancel())

    def _finish(self, task: asyncio.Task[Sequence[Any]]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # has been told, or nobody waits for it any more


async def hang_up(connection: Any) -> None:
    """Say goodbye, but not long."""
    try:
        await connection.close(timeout=GOODBYE_S)
    except faults.ANY:
        connection.terminate()
