"""The only place that opens each store for a test: a new, empty one, under a clock of the test's own."""

import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sessionware.core.store import Clock, Store
from sessionware.stores.memory import MemoryStore
from sessionware.stores.open import open_store

TIMEOUT_MS = 20_000  # tests of meaning, on a busy machine; deadlines have tests of their own


@asynccontextmanager
async def fresh_store(kind: str, clock: Clock | None = None, *, server: str = "") -> AsyncIterator[Store]:
    """A store of one kind that nobody else sees; on a server (`server_of`) it has a prefix of its own."""
    match kind:
        case "memory":
            async with MemoryStore(clock=clock) as store:
                yield store
        case "sqlite":
            with tempfile.TemporaryDirectory(prefix="sessionware-") as folder:
                async with open_store(f"sqlite:////{folder}/sessions.db", clock=clock, timeout_ms=TIMEOUT_MS) as store:
                    yield store
        case _:
            async with open_store(some_place_on(server), clock=clock, timeout_ms=TIMEOUT_MS) as store:
                yield store


def some_place_on(server: str) -> str:
    """The URL of an installation on that server that nobody else has."""
    return f"{server}{'&' if '?' in server else '?'}prefix=test-{secrets.token_hex(8)}:"
