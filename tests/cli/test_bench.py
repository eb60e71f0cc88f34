"""The benchmark of the stores runs, and measures what it says that it measures."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 20


def test_c33_the_bench_of_the_memory_store_prints_each_row(tmp_path):
    """C33: create, get, update, delete and the listing of 10,000, each with its figure."""
    command = [sys.executable, "-m", "benchmarks.stores", "--quick", "--stores", "memory", "--rounds", "1"]
    command += ["--json", str(tmp_path / "found.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    measured = {line[1] for line in lines if line[:1] == ["memory"] and {"x1", "x32"} & set(line)}
    assert measured == {"create", "get", "update", "delete", "admit"}
    assert any(line[:3] == ["list", "10,000:", "memory"] and line[-1] == "ms" for line in lines)
