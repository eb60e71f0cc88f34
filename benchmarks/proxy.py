"""`make bench-proxy`: the proxy as a process of its own, beside its peers, in one run.

python -m benchmarks.proxy [--only throughput,streams] [--rounds 5] [--seconds 1.5] [--quick] [--json PATH]
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from benchmarks import proxy_latency, proxy_memory, proxy_sessions, proxy_streams, proxy_throughput, report
from benchmarks.measure import table

QUICK_ROUNDS: Final = 2
QUICK_SECONDS: Final = 0.5
QUICK_FEWER: Final = 5
STREAMS: Final = 2_000  # open together
EVENTS: Final = 1_000  # written to one of them at a time
REQUESTS: Final = 100_000  # over which memory must stay
DROPPED: Final = 1_000  # streams that were opened and dropped
SESSIONS: Final = (25, 1_000, 10_000, 20_000)  # live ones


class Scale(Struct, frozen=True):
    """How much to measure; `fewer` divides what is counted."""

    rounds: int
    seconds: float
    is_own: bool
    fewer: int


Found = tuple[Any, str, list[list[str]]]


def throughput(scale: Scale) -> Found:
    found = proxy_throughput.measured(rounds=scale.rounds, seconds=scale.seconds, is_own=scale.is_own)
    return found, proxy_throughput.shown(found), proxy_throughput.verdicts(found)


def latency(scale: Scale) -> Found:
    found = proxy_latency.measured(rounds=scale.rounds, seconds=scale.seconds / 2)
    return found, proxy_latency.shown(found), proxy_latency.verdicts(found)


def streams(scale: Scale) -> Found:
    found = proxy_streams.measured(streams=STREAMS // scale.fewer, events=EVENTS // scale.fewer)
    return found, proxy_streams.shown(found), proxy_streams.verdicts(found)


def memory(scale: Scale) -> Found:
    found = proxy_memory.measured(requests_to_make=REQUESTS // scale.fewer, streams=DROPPED)
    return found, proxy_memory.shown(found), proxy_memory.verdicts(found)


def sessions(scale: Scale) -> Found:
    found = proxy_sessions.measured(live=[max(number // scale.fewer, 1) for number in SESSIONS])
    return found, proxy_sessions.shown(found), proxy_sessions.verdicts(found)


MEASURES: Final[dict[str, Callable[[Scale], Found]]] = {
    "throughput": throughput,
    "latency": latency,
    "streams": streams,
    "memory": memory,
    "sessions": sessions,
}


def scale_of(given: argparse.Namespace) -> Scale:
    if not given.quick:
        return Scale(given.rounds, given.seconds, given.upstream == "own", 1)
    return Scale(
        min(given.rounds, QUICK_ROUNDS), min(given.seconds, QUICK_SECONDS), given.upstream == "own", QUICK_FEWER
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(MEASURES), help="measures to make, by comma; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of load on each server in each round")
    parser.add_argument("--upstream", choices=["nginx", "own"], default="nginx", help="behind the throughput")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of {QUICK_SECONDS:g} s, less of all"
    )
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/proxy.json"))
    given = parser.parse_args()
    names = [name for name in given.only.split(",") if name]
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        parser.error(f"--only: no measure is called {unknown[0]!r}; there are: {', '.join(MEASURES)}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # all who start here inherit it: each stream is a file
    scale = scale_of(given)
    found: dict[str, Any] = {}
    figures = [["figure", "wanted", "measured", ""]]
    for name in names:
        found[name], text, reached = MEASURES[name](scale)
        figures += reached
        print(text, end="\n\n", flush=True)
    print(table(figures))
    report.write(given.json, {"rounds": scale.rounds, "seconds": scale.seconds, **found, "figures": figures})
    return 0


if __name__ == "__main__":
    sys.exit(main())
