"""How long one real `tools/call` takes, one after the other: direct, through ours, and through the peers."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from benchmarks import proxy_requests as requests
from benchmarks.measure import figure, with_reasons
from benchmarks.processes import Program
from benchmarks.proxy_load import load
from benchmarks.proxy_standing import Standing, mcp_url

WARM_UP_CALLS: Final = 20
DIRECT: Final = "direct"
OURS: Final = "ours"
NAMES: Final = {
    "nginx": "nginx",
    "haproxy": "HAProxy",
    "fastmcp": "fastmcp proxy",
    "mcp-proxy": "mcp-proxy (HTTP to stdio to HTTP)",
}


class Calls(Struct):
    """Calls of one round, or the medians of several."""

    p50_ms: float
    p99_ms: float


class Row(Struct, omit_defaults=True):
    """What was found of one way to the server, or the reason why nothing was."""

    median: Calls | None = None
    over_direct_ms: float = 0.0  # the median of the differences of p50 within each round
    rounds: list[Calls] = []
    reason: str = ""


def measured(*, rounds: int, seconds: float) -> dict[str, Row]:
    """Every way for so long, one after the other in each round."""
    with ExitStack() as stack:
        standing = Standing(stack, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        ways = _ways(standing)
        asked = {name: requests.tool_call(program.port, "pid") for name, program in ways.items()}
        for name, program in ways.items():
            load(program.port, [asked[name]], count=WARM_UP_CALLS)
        found: dict[str, list[Calls]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, program in ways.items():
                one = load(program.port, [asked[name]], seconds=seconds)
                found[name].append(Calls(one["p50_us"] / 1000, one["p99_us"] / 1000))
    rows = {name: _row(each, found[DIRECT]) for name, each in found.items()}
    return rows | {NAMES[name]: Row(reason=why) for name, why in standing.missing.items()}


def _ways(standing: Standing) -> dict[str, Program]:
    demo = standing.demo()
    peers = {
        "nginx": standing.nginx(demo),
        "haproxy": standing.haproxy(demo),
        "fastmcp": standing.fastmcp(demo),
        "mcp-proxy": standing.mcp_proxy(demo),
    }
    stand = {NAMES[name]: program for name, program in peers.items() if program is not None}
    return {DIRECT: demo, OURS: standing.ours(mcp_url(demo)), **stand}


def _row(found: list[Calls], direct: list[Calls]) -> Row:
    middle = Calls(statistics.median(one.p50_ms for one in found), statistics.median(one.p99_ms for one in found))
    over = statistics.median(mine.p50_ms - base.p50_ms for mine, base in zip(found, direct, strict=True))
    return Row(middle, over, found)


def shown(rows: dict[str, Row]) -> str:
    cells = [["tools/call, one after the other", "p50 ms", "p99 ms", "over direct ms"]]
    for name, row in rows.items():
        if row.median is not None:
            figures = f"{row.median.p50_ms:.2f}", f"{row.median.p99_ms:.2f}", f"{row.over_direct_ms:+.2f}"
            cells.append([name, *figures])
    return with_reasons(cells, {name: row.reason for name, row in rows.items()})


def verdicts(rows: dict[str, Row]) -> list[list[str]]:
    """The figure to reach, in this run."""
    return [figure("p50 of tools/call over direct", rows[OURS].over_direct_ms, at_most=1, form="{:.2f} ms")]
