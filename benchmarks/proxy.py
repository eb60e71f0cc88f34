"""`make bench-proxy`: the proxy as a process of its own, beside its peers, in one run.

python -m benchmarks.proxy [--only throughput] [--rounds 5] [--seconds 2] [--quick] [--json PATH]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks import proxy_throughput, report
from benchmarks.measure import table

QUICK_ROUNDS: Final = 2
QUICK_SECONDS: Final = 0.5


class Scale:
    """How long to measure."""

    def __init__(self, *, rounds: int, seconds: float, is_quick: bool) -> None:
        self.rounds = min(rounds, QUICK_ROUNDS) if is_quick else rounds
        self.seconds = min(seconds, QUICK_SECONDS) if is_quick else seconds
        self.is_quick = is_quick


def throughput(scale: Scale) -> tuple[Any, list[list[str]]]:
    found = proxy_throughput.measured(rounds=scale.rounds, seconds=scale.seconds)
    print(proxy_throughput.shown(found))
    return found, proxy_throughput.verdicts(found)


MEASURES: Final[dict[str, Callable[[Scale], tuple[Any, list[list[str]]]]]] = {"throughput": throughput}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(MEASURES), help="measures to make, by comma; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of load on each server in each round")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of {QUICK_SECONDS:g} s, less of all"
    )
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/proxy.json"))
    given = parser.parse_args()
    names = [name for name in given.only.split(",") if name]
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        parser.error(f"--only: no measure is called {unknown[0]!r}; there are: {', '.join(MEASURES)}")
    scale = Scale(rounds=given.rounds, seconds=given.seconds, is_quick=given.quick)
    found: dict[str, Any] = {}
    figures = [["figure", "wanted", "measured", ""]]
    for name in names:
        found[name], reached = MEASURES[name](scale)
        figures += reached
        print()
    print(table(figures))
    report.write(given.json, {"rounds": scale.rounds, "seconds": scale.seconds, **found, "figures": figures})
    return 0


if __name__ == "__main__":
    sys.exit(main())
