"""A clock that moves only when it is told to."""

from __future__ import annotations

from typing import Final

START: Final = 1_800_000_000_000  # a Friday in January 2027, 08:00 UTC


class ManualClock:
    """Stands still until `advance`; `jump` is a wall clock that was set, after which mass expiry waits."""

    def __init__(self, start: int = START) -> None:
        self._now = start
        self._settling = False

    def now(self) -> int:
        return self._now

    def is_settling(self) -> bool:
        return self._settling

    def advance(self, ms: int) -> int:
        """Let time pass, and whatever jump there was settle. Answers the new time."""
        if ms < 0:
            raise ValueError(f"time does not run backwards: advance({ms}); use jump() for a clock that was set")
        self._now += ms
        self._settling = False
        return self._now

    def jump(self, ms: int) -> int:
        """Set the clock forward or back, as an administrator or a virtual machine would."""
        self._now += ms
        self._settling = True
        return self._now
