"""The contract runs without pytest, and says what was broken, where, and with which values."""

import subprocess
import sys

from sessionware.core.session import EndReason
from sessionware.stores.memory import MemoryStore
from sessionware.testing import ManualClock, Result, StoreContract, check_store
from sessionware.testing.check import laws

LAWS_AT_LEAST = 200


class Forgetful(MemoryStore):
    """Ends nothing, and reads logs from the wrong end."""

    async def delete(self, key, *, now, reason=EndReason.ENDED):
        return None

    async def tail(self, key, log, count, *, now):
        return list(await super().tail(key, log, count, now=now))[::-1]


class Rude(MemoryStore):
    async def get(self, key, *, now):
        raise OSError("disk gone")


def test_a_store_that_keeps_every_law_is_reported_so():
    told: list[Result] = []
    report = check_store(lambda clock: MemoryStore(clock=clock), on_result=told.append)
    assert report.broken == ()
    assert len(report.results) == len(laws()) >= LAWS_AT_LEAST
    assert tuple(told) == report.results
    assert report.summary.startswith(f"{len(laws())} of {len(laws())} laws hold (")


def test_the_runner_knows_every_law_that_pytest_would_collect():
    assert set(laws()) == {name for name in dir(StoreContract) if name.startswith("test")}


def test_a_broken_law_says_where_and_with_which_values():
    report = check_store(lambda clock: Forgetful(clock=clock), only="ten closes")
    (result,) = report.broken
    assert result.sentence == "ten closes end a session once"
    lines = result.problem.splitlines()
    assert [line.partition(": ")[2] for line in lines if line.startswith("ends.py:")] == ["assert len(ended) == 1"]
    assert "ended = []" in lines
    assert report.summary.startswith("0 of 1 laws hold, 1 is broken")


def test_an_error_of_the_store_is_a_finding_and_the_next_law_follows():
    report = check_store(lambda clock: Rude(clock=clock), only="payload")
    assert len(report.results) > 1
    assert {result.problem.splitlines()[0] for result in report.broken} == {"OSError: disk gone"}


def test_a_store_that_is_not_new_is_told_apart_from_a_bad_one():
    clock = ManualClock()
    shared = MemoryStore(clock=clock)
    report = check_store(lambda _: shared, only="update")
    assert any("the store is not new" in result.problem for result in report.broken)


def test_a_law_hands_nothing_to_the_next():
    """Each opens a store of its own, under a clock of its own."""
    opened = []

    def opener(clock):
        opened.append(clock)
        return MemoryStore(clock=clock)

    report = check_store(opener, only="log")
    assert len(opened) == len(set(map(id, opened))) == len(report.results)


def test_without_assertions_nothing_is_proven():
    script = (
        "from sessionware.testing import check_store\n"
        "from sessionware.stores.memory import MemoryStore\n"
        "try:\n    check_store(lambda clock: MemoryStore(clock=clock))\n"
        "except RuntimeError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-O", "-c", script], capture_output=True, text=True, check=True)
    assert "python -O" in done.stdout


def test_checking_needs_no_pytest():
    script = (
        "import sys\n"
        "from sessionware.testing import check_store\n"
        "from sessionware.stores.memory import MemoryStore\n"
        "report = check_store(lambda clock: MemoryStore(clock=clock), only='log')\n"
        "assert not report.broken and report.results\n"
        "print('pytest' in sys.modules, 'hypothesis' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_a_subclass_must_say_how_to_open():
    report = check_store(lambda clock: StoreContract().open(clock), only="log")
    assert report.results[0].problem.startswith("NotImplementedError: StoreContract must say how to open a store")
