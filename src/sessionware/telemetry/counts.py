"""The only place that counts: plain integers under labels that are fixed, read when somebody asks for them."""

from __future__ import annotations

from bisect import bisect_left
from enum import StrEnum
from typing import Final

from sessionware.core.admission import Outcome
from sessionware.core.session import EndReason

LATENCY_BOUNDS_MS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 1000)  # upper bounds; the last bucket has none


class Feature(StrEnum):
    """What works worse than it should."""

    SESSIONS = "sessions"
    LIMITS = "limits"
    REVOCATION = "revocation"
    FACTS = "facts"
    REAPER = "reaper"
    OBSERVERS = "observers"
    AUDIT = "audit"
    SAVING = "saving"


class Reason(StrEnum):
    """Why it does."""

    STORE_DOWN = "store_down"
    STORE_SLOW = "store_slow"
    BREAKER_OPEN = "breaker_open"
    OVERFULL = "overfull"
    SLOW = "slow"
    FAILED = "failed"


class Action(StrEnum):
    """What is done instead."""

    CLOSED = "closed"
    ANONYMOUS = "anonymous"
    LOCAL = "local"
    OPEN = "open"
    DROPPED = "dropped"
    DELAYED = "delayed"
    SKIPPED = "skipped"


class Counts:
    """What has happened in this worker since it started. Every label set is an enum: no client can add a series."""

    def __init__(self) -> None:
        self.admissions: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        self.unavailable = 0  # admissions that the store did not answer
        self.created = 0
        self.ended: dict[EndReason, int] = dict.fromkeys(EndReason, 0)
        self.degraded: dict[tuple[Feature, Reason, Action], int] = {}
        self.conflicts = 0
        self.foreign_ids = 0  # presented by a caller who is proved to be somebody else
        self.alerts = 0
        self.cleanups = 0
        self.removed_last = 0  # sessions, by the latest cleanup
        self.reinitialized = 0  # legacy MCP sessions that were begun anew, for their upstream was lost
        self.latency = [0] * (len(LATENCY_BOUNDS_MS) + 1)
        self.latency_sum_ms = 0
        self._active_seen = 0
        self._active_since = 0

    @property
    def active(self) -> int:
        """Live sessions: the store's own total when it was last asked, and what this worker has done since."""
        return max(self._active_seen + self._active_since, 0)

    def saw_active(self, total: int) -> None:
        """The store was asked: this many sessions are live, whoever made them."""
        self._active_seen, self._active_since = total, 0

    def admitted(self, outcome: Outcome, took_ms: int) -> None:
        """The store has answered an admission, whatever it said."""
        self.admissions[outcome] += 1
        if not took_ms:  # what a store in this process takes
            self.latency[0] += 1
            return
        self.latency[bisect_left(LATENCY_BOUNDS_MS, took_ms)] += 1
        self.latency_sum_ms += took_ms

    def started(self) -> None:
        self.created += 1
        self._active_since += 1

    def finished(self, reason: EndReason) -> None:
        self.ended[reason] += 1
        self._active_since -= 1

    def cleaned(self, removed: int) -> None:
        self.cleanups += 1
        self.removed_last = removed

    def degrade(self, feature: Feature, reason: Reason, action: Action) -> None:
        label = (feature, reason, action)
        self.degraded[label] = self.degraded.get(label, 0) + 1
