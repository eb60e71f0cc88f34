"""The only place that asks what time it is.

Time is the store's own at the last calibration plus what the monotonic clock has counted since: a wall clock
that jumps under a running worker neither forgives spends nor ends sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic_ns, time_ns
from typing import Final

Nanoseconds = Callable[[], int]  # the system's monotonic clock: on the hot path without a function of ours around it

SYSTEM_NS: Final[Nanoseconds] = monotonic_ns
MS_NS: Final = 1_000_000
CALIBRATE_EVERY_MS: Final = 10_000
LOOK_EVERY_MS: Final = 100  # how soon the clock of a host notices that the wall clock was set: every request asks it
DRIFT_MS: Final = 1_000  # wall minus monotonic moved by more than this: calibrate at once
JUMP_MS: Final = 60_000  # a step this large between two calibrations is a jump, not a correction
SETTLE_MS: Final = 60_000  # mass expiry waits this long after a jump: one default reap interval
SAMPLES: Final = 5  # round trips per full calibration; the quickest one is believed


def monotonic_ms() -> int:
    return monotonic_ns() // MS_NS


def wall_ms() -> int:
    return time_ns() // MS_NS


class StoreClock:
    """The store's time, calibrated; between calibrations it only counts."""

    def __init__(self, *, monotonic: Callable[[], int] = monotonic_ms, wall: Callable[[], int] = wall_ms) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._offset = wall() - monotonic()
        self._drift = self._offset
        self._calibrated_at: int | None = None
        self._settling_until = monotonic()
        self.jumps = 0

    def now(self) -> int:
        return self._monotonic() + self._offset

    def is_settling(self) -> bool:
        return self._monotonic() < self._settling_until

    def wants_calibration(self) -> bool:
        """Whether 10 s have passed, or the wall clock moved against the monotonic one by more than a second."""
        if self._calibrated_at is None or self._monotonic() - self._calibrated_at >= CALIBRATE_EVERY_MS:
            return True
        return abs(self._wall() - self._monotonic() - self._drift) > DRIFT_MS

    def calibrate(self, samples: Iterable[tuple[int, int, int]]) -> None:
        """Believe the quickest of (monotonic before, store time, monotonic after).

        A step of more than a minute against the previous calibration is a jump: the clock settles for a while.
        Does nothing when there are no samples.
        """
        best = min(samples, key=lambda sample: sample[2] - sample[0], default=None)
        if best is None:
            return
        before, store_now, after = best
        offset = store_now - (before + after) // 2
        if self._calibrated_at is not None and abs(offset - self._offset) > JUMP_MS:
            self.jumps += 1
            self._settling_until = after + SETTLE_MS
        self._offset = offset
        self._drift = self._wall() - self._monotonic()
        self._calibrated_at = after


class HostClock:
    """The clock of stores that live on this host: the wall clock is the store's time, looked at now and then."""

    def __init__(self, *, nanoseconds: Nanoseconds = monotonic_ns, wall: Callable[[], int] = wall_ms) -> None:
        self._wall = wall
        self._nanoseconds = nanoseconds
        self._store = StoreClock(monotonic=self._monotonic, wall=wall)
        self._offset = self._look_at = 0
        self._calibrate()

    @property
    def jumps(self) -> int:
        return self._store.jumps

    def now(self) -> int:
        at = self._nanoseconds() // MS_NS
        if at >= self._look_at:
            self._look()
        return at + self._offset

    def _monotonic(self) -> int:
        return self._nanoseconds() // MS_NS

    def is_settling(self) -> bool:
        self._look()
        return self._store.is_settling()

    def _look(self) -> None:
        """Believe the wall clock again if it is time for it, or if it has jumped."""
        if self._store.wants_calibration():
            self._calibrate()
        self._look_at = self._monotonic() + LOOK_EVERY_MS

    def _calibrate(self) -> None:
        at, wall = self._monotonic(), self._wall()
        self._store.calibrate([(at, wall, at)])
        self._offset = wall - at
