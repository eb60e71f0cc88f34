"""Where an instant lies, and when a spend fits: exact to the millisecond, in every zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.core.ledger import Counter, Scope, Spend, fits, rolled
from sessionware.core.windows import (
    FULL_CARRY,
    NEVER,
    TOTAL_RETRY_MS,
    ZONE_STEP_MS,
    Calendar,
    Sliding,
    Total,
    calendar_start,
    ends_at,
    period_ms,
    position,
    resets_at,
    wait_for_fit,
)

HOUR = 3_600_000
DAY = 24 * HOUR
ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Africa/Cairo", "Asia/Kathmandu", "Australia/Lord_Howe",
         "America/Havana", "Asia/Beirut", "Pacific/Apia", "Atlantic/Azores", "America/Santiago"]  # fmt: skip


def utc(year, month, day, hour=0):
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp() * 1000)


def local_date(now, zone):
    return datetime.fromtimestamp(now / 1000, ZoneInfo(zone)).date()


def spend_at(window, now, *, cost, allowance):
    place = position(window, now)
    return Spend("x", b"k", Scope.USER, window, allowance, cost, place.number, place.carry, place.stale_at)


def does_fit(window, now, counter, *, cost, allowance):
    spend = spend_at(window, now, cost=cost, allowance=allowance)
    return fits(rolled(Counter(*counter), spend.window), spend, allowance)


# ------------------------------------------------------------------ sliding


def test_the_carry_of_a_sliding_window_falls_from_full_to_nothing():
    window = Sliding(1000)
    assert position(window, 5000).carry == FULL_CARRY
    assert position(window, 5500).carry == FULL_CARRY // 2
    assert position(window, 5999).carry == 1000


@given(
    st.integers(1, 60), st.integers(-2, 1), st.integers(0, 30), st.integers(0, 30), st.integers(1, 12),
    st.integers(1, 30), st.integers(0, 59),
)  # fmt: skip
@settings(max_examples=600, deadline=None)
def test_b24_retry_after_is_the_first_millisecond_at_which_a_sliding_spend_fits(  # noqa: PLR0917 - drawn
    period, offset, used, before, cost, allowance, elapsed
):
    """B24: old usage drops out; the wait is exact against trying every millisecond."""
    window = Sliding(period)
    now = 1000 * period + elapsed % period
    counter = (1000 + offset, used, before)
    if cost > allowance:
        return
    wait = wait_for_fit(window, now, counter=counter, cost=cost, allowance=allowance)
    tried = next(ms for ms in range(5 * period) if does_fit(window, now + ms, counter, cost=cost, allowance=allowance))
    assert wait == tried


@given(
    st.sampled_from([1_000, 60_000, 3_600_000, 86_400_000, 30 * 86_400_000, 366 * 86_400_000, 7_001]),
    st.integers(-2, 1), st.integers(0, 9 * 10**9), st.integers(0, 9 * 10**9), st.integers(1, 9 * 10**9),
    st.integers(1, 9 * 10**9), st.integers(0, 366 * 86_400_000),
)  # fmt: skip
@settings(max_examples=1000, deadline=None)
def test_retry_after_fits_and_one_millisecond_earlier_does_not(  # noqa: PLR0917 - drawn
    period, offset, used, before, cost, allowance, elapsed
):
    window = Sliding(period)
    now = 1_767_225_600_000 // period * period + elapsed % period
    counter = (now // period + offset, used, before)
    if cost > allowance:
        return
    wait = wait_for_fit(window, now, counter=counter, cost=cost, allowance=allowance)
    assert does_fit(window, now + wait, counter, cost=cost, allowance=allowance)
    assert wait == 0 or not does_fit(window, now + wait - 1, counter, cost=cost, allowance=allowance)


def test_a_cost_of_nothing_waits_until_one_would_fit():
    assert wait_for_fit(Sliding(1000), 5000, counter=(5, 10, 0), cost=0, allowance=10) == 1001


def test_a_cost_that_never_fits_waits_one_period():
    assert wait_for_fit(Sliding(60_000), 1, counter=(0, 0, 0), cost=11, allowance=10) == 60_000
    assert wait_for_fit(Sliding(60_000), 1, counter=(0, 0, 0), cost=1, allowance=0) == 60_000
    assert wait_for_fit(Total(), 1, counter=(0, 0, 0), cost=1, allowance=0) == TOTAL_RETRY_MS
    day = Calendar("day", "Europe/Berlin")
    assert wait_for_fit(day, utc(2026, 3, 29, 5), counter=(0, 0, 0), cost=1, allowance=0) == 23 * HOUR


@given(st.integers(1, 10**10), st.integers(0, 4 * 10**12))
def test_a_sliding_counter_is_stale_only_when_nobody_can_count_it_any_more(period, now):
    window = Sliding(period)
    place = position(window, now)
    ahead = (place.number + 1, 5, 5)  # charged by a clock one window ahead of ours
    assert place.number == now // period
    assert 0 <= place.carry <= FULL_CARRY
    assert does_fit(window, place.stale_at, ahead, cost=1, allowance=1)
    assert now < ends_at(window, now) < resets_at(window, now) < place.stale_at


# ------------------------------------------------------------------ calendar


@pytest.mark.parametrize(
    ("instant", "zone", "hours"),
    [
        (utc(2026, 3, 29, 12), "Europe/Berlin", 23),
        (utc(2026, 10, 25, 12), "Europe/Berlin", 25),
        (utc(2026, 7, 1, 12), "Europe/Berlin", 24),
        (utc(2018, 11, 4, 15), "America/Sao_Paulo", 23),  # this day began at 01:00
        (utc(2019, 2, 16, 15), "America/Sao_Paulo", 25),  # this day ended with 23:00 twice
        (utc(2024, 4, 26, 12), "Africa/Cairo", 23),  # this day began at 01:00
        (utc(2024, 10, 31, 12), "Africa/Cairo", 25),
        (utc(2026, 1, 1), "UTC", 24),
    ],
)
def test_a_calendar_day_is_as_long_as_the_zone_makes_it(instant, zone, hours):
    assert period_ms(Calendar("day", zone), instant) == hours * HOUR


def test_a_day_without_midnight_begins_with_its_first_instant():
    day = Calendar("day", "America/Sao_Paulo")
    assert calendar_start(day, utc(2018, 11, 4, 15)) == utc(2018, 11, 4, 3)


def test_a_skipped_day_is_no_day_at_all():
    day = Calendar("day", "Pacific/Apia")  # 30 December 2011 did not happen in Samoa
    end = resets_at(day, utc(2011, 12, 29, 23))
    assert (local_date(end - 1, "Pacific/Apia").day, local_date(end, "Pacific/Apia").day) == (29, 31)


@given(st.sampled_from(ZONES), st.integers(utc(2012, 1, 1), utc(2037, 1, 1)))
@settings(max_examples=400, deadline=None)
def test_a_calendar_day_ends_at_the_first_instant_whose_local_date_is_later(zone, now):
    day = Calendar("day", zone)
    start, end = calendar_start(day, now), resets_at(day, now)
    assert start <= now < end
    assert local_date(start, zone) == local_date(now, zone) == local_date(end - 1, zone)
    assert local_date(end, zone) > local_date(now, zone)
    assert local_date(start - 1, zone) < local_date(now, zone)
    assert position(day, now).number == position(day, start).number == position(day, end - 1).number
    assert position(day, end).number > position(day, now).number


@given(st.sampled_from(ZONES), st.integers(utc(2012, 1, 1), utc(2037, 1, 1)))
@settings(max_examples=200, deadline=None)
def test_a_calendar_month_ends_when_the_local_month_changes(zone, now):
    month = Calendar("month", zone)
    start, end = calendar_start(month, now), resets_at(month, now)
    assert start <= now < end
    assert local_date(start, zone).replace(day=1) == local_date(end - 1, zone).replace(day=1)
    assert local_date(end, zone).month == local_date(now, zone).month % 12 + 1
    assert position(month, end).number == position(month, now).number + 1


@pytest.mark.parametrize(("year", "days"), [(2024, 29), (2025, 28), (2100, 28)])
def test_february_is_as_long_as_the_year_makes_it(year, days):
    assert period_ms(Calendar("month", "UTC"), utc(year, 2, 10)) == days * DAY


def test_a_month_in_berlin_ends_at_local_midnight():
    month = Calendar("month", "Europe/Berlin")
    assert resets_at(month, utc(2026, 3, 15)) == utc(2026, 3, 31, 22)
    assert wait_for_fit(month, utc(2026, 3, 31, 21), counter=(2026 * 12 + 3, 10, 0), cost=1, allowance=10) == HOUR


@given(
    st.sampled_from(ZONES), st.integers(utc(2020, 1, 1), utc(2030, 1, 1)), st.integers(-2, 1), st.integers(0, 12),
    st.integers(0, 12), st.integers(1, 10),
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_retry_after_of_a_calendar_window_is_exact_even_behind_a_clock_that_is_ahead(  # noqa: PLR0917 - drawn
    zone, now, offset, used, before, cost
):
    day = Calendar("day", zone)
    counter = (position(day, now).number + offset, used, before)
    wait = wait_for_fit(day, now, counter=counter, cost=cost, allowance=10)
    assert does_fit(day, now + wait, counter, cost=cost, allowance=10)
    assert wait == 0 or not does_fit(day, now + wait - 1, counter, cost=cost, allowance=10)


@given(st.sampled_from(ZONES), st.sampled_from(["day", "month"]), st.integers(utc(2012, 1, 1), utc(2037, 1, 1)))
@settings(max_examples=200, deadline=None)
def test_a_calendar_counter_of_a_clock_ahead_is_not_stale_before_its_own_window_ends(zone, unit, now):
    window = Calendar(unit, zone)
    tomorrow = resets_at(window, now)
    assert position(window, now).stale_at >= resets_at(window, tomorrow)


def test_calendar_windows_are_placed_alike_within_a_step_of_the_zone_database():
    day = Calendar("day", "Asia/Kathmandu")
    end = resets_at(day, utc(2026, 5, 5))
    assert end % ZONE_STEP_MS == 0
    assert position(day, end - 1).number + 1 == position(day, end).number


# ------------------------------------------------------------------ levels


def test_a_level_knows_no_time():
    assert position(Total(), 5) == position(Total(), 10**13)
    assert (period_ms(Total(), 5), resets_at(Total(), 5), ends_at(Total(), 5)) == (0, NEVER, NEVER)


@pytest.mark.parametrize(("used", "wait"), [(9, 0), (10, TOTAL_RETRY_MS)])
def test_a_full_level_asks_for_an_hour(used, wait):
    assert wait_for_fit(Total(), 5, counter=(0, used, 0), cost=1, allowance=10) == wait
