"""How a call is timed: wall and CPU per call, p50 and p99, at a given number of concurrent tasks."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from msgspec import Struct


class Sample(Struct):
    """One round of one operation."""

    calls: int
    wall_us: float
    cpu_us: float
    p50_us: float
    p99_us: float

    @property
    def per_second(self) -> float:
        return 1e6 / self.wall_us


async def measure(call: Callable[[int], Awaitable[object]], *, calls: int, tasks: int) -> Sample:
    """Make `calls` calls from `tasks` tasks; `call` gets the number of the call."""
    took: list[int] = []
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            begun = time.perf_counter_ns()
            await call(number)
            took.append(time.perf_counter_ns() - begun)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[work() for _ in range(tasks)])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    took.sort()
    return Sample(
        calls=calls,
        wall_us=wall / calls * 1e6,
        cpu_us=cpu / calls * 1e6,
        p50_us=took[len(took) // 2] / 1000,
        p99_us=took[int(len(took) * 0.99)] / 1000,
    )


def median(samples: list[Sample]) -> Sample:
    """The median of each figure over several rounds."""

    def of(name: str) -> float:
        return float(statistics.median(getattr(sample, name) for sample in samples))

    return Sample(samples[0].calls, of("wall_us"), of("cpu_us"), of("p50_us"), of("p99_us"))


def table(rows: list[list[str]]) -> str:
    """Align columns; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def with_reasons(rows: list[list[str]], reasons: dict[str, str]) -> str:
    """The table, and under it why some have no line in it; an empty reason is none."""
    return "\n".join([table(rows), *[f"{name}: {reason}" for name, reason in reasons.items() if reason]])


def figure(
    what: str, measured: float, *, form: str, at_least: float | None = None, at_most: float | None = None
) -> list[str]:
    """One line of the figures to reach: what was wanted, what was measured, and whether that is enough."""
    if at_least is not None:
        wanted, is_good = f">= {form.format(at_least)}", measured >= at_least
    else:
        assert at_most is not None, "a figure has a bound"
        wanted, is_good = f"<= {form.format(at_most)}", measured <= at_most
    return [what, wanted, form.format(measured), "reached" if is_good else "MISSED"]
