"""The only place that decides whether a store that has failed is worth asking: pure, told what time it is."""

from __future__ import annotations

from typing import Final

SECOND_MS: Final = 1_000
WINDOW_S: Final = 10  # failures are weighed over this second and the nine before it
CALLS_MIN: Final = 20  # fewer calls in the window say nothing about a rate
CONSECUTIVE_MAX: Final = 5  # so many failures in a row need no rate
PROBE_EVERY_MS: Final = 1_000  # while open, one call in this time is let through to see


class Breaker:
    """Closed: every call passes. Open: one probe per second passes; a probe that succeeds closes it.

    `enter` hands out an entry that its result is reported with, so that calls which were under way when the
    breaker opened, or a probe that was overtaken by the next, change nothing. An entry that is never reported
    (a cancelled call) changes nothing either. `now` is monotonic milliseconds.
    """

    def __init__(self) -> None:
        self._entry = 0
        self._next_probe: int | None = None  # None while closed
        self._consecutive = 0
        self._second = self._slot = 0
        self._next_second = SECOND_MS
        self._calls = [0] * WINDOW_S
        self._failures = [0] * WINDOW_S

    @property
    def is_open(self) -> bool:
        return self._next_probe is not None

    def enter(self, now: int) -> int | None:
        """Whether a call may be made: an entry to report it with, or None."""
        if self._next_probe is None:
            return self._entry
        if now < self._next_probe:
            return None
        self._next_probe = now + PROBE_EVERY_MS
        self._entry += 1
        return self._entry

    def succeeded(self, entry: int, now: int) -> bool:
        """The call was answered, whatever the answer was; True when that closed the breaker."""
        if entry != self._entry:
            return False
        if self._next_probe is not None:
            self._close()
            return True
        self._consecutive = 0
        if now >= self._next_second:
            self._roll(now)
        self._calls[self._slot] += 1
        return False

    def failed(self, entry: int, now: int) -> bool:
        """The call was not answered, or not in time; True when that opened the breaker."""
        if entry != self._entry or self._next_probe is not None:
            return False
        self._roll(now)
        self._consecutive += 1
        self._calls[self._slot] += 1
        self._failures[self._slot] += 1
        calls, failures = sum(self._calls), sum(self._failures)
        if self._consecutive < CONSECUTIVE_MAX and not (calls >= CALLS_MIN and 2 * failures >= calls):
            return False
        self._next_probe = now + PROBE_EVERY_MS
        self._entry += 1
        return True

    def _close(self) -> None:
        self._next_probe = None
        self._entry += 1
        self._consecutive = 0
        self._calls = [0] * WINDOW_S
        self._failures = [0] * WINDOW_S

    def _roll(self, now: int) -> None:
        """Forget the seconds that have left the window."""
        second = now // SECOND_MS
        if second <= self._second:
            return
        for passed in range(max(self._second + 1, second - WINDOW_S + 1), second + 1):
            self._calls[passed % WINDOW_S] = 0
            self._failures[passed % WINDOW_S] = 0
        self._second, self._slot = second, second % WINDOW_S
        self._next_second = (second + 1) * SECOND_MS
