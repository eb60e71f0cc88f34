"""How many requests a second: ours beside nginx, HAProxy and a bare uvicorn, interleaved, on one upstream.

Load, server and upstream share the cores: where the load took all of one, the server could have done more.
"""

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
from benchmarks.proxy_standing import Standing
from benchmarks.proxy_upstream import ANSWER

CONNECTIONS: Final = 32
WARM_UP_S: Final = 0.3
NGINX: Final = "nginx, hash"
HAPROXY: Final = "HAProxy, stick table"
UVICORN: Final = "uvicorn alone, no upstream"
UPSTREAM: Final = "the upstream itself"
NAMED: Final = "ours: JWT + X-Session-ID"
LEGACY: Final = "ours: JWT + Mcp-Session-Id"
LOGGED: Final = "ours: the same, and an access log"
NAMELESS: Final = "ours: no credential"


class Round(Struct):
    """One server under load once, or the medians of several times."""

    per_second: float
    cpu_us: float  # of the server, per request
    p50_us: float
    p99_us: float
    load_busy: float  # of one core, by the load itself


class Row(Struct, omit_defaults=True):
    """The medians of all rounds, or the reason why there are none."""

    median: Round | None = None
    over_nginx: float | None = None  # the median of the ratios within each round
    rounds: list[Round] = []
    reason: str = ""


class Throughput(Struct):
    """What was found, and which upstream stood behind."""

    upstream: str
    rows: dict[str, Row]


class _Subject(Struct):
    program: Program
    asked: list[bytes]


def measured(*, rounds: int, seconds: float, is_own: bool) -> Throughput:
    """Every subject for so long, one after the other in each round. Raises when one gives a bad answer."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        standing = Standing(stack, folder)
        upstream, kind = standing.upstream(ANSWER.decode(), is_own=is_own)
        subjects = _subjects(standing, upstream)
        found: dict[str, list[Round]] = {name: [] for name in subjects}
        for subject in subjects.values():
            load(subject.program.port, subject.asked, seconds=WARM_UP_S)
        for _ in range(rounds):
            for name, subject in subjects.items():
                found[name].append(_round(subject, seconds))
    rows = {name: _row(each, found.get(NGINX)) for name, each in found.items()}
    named = {"nginx": NGINX, "haproxy": HAPROXY}
    return Throughput(kind, rows | {named[name]: Row(reason=why) for name, why in standing.missing.items()})


def _subjects(standing: Standing, upstream: Program) -> dict[str, _Subject]:
    """Ours stands once for each case, so that none profits from what another has left behind."""
    url = f"http://127.0.0.1:{upstream.port}/mcp"
    named = requests.named(CONNECTIONS)
    servers = {UPSTREAM: upstream, NGINX: standing.nginx(upstream), HAPROXY: standing.haproxy(upstream)}
    servers[UVICORN] = standing.uvicorn()
    subjects = {name: _Subject(each, named) for name, each in servers.items() if each is not None}
    subjects[NAMED] = _Subject(standing.ours(url), named)
    subjects[LOGGED] = _Subject(standing.ours(url, logs_requests=True), named)
    second = standing.ours(url)
    subjects[LEGACY] = _Subject(second, requests.legacy(second.port, CONNECTIONS))
    subjects[NAMELESS] = _Subject(standing.ours(url), requests.nameless(CONNECTIONS))
    return subjects


def _round(subject: _Subject, seconds: float) -> Round:
    before = subject.program.cpu_seconds()
    found = load(subject.program.port, subject.asked, seconds=seconds)
    spent = subject.program.cpu_seconds() - before
    return Round(found["per_second"], spent / found["answers"] * 1e6, found["p50_us"], found["p99_us"], found["busy"])


def _row(rounds: list[Round], beside: list[Round] | None) -> Row:
    def of(name: str) -> float:
        return statistics.median(getattr(each, name) for each in rounds)

    middle = Round(*[of(name) for name in Round.__struct_fields__])
    if beside is None:
        return Row(middle, None, rounds)
    ratios = [mine.per_second / peer.per_second for mine, peer in zip(rounds, beside, strict=True)]
    return Row(middle, statistics.median(ratios), rounds)


def shown(found: Throughput) -> str:
    cells = [
        [
            f"{CONNECTIONS} connections, upstream: {found.upstream}",
            "requests/s",
            "x nginx",
            "CPU us",
            "per CPU s",
            "p50 ms",
            "p99 ms",
            "load",
        ]
    ]
    for name, row in found.rows.items():
        if row.median is None:
            continue
        ratio = "" if row.over_nginx is None else f"{row.over_nginx:.3f}"
        figures = row.median
        cells.append(
            [name, f"{figures.per_second:,.0f}", ratio, f"{figures.cpu_us:.0f}", f"{1e6 / figures.cpu_us:,.0f}",
             f"{figures.p50_us / 1000:.2f}", f"{figures.p99_us / 1000:.2f}", f"{figures.load_busy:.0%}"]
        )  # fmt: skip
    return with_reasons(cells, {name: row.reason for name, row in found.rows.items()})


def _over_uvicorn(found: Throughput, row: Row) -> float:
    """The median of the ratios within each round: the figure that a slow or a busy machine changes least."""
    pairs = zip(row.rounds, found.rows[UVICORN].rounds, strict=True)
    return statistics.median(mine.cpu_us / bare.cpu_us for mine, bare in pairs)


def verdicts(found: Throughput) -> list[list[str]]:
    """The figures to reach, in this run."""
    row = found.rows[NAMED]
    assert row.median is not None, "ours was measured, or an error was raised"
    lines = [
        figure("requests/s, JWT + X-Session-ID", row.median.per_second, at_least=8000, form="{:,.0f}"),
        figure("CPU per request", row.median.cpu_us, at_most=90, form="{:.0f} us"),
        figure("CPU per request, x uvicorn alone", _over_uvicorn(found, row), at_most=3, form="{:.1f}"),
    ]
    if row.over_nginx is not None:
        lines.append(figure("requests/s, x nginx", row.over_nginx, at_least=0.15, form="{:.3f}"))
    return lines
