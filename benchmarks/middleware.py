"""`make bench-middleware`: what sessionware adds to a request, beside its peers, in one process and one run.

python -m benchmarks.middleware [--rounds 9] [--calls 2000] [--quick] [--profile] [--json PATH]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import statistics
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from benchmarks import report
from benchmarks.in_process import Subject, calls_of, prove
from benchmarks.measure import Sample, measure, median, table
from benchmarks.middleware_ours import ADMITTED, OURS, PLAIN, store_calls
from benchmarks.middleware_peers import COOKIE_READ, PEERS

NOT_INSTALLED: Final = "not installed: pip install 'sessionware[bench]'"
HOTTEST: Final = 25
Maker = Callable[[AsyncExitStack], Awaitable[Subject]]


class Row(Struct, omit_defaults=True):
    """What was found of one subject; a `reason` says why nothing was."""

    figures: Sample | None = None
    over: str = ""
    overhead_us: float | None = None  # medians of p50 over the bare app's p50 in the same round
    overhead_cpu_us: float | None = None  # the same for the mean, in CPU time: nothing rare is left out
    reason: str = ""


async def made(name: str, make: Maker, stack: AsyncExitStack) -> Subject:
    """The subject, which has shown that it does its work."""
    subject = await make(stack)
    await prove(name, subject)
    return subject


async def bench(rounds: int, calls: int) -> dict[str, Row]:
    """All subjects, one after the other in each round; medians at the end. Raises when one of ours does not work."""
    reasons: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        subjects = {name: await made(name, make, stack) for name, make in {**PLAIN, **OURS}.items()}
        for name, make in PEERS.items():
            try:
                subjects[name] = await made(name, make, stack)
            except ModuleNotFoundError as error:
                package = (error.name or "").partition(".")[0]
                reasons[name] = f"{NOT_INSTALLED} ({package})"
            except Exception as error:  # noqa: BLE001  # whatever a peer fails with is said in its row
                reasons[name] = f"cannot run: {type(error).__name__}: {error}"
        gc.collect()
        gc.freeze()  # what the benchmark itself holds is nobody's to be walked
        samples: dict[str, list[Sample]] = {name: [] for name in subjects}
        for _ in range(rounds):
            for name, subject in subjects.items():
                samples[name].append(await measure(calls_of(subject), calls=calls, tasks=1))
    rows = {name: _row(subjects[name], samples[name], samples.get(subjects[name].over)) for name in subjects}
    return {name: rows.get(name) or Row(reason=reasons[name]) for name in {**PLAIN, **OURS, **PEERS}}


def _row(subject: Subject, found: list[Sample], bare: list[Sample] | None) -> Row:
    figures = median(found)
    if bare is None:
        return Row(figures, subject.over, reason=f"{subject.over} cannot run")
    if bare is found:
        return Row(figures)
    pairs = list(zip(found, bare, strict=True))
    return Row(
        figures,
        subject.over,
        overhead_us=statistics.median(mine.p50_us - base.p50_us for mine, base in pairs),
        overhead_cpu_us=statistics.median(mine.cpu_us - base.cpu_us for mine, base in pairs),
    )


def shown(rows: dict[str, Row]) -> str:
    """The table: overheads, and how many times Starlette's cookie read each one is."""
    cells = [["in process", "p50 us", "p99 us", "overhead us", "mean CPU us", "x cookie read"]]
    read = rows[COOKIE_READ].overhead_us
    for name, row in rows.items():
        line = [name, *[""] * 5]
        if row.figures is not None:
            line[1:3] = f"{row.figures.p50_us:.1f}", f"{row.figures.p99_us:.1f}"
        if row.overhead_us is not None and row.overhead_cpu_us is not None:
            line[3:5] = f"{row.overhead_us:+.1f}", f"{row.overhead_cpu_us:+.1f}"
            line[5] = f"{row.overhead_us / read:.2f}" if read else ""
        cells.append(line)
    notes = ["over", "", *[row.reason or row.over for row in rows.values()]]
    return "\n".join(f"{line}  {note}".rstrip() for line, note in zip(table(cells).split("\n"), notes, strict=True))


def verdicts(rows: dict[str, Row], per_request: float) -> list[list[str]]:
    """The figures to reach, in this run."""
    ours, read = rows[ADMITTED].overhead_us or 0.0, rows[COOKIE_READ].overhead_us
    lines = [["figure", "wanted", "measured", ""]]

    def line(what: str, wanted: float, measured: float, unit: str) -> None:
        good = "reached" if measured <= wanted else "MISSED"
        lines.append([what, f"<= {wanted:g} {unit}", f"{measured:.2f} {unit}", good])

    line("sessionware over the bare app", 10, ours, "us")
    if read:
        line("sessionware / Starlette's cookie read", 1, ours / read, "x")
    line("store calls per request", 1, per_request, "")
    return lines


async def profile(calls: int) -> None:
    """Print where the time of sessionware's request goes, with the app's own beside it."""
    async with AsyncExitStack() as stack:
        subject = await made(ADMITTED, OURS[ADMITTED], stack)
        call, profiler = calls_of(subject), cProfile.Profile()
        profiler.enable()
        for number in range(calls):
            await call(number)
        profiler.disable()
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(HOTTEST)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=2000, help="requests of each subject in each round")
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls")
    parser.add_argument(
        "--profile", action="store_true", help=f"the {HOTTEST} hottest functions of our way, and no more"
    )
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/middleware.json"))
    given = parser.parse_args()
    calls = max(given.calls // (10 if given.quick else 1), 1)
    if given.profile:
        asyncio.run(profile(10 * calls))
        return 0
    counted = asyncio.run(store_calls())
    rows = asyncio.run(bench(given.rounds, calls))
    per_request = sum(counted[ADMITTED].values())
    figures = verdicts(rows, per_request)
    print(shown(rows))
    print(f"\nstore calls per request: {per_request:g}")
    for name, methods in counted.items():
        print(f"  {name}: " + ", ".join(f"{method} {times:g}" for method, times in methods.items()))
    print()
    print(table(figures))
    found = {"rounds": given.rounds, "calls": calls, "rows": rows, "store_calls": counted, "figures": figures}
    report.write(given.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
