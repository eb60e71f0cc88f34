"""`make bench-stores`: every store beside its peers, in one run.

python -m benchmarks.stores [--stores memory,sqlite,redis,sentinel,cluster,postgres] [--rounds 3] [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import secrets
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks import engines, peers, report, weight
from benchmarks.measure import Sample, measure, median, table
from benchmarks.workload import admission, asked_at, key_of, new_session
from sessionware.clock import StoreClock
from sessionware.core.store import Store
from sessionware.stores.open import open_store

SESSIONS = 10_000  # standing
ACTIVE = 1_000  # of which so many are asked about again and again, here and with the peers
CALLS = {"memory": 20_000, "sqlite": 4_000, "redis": 8_000, "sentinel": 8_000, "cluster": 8_000, "postgres": 2_000}
TASKS = (1, 32)
CHURN = 8  # fewer creates and deletes than calls: what they leave behind for an hour is not a normal server's load
Call = Callable[[int], Awaitable[object]]


async def calls_of(store: Store) -> dict[str, Call]:
    """The measured operations; `create` and `delete` work on sessions of their own."""
    clock = store.clock
    now = clock.now()
    standing = [new_session(store.addresses, number, now) for number in range(SESSIONS)]
    for new in standing:
        await store.create(new, operation=secrets.token_bytes(16), now=now)
    asks = [admission(store.addresses, new, now) for new in standing[:ACTIVE]]
    doomed: list[Any] = []
    serial = iter(range(SESSIONS, 100_000_000))

    async def create(_: int) -> None:
        new = new_session(store.addresses, next(serial), store.clock.now())
        doomed.append(new)
        await store.create(new, operation=secrets.token_bytes(16), now=clock.now())

    async def get(number: int) -> None:
        await store.get(key_of(standing[number % ACTIVE]), now=clock.now())

    async def update(number: int) -> None:
        session = await store.get(key_of(standing[number % ACTIVE]), now=clock.now())
        if session is not None:
            await store.update(session, now=clock.now())

    async def delete(_: int) -> None:
        await store.delete(key_of(doomed.pop()), now=clock.now())

    async def admit(number: int) -> None:
        await store.admit(asks[number % ACTIVE])

    async def admit_now(number: int) -> None:
        await store.admit(asked_at(asks[number % ACTIVE], clock.now()))

    asked = admit_now if isinstance(clock, StoreClock) else admit  # Redis corrects a question that is seconds old
    return {"create": create, "get": get, "update (read + write)": update, "delete": delete, "admit": asked}


async def bench(names: list[str], rounds: int, scale: float, folder: Path) -> dict[str, Any]:
    """All stores, interleaved round by round; medians at the end."""
    results: dict[str, dict[str, list[Sample]]] = {}
    lists: dict[str, list[float]] = {}
    extra: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        started = {name: stack.enter_context(engines.running(name, folder)) for name in names}
        server = started.get("redis")
        stores: dict[str, Store] = {}
        for name, engine in started.items():
            stores[name] = await stack.enter_async_context(open_store(engine.url, timeout_ms=5_000))
        calls = {name: await calls_of(store) for name, store in stores.items()}
        others = await peers.start(server, stack)
        gc.collect()
        gc.freeze()  # what the benchmark itself holds is not the stores' to be walked
        for _ in range(rounds):
            for name, store in stores.items():
                _, list_s = await weight.listed(store, SESSIONS)
                lists.setdefault(name, []).append(list_s * 1000)
                for operation, call in calls[name].items():
                    for tasks in TASKS:
                        count = int(CALLS[name] * scale / (CHURN if operation in {"create", "delete"} else 1))
                        sample = await measure(call, calls=count, tasks=tasks)
                        results.setdefault(name, {}).setdefault(f"{operation} x{tasks}", []).append(sample)
            for peer, call in others.items():
                for tasks in TASKS:
                    sample = await measure(call, calls=int(CALLS["redis"] * scale), tasks=tasks)
                    results.setdefault(peer, {}).setdefault(f"same call x{tasks}", []).append(sample)
        if server is not None:
            extra["redis"] = await peers.server_side(server, calls["redis"]["admit"])
            extra["redis"]["keys"] = await peers.key_count(server)
    medians = {name: {op: median(samples) for op, samples in ops.items()} for name, ops in results.items()}
    extra["list 10,000 ms"] = {name: sorted(times)[len(times) // 2] for name, times in lists.items()}
    return {"operations": medians, **extra}


def verdicts(found: dict[str, Any], sizes: dict[str, Any]) -> list[list[str]]:
    """The figures to reach, as ratios in this run."""
    ops: dict[str, dict[str, Sample]] = found["operations"]
    rows = [["figure", "wanted", "measured", ""]]

    def row(what: str, wanted: float, measured: float, unit: str, *, at_least: bool = False) -> None:
        good = measured >= wanted if at_least else measured <= wanted
        bound = f"{'>=' if at_least else '<='} {wanted:g} {unit}"
        rows.append([what, bound, f"{measured:.2f} {unit}", "reached" if good else "MISSED"])

    if "memory" in ops:
        row("memory admit", 5, ops["memory"]["admit x1"].p50_us, "us")
        row("memory get", 2, ops["memory"]["get x1"].p50_us, "us")
        row("memory list 10,000", 5, found["list 10,000 ms"]["memory"], "ms")
        row("memory per session at 100,000", 1024, sizes["memory"]["bytes_per_session"], "bytes")
    if "sqlite" in ops:
        single, grouped = ops["sqlite"]["admit x1"], ops["sqlite"]["admit x32"]
        row("sqlite CPU per admit, 32 tasks", 45, grouped.cpu_us, "us")
        row("sqlite grouped / one transaction each (CPU)", 0.7, grouped.cpu_us / single.cpu_us, "x")
    if "redis" in ops:
        ours, peer = ops["redis"]["admit x32"], ops["redis-py, same EVALSHA"]
        row("redis 32 tasks / redis-py 1 task", 5, peer["same call x1"].wall_us / ours.wall_us, "x", at_least=True)
        row("redis CPU / redis-py CPU, 32 tasks", 0.5, ours.cpu_us / peer["same call x32"].cpu_us, "x")
        row("redis server time per admit", 20, found["redis"]["server_us_per_admit"], "us")
        row("redis commands sent per admission", 1, found["redis"]["commands_per_admission"], "")
    if "redis" in ops and "cluster" in ops:
        ratio = ops["redis"]["admit x32"].wall_us / ops["cluster"]["admit x32"].wall_us
        row("cluster / single Redis, narrow admissions, 32 tasks", 0.7, ratio, "x", at_least=True)
    if "postgres" in ops:
        alone, together = ops["postgres"]["admit x1"], ops["postgres"]["admit x32"]
        row("postgres 32 tasks / 1 task", 3, alone.wall_us / together.wall_us, "x", at_least=True)
    return rows


def shown(found: dict[str, Any]) -> str:
    rows = [["store", "operation", "p50 us", "p99 us", "calls/s", "CPU us"]]
    for name, ops in found["operations"].items():
        for operation, sample in ops.items():
            rows.append(
                [name, operation, f"{sample.p50_us:.1f}", f"{sample.p99_us:.1f}", f"{sample.per_second:,.0f}",
                 f"{sample.cpu_us:.1f}"]
            )  # fmt: skip
    return table(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", default=",".join(engines.NAMES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls, 10,000 sessions for the sizes")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/stores.json"))
    given = parser.parse_args()
    names = [name for name in given.stores.split(",") if name]
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(bench(names, given.rounds, 0.1 if given.quick else 1, Path(folder)))
        sizes = {name: weight.of(name, 10_000 if given.quick else 100_000) for name in names}
    print(shown(found))
    print()
    print(table([["store", "sessions", "bytes each", "load s", "list s", "get p99 us"], *[
        [name, f"{size['sessions']:,}", f"{size['bytes_per_session']:.0f}", f"{size['load_s']:.1f}",
         f"{size['list_s']:.2f}", f"{size['get_p99_us']:.1f}"] for name, size in sizes.items()
    ]]))  # fmt: skip
    print("\nlist 10,000: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in found["list 10,000 ms"].items()))
    print()
    print(table(verdicts(found, sizes)))
    report.write(given.json, {**found, "sizes": sizes, "figures": verdicts(found, sizes)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
