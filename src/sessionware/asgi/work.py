"""The only place that knows what runs in this worker for which session, so that it can be shown and interrupted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sessionware.core.ids import SessionKey
from sessionware.core.store import Clock


class Job:
    """One thing that runs. `told` says what it is when somebody asks, `stop` ends it, whenever that is called."""

    __slots__ = ("began_at", "key", "stop", "told")

    def __init__(
        self, key: SessionKey, began_at: int, told: Callable[[], Mapping[str, Any]], stop: Callable[[], object]
    ) -> None:
        self.key = key
        self.began_at = began_at
        self.told = told
        self.stop = stop


class Work:
    """All that runs here, by session."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jobs: dict[SessionKey, list[Job]] = {}

    def begin(self, job: Job) -> None:
        """It runs from now on, until it is finished: `finish` it."""
        self._jobs.setdefault(job.key, []).append(job)

    def finish(self, job: Job) -> None:
        jobs = self._jobs[job.key]
        jobs.remove(job)
        if not jobs:
            del self._jobs[job.key]

    def pending(self, key: SessionKey) -> list[Mapping[str, Any]]:
        """What this session is doing in this worker, the oldest first; `age_seconds` is how long it has been at it."""
        now = self._clock.now()
        return [{**job.told(), "age_seconds": max(now - job.began_at, 0) / 1000} for job in self._jobs.get(key, ())]

    def interrupt(self, key: SessionKey, *, until: int = 0) -> None:
        """Stop what the session does; what began after `until` goes on (0: nothing does)."""
        for job in tuple(self._jobs.get(key, ())):
            if not until or job.began_at <= until:
                job.stop()
