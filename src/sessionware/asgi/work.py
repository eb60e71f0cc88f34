"""The only place that knows what runs in this worker for which session, so that it can be shown and interrupted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from sessionware.core.ids import SessionKey
from sessionware.core.store import Clock

Elsewhere = Callable[[SessionKey], Awaitable[Sequence[Mapping[str, Any]]]]


async def nowhere_else(_: SessionKey) -> Sequence[Mapping[str, Any]]:
    """For a worker that is alone, or knows of no other."""
    return ()


class Job(Protocol):
    """One thing that runs. `began_at` is the store's time."""

    @property
    def began_at(self) -> int: ...

    def shown(self) -> Mapping[str, Any]:
        """What it is, for whoever asks what its session does."""
        ...

    def interrupt(self) -> None:
        """End it, whenever that is said."""
        ...


class Work:
    """All that runs here, by session. `elsewhere` asks other workers."""

    def __init__(self, clock: Clock, *, elsewhere: Elsewhere = nowhere_else) -> None:
        self._clock = clock
        self._elsewhere = elsewhere
        self._jobs: dict[SessionKey, list[Job]] = {}

    def begin(self, key: SessionKey, job: Job) -> None:
        """It runs from now on, until it is finished: `finish` it."""
        jobs = self._jobs.get(key)
        if jobs is None:
            self._jobs[key] = [job]
        else:
            jobs.append(job)

    def finish(self, key: SessionKey, job: Job) -> None:
        """It runs no more."""
        jobs = self._jobs[key]
        if len(jobs) == 1:
            del self._jobs[key]
        else:
            jobs.remove(job)

    async def pending(self, key: SessionKey) -> list[Mapping[str, Any]]:
        """What this session is doing in this worker, and in those that this one can ask."""
        return [*self.here(key), *await self._elsewhere(key)]

    def here(self, key: SessionKey) -> list[Mapping[str, Any]]:
        """What this session is doing in this worker, the oldest first; `age_seconds` is how long it has been at it."""
        now = self._clock.now()
        return [{**job.shown(), "age_seconds": max(now - job.began_at, 0) / 1000} for job in self._jobs.get(key, ())]

    def interrupt(self, key: SessionKey, *, until: int = 0) -> None:
        """Stop what the session does; what began after `until` goes on (0: nothing does)."""
        for job in tuple(self._jobs.get(key, ())):
            if not until or job.began_at <= until:
                job.interrupt()
