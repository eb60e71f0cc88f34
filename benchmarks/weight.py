"""C34: how much many sessions weigh and how long they take to list: each store is loaded in a process of its own.

They are made over one hour of the store's time, as real ones are: what is kept for 300 s after each creation weighs
only for the last of them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.engines import running
from benchmarks.workload import key_of, new_session
from sessionware.core.store import PAGE_MAX, Query, Store
from sessionware.stores.open import open_store
from sessionware.testing import ManualClock

BATCH = 256
HOUR_MS = 3_600_000


def of(name: str, sessions: int) -> dict[str, Any]:
    """Load `sessions` sessions into a fresh store in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.weight", name, str(sessions)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer


async def _load(store: Store, clock: ManualClock, sessions: int) -> list[Any]:
    """Create all sessions; one key of each batch is remembered, for the gets."""
    kept = []
    for first in range(0, sessions, BATCH):
        now = clock.advance(HOUR_MS * BATCH // sessions)
        news = [new_session(store.addresses, number, now) for number in range(first, min(first + BATCH, sessions))]
        await asyncio.gather(*[store.create(new, operation=secrets.token_bytes(16), now=now) for new in news])
        kept += [key_of(news[0])]
    return kept


async def listed(store: Store, at_least: int) -> tuple[int, float]:
    """How many sessions the pages show, of which so many are enough, and the seconds it took."""
    begun, seen, cursor = time.perf_counter(), 0, ""
    while True:
        page = await store.list(Query(cursor=cursor, limit=PAGE_MAX), now=store.clock.now())
        seen, cursor = seen + len(page.sessions), page.cursor
        if not cursor or seen >= at_least:
            return seen, time.perf_counter() - begun


async def _weigh(name: str, sessions: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, running(name, Path(folder)) as engine:
        clock = ManualClock()
        async with open_store(engine.url, clock=clock, timeout_ms=60_000) as store:
            before, begun = engine.bytes_held(), time.perf_counter()
            keys = await _load(store, clock, sessions)
            load_s = time.perf_counter() - begun
            after = engine.bytes_held()
            shown, list_s = await listed(store, sessions + 1)  # one too many would be seen
            if shown != sessions:
                raise RuntimeError(f"{name}: {sessions} sessions were made, {shown} are listed")
            took = []
            for _ in range(20):
                for key in keys:
                    at = time.perf_counter_ns()
                    await store.get(key, now=store.clock.now())
                    took.append((time.perf_counter_ns() - at) / 1000)
    took.sort()
    return {
        "sessions": sessions,
        "bytes_per_session": (after - before) / sessions,
        "load_s": load_s,
        "list_s": list_s,
        "get_p50_us": took[len(took) // 2],
        "get_p99_us": took[int(len(took) * 0.99)],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_weigh(sys.argv[1], int(sys.argv[2])))))
