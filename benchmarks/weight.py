"""How much many sessions weigh: each store is loaded in a process of its own, so that nothing else counts.

They are made over one hour of the store's time, as real ones are: what is kept for 300 s after each creation weighs
only for the last of them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.redis_server import RedisServer
from benchmarks.workload import key_of, new_session
from sessionware.core.store import Store
from sessionware.stores.open import open_store
from sessionware.testing import ManualClock

BATCH = 256
HOUR_MS = 3_600_000


def of(name: str, sessions: int) -> dict[str, Any]:
    """Load `sessions` sessions into a fresh store in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.weight", name, str(sessions)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def _load(store: Store, clock: ManualClock, sessions: int) -> list[Any]:
    """Create all sessions; one key of each batch is remembered, for the gets."""
    kept = []
    for first in range(0, sessions, BATCH):
        now = clock.advance(HOUR_MS * BATCH // sessions)
        news = [new_session(store.addresses, number, now) for number in range(first, min(first + BATCH, sessions))]
        await asyncio.gather(*[store.create(new, operation=secrets.token_bytes(16), now=now) for new in news])
        kept += [key_of(news[0])]
    return kept


async def _weigh(name: str, sessions: int) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(RedisServer(folder)) if name == "redis" else None
        url = {"memory": "memory://", "sqlite": f"sqlite:///{folder}/w.db", "redis": server.url if server else ""}[name]
        clock = ManualClock()
        async with open_store(url, clock=clock, timeout_ms=10_000) as store:
            before, begun = await _size(name, store, folder), time.perf_counter()
            keys = await _load(store, clock, sessions)
            load_s = time.perf_counter() - begun
            after = await _size(name, store, folder)
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
        "get_p50_us": took[len(took) // 2],
        "get_p99_us": took[int(len(took) * 0.99)],
    }


async def _size(name: str, store: Any, folder: Path) -> int:
    if name == "memory":
        return _resident()
    if name == "sqlite":
        return _bytes_of(folder)
    info = (await store._command("INFO", "memory")).decode()  # noqa: SLF001  # the server's own count
    return int(next(line for line in info.splitlines() if line.startswith("used_memory:")).partition(":")[2])


def _bytes_of(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.glob("w.db*"))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_weigh(sys.argv[1], int(sys.argv[2])))))
