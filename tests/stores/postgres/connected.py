"""The only place that makes connections to PostgreSQL for tests: ours, and those of somebody who may do all."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from msgspec.structs import replace

from sessionware.clock import StoreClock
from sessionware.errors import StoreUnavailable
from sessionware.stores.postgres.address import PostgresAddress, read_address
from sessionware.stores.postgres.server import Server

DEADLINE_S = 0.5  # where a test is about it
PATIENT_S = 10.0  # everywhere else, for the machine may be busy
SLEEP = "SELECT pg_sleep($1::float8)"


def schema_of_its_own(url: str) -> PostgresAddress:
    return replace(read_address(url), schema=f"test_{secrets.token_hex(8)}")


@asynccontextmanager
async def connected(address: PostgresAddress, *, deadline: float = PATIENT_S) -> AsyncIterator[Server]:
    server = Server(address, timeout=deadline, calibrated=StoreClock())
    try:
        await server.start()
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def superuser(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def until_it_answers(server: Server, *, within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while True:
            try:
                await server.call("SELECT 1")
                await server.call("SELECT 1", admitting=True)
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def first_error(server: Server, statement: str, *, within: float = 5.0) -> StoreUnavailable:
    """Repeat a statement until it fails."""
    async with asyncio.timeout(within):
        while True:
            try:
                await server.call(statement)
            except StoreUnavailable as error:
                return error
            await asyncio.sleep(0.01)
