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
async def fresh_store(kind: str, clock: Clock | None = None, *, redis_url: str = "") -> AsyncIterator[Store]:
    """A store of one kind that nobody else sees; on Redis it has a prefix of its own."""
    match kind:
        case "memory":
            async with MemoryStore(clock=clock) as store:
                yield store
        case "sqlite":
            with tempfile.TemporaryDirectory(prefix="sessionware-") as folder:
                async with open_store(f"sqlite:////{folder}/sessions.db", clock=clock, timeout_ms=TIMEOUT_MS) as store:
                    yield store
        case _:
            url = f"{redis_url}{'&' if '?' in redis_url else '?'}prefix=test-{secrets.token_hex(8)}:"
            async with open_store(url, clock=clock, timeout_ms=TIMEOUT_MS) as store:
                yield store
