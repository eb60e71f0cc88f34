"""The runner reads what the suite says: counts, failures, differences, and that it said nothing."""

import pytest

from tests.conformance.run import main
from tests.conformance.suite import FOLDER_VARIABLE, Counts, Result, SuiteBroken, read

REPORT = """
=== SUMMARY ===
✓ server-initialize: 3 passed, 0 failed
✗ tools-list: 1 passed, 2 failed
✓ ping: 2 passed, 0 failed, 1 warnings

Total: 6 passed, 2 failed
"""


def test_a_report_becomes_counts():
    assert read(REPORT) == Result(
        Counts(6, 2), {"server-initialize": Counts(3, 0), "tools-list": Counts(1, 2), "ping": Counts(2, 0)}
    )
    assert read(REPORT).failures == ["tools-list: 1 passed, 2 failed"]


def test_a_report_without_a_total_is_no_pass():
    with pytest.raises(SuiteBroken, match="ECONNREFUSED"):
        read("=== SUMMARY ===\n", otherwise="ECONNREFUSED")


def test_two_runs_differ_in_the_scenarios_that_they_count_differently():
    direct = Result(Counts(5, 0), {"a": Counts(2, 0), "b": Counts(3, 0)})
    through = Result(Counts(4, 0), {"a": Counts(2, 0), "b": Counts(2, 0)})
    assert direct.differences(direct) == []
    assert direct.differences(through) == ["b: 3 passed, 0 failed against 2 passed, 0 failed"]
    assert direct.differences(Result(Counts(3, 0), {"b": Counts(3, 0)})) == [
        "a: 2 passed, 0 failed against 0 passed, 0 failed"
    ]


def test_a_missing_suite_is_told_with_the_way_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert main(["--url", "http://127.0.0.1:9/mcp"]) == 2
    assert "run `make conformance`" in capsys.readouterr().err
