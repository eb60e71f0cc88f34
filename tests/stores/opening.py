"""The only place that opens each store for a test: a new, empty one, under a clock of the test's own."""

import os
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from sessionware.core.store import Clock, Store
from sessionware.stores.memory import MemoryStore
from sessionware.stores.open import open_store

TIMEOUT_MS = 20_000  # tests of meaning, on a busy machine; deadlines have tests of their own

_free_schemas: list[str] = []  # made and empty: to make one takes longer than most tests


@asynccontextmanager
async def fresh_store(kind: str, clock: Clock | None = None, *, server: str = "") -> AsyncIterator[Store]:
    """A store of one kind that nobody else sees; on a server (`server_of`) it has a prefix or a schema of its own."""
    match kind:
        case "memory":
            async with MemoryStore(clock=clock) as store:
                yield store
        case "sqlite":
            with tempfile.TemporaryDirectory(prefix="sessionware-") as folder:
                async with open_store(f"sqlite:////{folder}/sessions.db", clock=clock, timeout_ms=TIMEOUT_MS) as store:
                    yield store
        case "postgres":
            async with _borrowed_schema(server) as url, open_store(url, clock=clock, timeout_ms=TIMEOUT_MS) as store:
                yield store
        case _:
            async with open_store(some_place_on(server), clock=clock, timeout_ms=TIMEOUT_MS) as store:
                yield store


def some_place_on(server: str) -> str:
    """The URL of an installation on that server that nobody else has."""
    own = secrets.token_hex(8)
    return _with_option(server, f"schema=test_{own}" if server.startswith("postgres") else f"prefix=test-{own}:")


@asynccontextmanager
async def _borrowed_schema(server: str) -> AsyncIterator[str]:
    """The URL of an empty schema, which is emptied again and kept for the next test of this process."""
    schema = _free_schemas.pop() if _free_schemas else f"test_{os.getpid()}_{secrets.token_hex(4)}"
    yield _with_option(server, f"schema={schema}")
    connection = await asyncpg.connect(server)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname = $1 AND tablename <> 'schema_version'",
            schema,
        )
        await connection.execute(";".join(f"DELETE FROM {table}" for (table,) in tables))
    finally:
        await connection.close()
    _free_schemas.append(schema)


def _with_option(server: str, option: str) -> str:
    return f"{server}{'&' if '?' in server else '?'}{option}"
