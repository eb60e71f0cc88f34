"""What runs for a session: shown, and stopped as far as it had begun when somebody said so."""

import asyncio

from sessionware.asgi.work import Work
from sessionware.core.ids import SessionKey
from sessionware.testing import ManualClock

ONE, TWO = SessionKey(0, b"1" * 32), SessionKey(0, b"2" * 32)


class Job:
    def __init__(self, name, began_at, stopped):
        self.name, self.began_at, self._stopped = name, began_at, stopped

    def shown(self):
        return {"name": self.name}

    def interrupt(self):
        self._stopped.append(self.name)


def begin(work, clock, key, name, stopped):
    job = Job(name, clock.now(), stopped)
    work.begin(key, job)
    return job


def test_what_runs_is_shown_to_its_session_alone_with_its_age():
    """C13."""
    clock = ManualClock()
    stopped: list[str] = []
    work = Work(clock)
    first = begin(work, clock, ONE, "first", stopped)
    clock.advance(1500)
    begin(work, clock, ONE, "second", stopped)
    assert work.here(ONE) == [{"name": "first", "age_seconds": 1.5}, {"name": "second", "age_seconds": 0.0}]
    assert work.here(TWO) == []
    work.finish(ONE, first)
    assert [each["name"] for each in work.here(ONE)] == ["second"]


def test_an_interrupt_that_is_heard_late_leaves_what_began_after_it():
    """E9."""
    clock = ManualClock()
    stopped: list[str] = []
    work = Work(clock)
    begin(work, clock, ONE, "before", stopped)
    begin(work, clock, TWO, "another's", stopped)
    said_at = clock.now()
    clock.advance(1)
    begin(work, clock, ONE, "after", stopped)
    work.interrupt(ONE, until=said_at)
    assert stopped == ["before"]
    work.interrupt(ONE)
    assert stopped == ["before", "before", "after"]


def test_what_runs_in_other_workers_is_shown_too():
    """C13."""
    clock = ManualClock()
    stopped: list[str] = []

    async def elsewhere(key):
        return [{"name": "there", "age_seconds": 2.0}] if key == ONE else []

    work = Work(clock, elsewhere=elsewhere)
    begin(work, clock, ONE, "here", stopped)
    assert [each["name"] for each in asyncio.run(work.pending(ONE))] == ["here", "there"]
    assert asyncio.run(work.pending(TWO)) == []
