"""The benchmarks run, and measure what they say that they measure."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 20
NOT_INSTALLED = "not installed: pip install 'sessionware[bench]'"
PLAIN = {"bare Starlette app", "no-op ASGI middleware", "no-op BaseHTTPMiddleware"}
OURS = {
    "sessionware: session, JWT, two limits": {"admit": 1},
    "sessionware: the same, reads data": {"admit": 1},
    "sessionware: the same, changes data": {"admit": 1, "update": 1},
    "sessionware: anonymous, one limit": {"admit": 1},
}
PEERS = {  # with the module that one test hides from it; Litestar and FastAPI come with the extra `dev`
    "Starlette SessionMiddleware, reads": "itsdangerous",
    "Starlette SessionMiddleware, writes": "itsdangerous",
    "starsessions in memory, reads": "starsessions",
    "slowapi, ASGI, two limits": "slowapi",
    "slowapi, BaseHTTP, two limits": "slowapi",
    "asgi-ratelimit in memory, two limits": "ratelimit",
    "bare Litestar app": None,
    "Litestar RateLimit, one limit": None,
    "Litestar server-side session, reads": None,
    "bare FastAPI app": None,
    "fastapi-limiter, two limits": "fastapi_limiter",
}
WITHOUT_PEERS = (
    "import runpy, sys; "
    "sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(','))); "  # None: the import fails as if it were missing
    "runpy.run_module('benchmarks.middleware', run_name='__main__', alter_sys=True)"
)


def run(command: list[str], found: Path) -> tuple[str, Any]:
    """What a benchmark printed and wrote."""
    command = [sys.executable, *command, "--rounds", "1", "--json", str(found)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(found.read_text())


def test_c33_the_bench_of_the_memory_store_prints_each_row(tmp_path):
    """C33: create, get, update, delete and the listing of 10,000, each with its figure."""
    printed, _ = run(["-m", "benchmarks.stores", "--quick", "--stores", "memory"], tmp_path / "found.json")
    lines = [line.split() for line in printed.splitlines()]
    measured = {line[1] for line in lines if line[:1] == ["memory"] and {"x1", "x32"} & set(line)}
    assert measured == {"create", "get", "update", "delete", "admit"}
    assert any(line[:3] == ["list", "10,000:", "memory"] and line[-1] == "ms" for line in lines)


def test_the_bench_of_the_middleware_measures_each_row_or_says_what_is_missing(tmp_path):
    printed, found = run(["-m", "benchmarks.middleware", "--calls", "20"], tmp_path / "found.json")
    rows = found["rows"]
    assert rows.keys() == PLAIN | OURS.keys() | PEERS.keys()
    unmeasured = {name: row["reason"] for name, row in rows.items() if "figures" not in row}
    assert unmeasured.keys() <= PEERS.keys()
    assert all(reason.startswith(NOT_INSTALLED) for reason in unmeasured.values()), unmeasured
    assert all(rows[name]["figures"]["calls"] == 20 for name in rows.keys() - unmeasured.keys())
    assert {name for name, row in rows.items() if row.get("over") == "bare Starlette app"} >= OURS.keys()
    assert all(any(line.strip().startswith(name) for line in printed.splitlines()) for name in rows)


def test_the_bench_of_the_middleware_counts_one_call_of_the_store_per_request(tmp_path):
    printed, found = run(["-m", "benchmarks.middleware", "--calls", "20"], tmp_path / "found.json")
    assert found["store_calls"] == OURS
    assert "store calls per request: 1" in printed.splitlines()


def test_a_peer_that_is_not_installed_has_a_row_that_says_how_to_install_it(tmp_path):
    missing = {name: module for name, module in PEERS.items() if module}
    hidden = ",".join(sorted(set(missing.values())))
    printed, found = run(["-c", WITHOUT_PEERS, hidden, "--calls", "20"], tmp_path / "found.json")
    reasons = {name: row["reason"] for name, row in found["rows"].items() if "figures" not in row}
    assert reasons == {name: f"{NOT_INSTALLED} ({module})" for name, module in missing.items()}
    assert printed.count(NOT_INSTALLED) == len(missing)
