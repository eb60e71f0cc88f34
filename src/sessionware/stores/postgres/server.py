"""The only place that keeps up with one PostgreSQL: opening, agreeing on the salt, keeping time, reopening."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sessionware.clock import SAMPLES, StoreClock, monotonic_ms
from sessionware.core.ids import Addresses
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.postgres import faults
from sessionware.stores.postgres.address import PostgresAddress
from sessionware.stores.postgres.connecting import connect
from sessionware.stores.postgres.lines import Lines, hang_up
from sessionware.stores.postgres.schema import join, update

OTHER_LINES: Final = 3  # connections for all but admissions, which have one of their own: a slow reap delays none
START_S: Final = 5.0  # how long the first connection may take, retries included; making the schema comes on top
BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)  # between attempts; calls in between fail at once
CALIBRATE_TICK_S: Final = 1.0  # how often the clock is asked whether it wants a calibration
_TIME: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, salt FROM installation"


class Server:
    """One server, or several of which one takes writes. Many callers share one attempt to connect."""

    def __init__(
        self, address: PostgresAddress, *, timeout: float, calibrated: StoreClock | None, salt: bytes | None = None
    ) -> None:
        self.address = address
        self.addresses: Addresses | None = None
        self._timeout = timeout
        self._clock = calibrated
        self._salt = salt  # what an installation without one is given
        self._admissions = Lines(self._connect, size=1, timeout=timeout, address=address)
        self._others = Lines(self._connect, size=OTHER_LINES, timeout=timeout, address=address)
        self._connecting = asyncio.Lock()
        self._host: tuple[str, int] | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._why = "not connected yet"
        self._tick: asyncio.TimerHandle | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._is_closed = False

    async def start(self) -> None:
        """Connect for the first time, within START_S. Raises ConfigError when the server can never serve us."""
        self._is_closed = False  # a start that failed may be tried again
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + START_S
        while True:
            try:
                await self._admissions.prepare()
            except StoreUnavailable:
                pause = max(self._retry_at - loop.time(), 0)
                if loop.time() + pause >= give_up_at:
                    raise
                await asyncio.sleep(pause)
            else:
                break
        if self._clock is not None and self._tick is None:
            self._tick = loop.call_later(CALIBRATE_TICK_S, self._keep_time)

    async def call(self, statement: str, *arguments: Any, admitting: bool = False) -> Sequence[Any]:
        """Run one statement and answer its rows.

        Raises StoreUnavailable when it may or may not have been applied, its subclass `Refused` when it was not.
        """
        lines = self._admissions if admitting else self._others
        return await lines.call(statement, *arguments)

    async def open(self) -> Any:
        """A connection of its own, for subscriptions. Raises StoreUnavailable, ConfigError."""
        connection, _ = await connect(self.address, call_ms=self._timeout * 1000, first=self._host)
        return connection

    async def close(self) -> None:
        """Drop the connections and whatever attempt is under way; returns when they are closed."""
        self._is_closed = True
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._admissions.close()
        await self._others.close()

    def calibrate_with(self, store_now: int) -> None:
        """Believe a time that the server sent with a refusal for skew."""
        if self._clock is not None:
            at = monotonic_ms()
            self._clock.calibrate([(at, store_now, at)])

    async def _connect(self) -> Any:
        """A checked connection. One attempt at a time; whoever waited behind a failed one fails with it."""
        async with self._connecting:
            if self._is_closed:
                raise StoreUnavailable(f"the store {self.address!r} is closed")
            loop = asyncio.get_running_loop()
            if loop.time() < self._retry_at:
                raise StoreUnavailable(f"PostgreSQL at {self.address!r} is away: {self._why}")
            try:
                connection = await self._join()
            except (StoreUnavailable, ConfigError) as error:
                self._why = str(error)
                self._retry_at = loop.time() + BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
                self._failures += 1
                if self.addresses is not None and isinstance(error, ConfigError):
                    raise StoreUnavailable(str(error)) from error  # it has served us before: not the moment to give up
                raise
            self._failures = 0
            return connection

    async def _join(self) -> Any:
        is_first = self.addresses is None
        connection, host = await connect(
            self.address, call_ms=self._timeout * 1000, first=self._host, is_first=is_first
        )
        try:
            self.addresses = await self._agree_on_salt(connection)
            if self._clock is not None and (self._failures or self._clock.wants_calibration()):
                self._clock.calibrate([await _sample(connection) for _ in range(SAMPLES)])
        except faults.ANY as error:
            connection.terminate()
            raise faults.explained(error, self.address) from error
        except BaseException:
            connection.terminate()
            raise
        self._host = host
        return connection

    async def _agree_on_salt(self, connection: Any) -> Addresses:
        """Found the installation, or join it; one that was lost is founded again with the salt that we know."""
        known = self.addresses
        agreed = await join(connection, self.address, salt=known.salt if known is not None else self._salt)
        if known is not None and known != agreed:
            raise StoreUnavailable(
                f"PostgreSQL at {self.address!r} now holds another installation (its salt changed): restart to join it"
            )
        return agreed

    def _keep_time(self) -> None:
        """Every second: if the clock wants it, take one sample without making anybody wait."""
        self._tick = asyncio.get_running_loop().call_later(CALIBRATE_TICK_S, self._keep_time)
        is_busy = self._keeping is not None and not self._keeping.done()
        if self._clock is not None and self._clock.wants_calibration() and not is_busy:
            self._keeping = asyncio.get_running_loop().create_task(self._recalibrate(self._clock))

    async def _recalibrate(self, clock: StoreClock) -> None:
        """Take one sample, and look whether the installation is still ours: a backup may have been restored."""
        before = monotonic_ms()
        try:
            rows = await self._others.call(_TIME)
        except StoreUnavailable:
            return
        if self.addresses is None or not rows or rows[0][1] != self.addresses.salt:
            self._admissions.drop_all()
            self._others.drop_all()  # connecting anew finds out what stands there now
            return
        clock.calibrate([(before, rows[0][0], monotonic_ms())])


async def _sample(connection: Any) -> tuple[int, int, int]:
    before = monotonic_ms()
    store_now = await connection.fetchval(_TIME)
    return before, store_now, monotonic_ms()


async def apply_schema(address: PostgresAddress, *, call_ms: float) -> int | None:
    """Make the schema or bring it up to date; the version that stood there before. Raises what `connect` raises."""
    async with _visiting(address, call_ms) as connection:
        return await update(connection, address)


async def drop_schema(address: PostgresAddress, *, call_ms: float) -> None:
    """Delete the schema and everything in it: for schemas that were made to be deleted again."""
    async with _visiting(address, call_ms) as connection:
        await connection.execute(f'DROP SCHEMA IF EXISTS "{address.schema}" CASCADE')


@asynccontextmanager
async def _visiting(address: PostgresAddress, call_ms: float) -> AsyncIterator[Any]:
    connection, _ = await connect(address, call_ms=call_ms)
    try:
        yield connection
    except faults.ANY as error:
        raise faults.explained(error, address) from error
    finally:
        await hang_up(connection)
