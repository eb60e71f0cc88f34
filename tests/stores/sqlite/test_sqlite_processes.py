"""Several processes on one file, beyond what `tests/stores/test_processes.py` asks of every shared store."""

import asyncio

from sessionware.stores.sqlite import SqliteStore
from sessionware.testing import Maker, ManualClock
from tests.stores.sqlite.workers import PATIENCE_MS, together

PROCESSES = 4


def store_at(path):
    return SqliteStore(path, clock=ManualClock(), timeout_ms=PATIENCE_MS)


async def begin(path, *names):
    """Make the file, and sessions of these names."""
    async with store_at(path) as store:
        make = Maker.of(store)
        for name in names:
            await store.create(make.new(make.session(name)), operation=make.operation(), now=make.now)


def test_b8_20_creates_under_a_cap_of_5_never_make_6_by_refusing(tmp_path):
    path = tmp_path / "sessions.db"
    asyncio.run(begin(path))
    assert max(together(PROCESSES, "fill", path, count=5, cap=5, evict=False)) == 5


def test_receipts_are_unique_across_processes(tmp_path):
    path = tmp_path / "sessions.db"
    asyncio.run(begin(path, "one", "two"))

    async def end(name):
        async with store_at(path) as store:
            make = Maker.of(store)
            ended = await store.delete(make.key(name), now=make.now)
            assert ended is not None
            return ended.receipt

    assert asyncio.run(end("one")) != asyncio.run(end("two"))
