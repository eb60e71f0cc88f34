"""The only place that does arithmetic on time windows: which window an instant is in, and when a spend fits.

Stores never see this: they compare window numbers and carries. A new kind of window is a change here alone.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, assert_never
from zoneinfo import ZoneInfo

from msgspec import Struct

FULL_CARRY: Final = 1_000_000
NEVER: Final = 9_007_199_254_740_991  # 2**53 - 1: the largest integer that Lua keeps exact
TOTAL_RETRY_MS: Final = 3_600_000  # a level falls when somebody releases it: no clock can tell
ZONE_STEP_MS: Final = 900_000  # every zone of the tz database changes at a multiple of 15 minutes


class Sliding(Struct, frozen=True, tag="sliding"):
    """The last `period` milliseconds, approximated by two fixed windows and a falling carry."""

    period: int


class Calendar(Struct, frozen=True, tag="calendar"):
    """A local calendar day or month; the counter starts anew at the local boundary."""

    unit: Literal["day", "month"]
    zone: str


class Total(Struct, frozen=True, tag="total"):
    """A level that goes up and down and is never reset by time."""


Window = Sliding | Calendar | Total


class Position(Struct, frozen=True, gc=False):
    """Where an instant lies: the window's number, what still counts of the one before, when both are worthless."""

    number: int
    carry: int
    stale_at: int


def position(window: Window, now: int) -> Position:
    """Place `now` in `window`."""
    if isinstance(window, Sliding):  # on every request, and most windows are: asked first
        period = window.period
        left = period - now % period
        # A counter may stand one window ahead (a lagging clock): it is stale one window later.
        return Position(now // period, left * FULL_CARRY // period, now + left + 2 * period)
    match window:
        case Calendar(unit, zone):
            number, _, end = _calendar(unit, zone, now // ZONE_STEP_MS)
            # As above: what a clock ahead of ours has charged for tomorrow counts until tomorrow's end.
            return Position(number, 0, _calendar(unit, zone, end // ZONE_STEP_MS)[2])
        case Total():
            return Position(0, 0, NEVER)
        case _:
            assert_never(window)


def period_ms(window: Window, now: int) -> int:
    """The length of the window that `now` is in; 0 for a level."""
    match window:
        case Sliding(period):
            return period
        case Calendar(unit, zone):
            _, start, end = _calendar(unit, zone, now // ZONE_STEP_MS)
            return end - start
        case Total():
            return 0
        case _:
            assert_never(window)


def ends_at(window: Window, now: int) -> int:
    """The instant at which the next window begins; NEVER for a level."""
    match window:
        case Sliding(period):
            return (now // period + 1) * period
        case Calendar() | Total():
            return resets_at(window, now)
        case _:
            assert_never(window)


def resets_at(window: Window, now: int) -> int:
    """The instant at which nothing charged up to `now` counts any more; NEVER for a level."""
    match window:
        case Sliding(period):
            return (now // period + 2) * period
        case Calendar(unit, zone):
            return _calendar(unit, zone, now // ZONE_STEP_MS)[2]
        case Total():
            return NEVER
        case _:
            assert_never(window)


def calendar_start(window: Calendar, now: int) -> int:
    """The first instant of the local day or month that `now` is in."""
    return _calendar(window.unit, window.zone, now // ZONE_STEP_MS)[1]


def wait_for_fit(window: Window, now: int, *, counter: tuple[int, int, int], cost: int, allowance: int) -> int:
    """Milliseconds until `cost` fits if nobody else spends: the exact inversion of the fit rule.

    `counter` is (window number, used, before) as the store answered it. A cost above the allowance never
    fits; the answer is then the length of the window (a level: one hour), so that callers do not spin.
    """
    room_wanted = max(cost, 1)
    if room_wanted > allowance:
        return period_ms(window, now) or TOTAL_RETRY_MS
    match window:
        case Sliding(period):
            return _sliding_wait(period, now, counter, allowance - room_wanted)
        case Calendar(unit, zone):
            return _calendar_wait(unit, zone, now, counter, allowance - room_wanted)
        case Total():
            return 0 if counter[1] <= allowance - room_wanted else TOTAL_RETRY_MS
        case _:
            assert_never(window)


def _sliding_wait(period: int, now: int, counter: tuple[int, int, int], room: int) -> int:
    stored, used, before = counter
    current = now // period
    if stored > current:  # charged by a clock ahead of ours: that window starts in the future, full carry now
        if used + before <= room:
            return 0
    elif stored < current - 1:
        return 0
    for number, spent, carried in ((stored, used, before), (stored + 1, 0, used)):
        if number < current:
            continue
        fits_from = _first_fit(number * period, period, spent, carried, room)
        if fits_from is not None and max(fits_from, now) < (number + 1) * period:
            return max(fits_from, now) - now
    return max((stored + 2) * period - now, 0)


def _calendar_wait(unit: Literal["day", "month"], zone: str, now: int, counter: tuple[int, int, int], room: int) -> int:
    number, _, end = _calendar(unit, zone, now // ZONE_STEP_MS)
    stored, used, before = counter
    if stored < number or used + (before if stored > number else 0) <= room:
        return 0
    if stored > number and used > room:  # charged by a clock ahead of ours: it counts until that window's end
        end = _calendar(unit, zone, end // ZONE_STEP_MS)[2]
    return end - now


def _first_fit(start: int, period: int, used: int, before: int, room: int) -> int | None:
    """The first instant of the window starting at `start` at which `used + carried before` is within `room`."""
    left = room - used
    if left < 0:
        return None
    if before == 0:
        return start
    largest_carry = min(FULL_CARRY, ((left + 1) * FULL_CARRY - 1) // before)
    excess = (FULL_CARRY - largest_carry - 1) * period
    return start if excess < 0 else start + excess // FULL_CARRY + 1


@lru_cache(maxsize=4096)
def _calendar(unit: Literal["day", "month"], zone: str, step: int) -> tuple[int, int, int]:
    """The local ordinal at a 15-minute step, its first UTC instant, and the first whose local date is later."""
    local = datetime.fromtimestamp(step * ZONE_STEP_MS / 1000, ZoneInfo(zone)).date()
    if unit == "day":
        return local.toordinal(), _local_midnight(local, zone), _local_midnight(local + timedelta(days=1), zone)
    first = local.replace(day=1)
    first_of_next = (first + timedelta(days=32)).replace(day=1)
    return local.year * 12 + local.month, _local_midnight(first, zone), _local_midnight(first_of_next, zone)


def _local_midnight(day: date, zone: str) -> int:
    """The first UTC instant, in milliseconds, whose local date is `day` or later.

    Days of 23 and 25 hours are normal, and a zone may skip midnight, or repeat it.
    """
    tz = ZoneInfo(zone)
    guess = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    low, high = guess - 36 * 3_600_000, guess + 36 * 3_600_000
    low -= low % ZONE_STEP_MS
    while high - low > ZONE_STEP_MS:
        middle = low + (high - low) // (2 * ZONE_STEP_MS) * ZONE_STEP_MS
        if datetime.fromtimestamp(middle / 1000, tz).date() < day:
            low = middle
        else:
            high = middle
    return high
