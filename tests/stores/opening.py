"""The only place that opens each store for a test: a new, empty one, under a clock of the test's own."""

import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import asyncpg

from sessionware.core.store import Clock, Store
from sessionware.stores.memory import MemoryStore
from sessionware.stores.open import open_store

TIMEOUT_MS = 20_000  # tests of meaning, on a busy machine; deadlines have tests of their own
EMPTY = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'SCHEMA' AND tablename <> 'schema_version' LOOP
        EXECUTE format('DELETE FROM SCHEMA.%I', name);
    END LOOP;
END $$
"""


@asynccontextmanager
async def fresh_store(kind: str, clock: Clock | None = None, *, server: str = "") -> AsyncIterator[Store]:
    """A store of one kind that nobody else sees; on a server (`server_of`) it has a place of its own."""
    match kind:
        case "memory":
            async with MemoryStore(clock=clock) as store:
                yield store
        case "sqlite":
            with tempfile.TemporaryDirectory(prefix="sessionware-") as folder:
                async with open_store(f"sqlite:////{folder}/sessions.db", clock=clock, timeout_ms=TIMEOUT_MS) as store:
                    yield store
        case "postgres":
            async with (
                _empty_schema_on(server) as url,
                open_store(url, clock=clock, timeout_ms=TIMEOUT_MS) as store,
            ):
                yield store
        case _:
            async with open_store(some_place_on(server), clock=clock, timeout_ms=TIMEOUT_MS) as store:
                yield store


def some_place_on(server: str) -> str:
    """The URL of an installation on that server that nobody else has."""
    name = secrets.token_hex(8)
    own = f"schema=test_{name}" if server.startswith("postgres") else f"prefix=test-{name}:"
    return f"{server}{'&' if '?' in server else '?'}{own}"


@asynccontextmanager
async def _empty_schema_on(server: str) -> AsyncIterator[str]:
    """A schema that nobody else uses: to make one takes a tenth of a second, so one that is free again is emptied."""
    free = _free_schemas_on(server)
    url = free.pop() if free else some_place_on(server)
    yield url
    connection = await asyncpg.connect(server)  # not after a failure: then the schema is left as evidence
    try:
        await connection.execute(EMPTY.replace("SCHEMA", url.rpartition("schema=")[2]))
    finally:
        await connection.close()
    free.append(url)


@cache
def _free_schemas_on(_: str) -> list[str]:
    return []
