"""The laws of the ledger, for every store to keep."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.core.ledger import CAP, Counter, Scope, Spend, adjusted, charged, fits, level, rolled, taken
from sessionware.core.windows import FULL_CARRY, Calendar, Sliding, Total, position

PERIOD = 1000
SLIDING = Sliding(PERIOD)
COUNTERS = st.builds(Counter, st.integers(0, 10), st.integers(0, CAP), st.integers(0, CAP))


def spend(now, *, cost=1, allowance=10, window=SLIDING):
    place = position(window, now)
    return Spend("x", b"k", Scope.USER, window, allowance, cost, place.number, place.carry, place.stale_at)


def take(counter, asked):
    """One admission: the counter after it, and whether it was admitted."""
    current = rolled(counter, asked.window)
    return (charged(current, asked.cost), True) if fits(current, asked, asked.allowance) else (counter, False)


def run(asks):
    """The (instant, cost) pairs that were admitted, for asks in order."""
    counter, admitted = None, []
    for now, asked in asks:
        counter, is_taken = take(counter, asked)
        if is_taken:
            admitted.append((now, asked.cost))
    return admitted


@given(COUNTERS, st.integers(-3, 12), st.integers(0, 12), st.integers(9_000, 11_999))
@settings(max_examples=500)
def test_what_is_taken_in_one_look_is_what_fits_and_is_charged(counter, cost, allowance, now):
    asked = spend(now, cost=cost, allowance=allowance)
    current = rolled(counter, asked.window)
    expected = charged(current, cost) if fits(current, asked, allowance) else None
    assert taken(current, asked, allowance) == expected
    near_the_cap = Counter(asked.window, CAP - 1, 0)
    assert taken(near_the_cap, asked, 2 * CAP) == charged(near_the_cap, cost)


STEPS = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 4)), max_size=60)


@given(STEPS, st.integers(1, 12))
@settings(max_examples=300)
def test_b23_an_aligned_window_never_holds_more_than_the_allowance(steps, allowance):
    """B23."""
    now, asks = 10_000, []
    for step, cost in steps:
        now += step
        asks.append((now, spend(now, cost=cost, allowance=allowance)))
    totals: dict[int, int] = {}
    for at, cost in run(asks):
        totals[at // PERIOD] = totals.get(at // PERIOD, 0) + cost
    assert all(total <= allowance for total in totals.values())


@given(STEPS, st.integers(1, 12))
@settings(max_examples=300)
def test_an_unaligned_window_holds_at_most_twice_the_allowance(steps, allowance):
    now, asks = 10_000, []
    for step, cost in steps:
        now += step
        asks.append((now, spend(now, cost=cost, allowance=allowance)))
    admitted = run(asks)
    for start, _ in admitted:
        assert sum(cost for at, cost in admitted if start <= at < start + PERIOD) <= 2 * allowance


@given(STEPS, st.integers(1, 12))
def test_the_level_is_within_the_allowance_right_after_every_admission(steps, allowance):
    now, counter = 10_000, None
    for step, cost in steps:
        now += step
        asked = spend(now, cost=cost, allowance=allowance)
        counter, is_taken = take(counter, asked)
        if is_taken:
            assert level(counter, asked) <= allowance


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=60), st.integers(1, PERIOD))
@settings(max_examples=300)
def test_a_lagging_clock_never_forgives_spends(steps, lag):
    """Two workers, one up to a window behind: no window of either clock holds more than the allowance."""
    now, counter = 10_000, None
    totals: dict[int, int] = {}
    for step, lags in steps:
        now += step
        asked = spend(now - lag if lags else now, allowance=5)
        before = counter
        counter, taken = take(counter, asked)
        if before is not None:
            assert counter.window >= before.window
        if taken:
            totals[counter.window] = totals.get(counter.window, 0) + 1
    assert all(total <= 5 for total in totals.values())


@given(COUNTERS, st.integers(0, 10))
def test_a_counter_from_a_clock_that_jumped_counts_once_more_and_then_slides_out(counter, window):
    current = rolled(counter, window)
    assert current.window in (window, window + 1)
    if counter.window > window + 1:
        assert current == Counter(window, 0, counter.used)


@given(COUNTERS, st.integers(0, 10), st.integers(0, 5))
def test_rolling_twice_is_rolling_once(counter, window, later):
    assert rolled(rolled(counter, window), window) == rolled(counter, window)
    if window <= counter.window <= window + 1:
        return
    assert rolled(rolled(counter, window), window + later) == rolled(counter, window + later) or counter.window > window


def test_a_refused_spend_changes_nothing():
    full = Counter(10, 10, 0)
    assert take(full, spend(10_000)) == (full, False)


def test_allowance_zero_refuses_everything_but_a_release():
    empty = rolled(None, 10)
    assert not fits(empty, spend(10_000, allowance=0), 0)
    assert not fits(empty, spend(10_000, allowance=0, cost=0), 0)
    assert fits(empty, spend(10_000, allowance=0, cost=-1), 0)


def test_a_cost_of_nothing_is_refused_exactly_when_exhausted():
    asked = spend(10_000, cost=0)
    assert fits(Counter(10, 9, 0), asked, 10)
    assert not fits(Counter(10, 10, 0), asked, 10)


def test_a_window_ahead_of_ours_counts_in_full():
    assert level(Counter(11, 3, 4), spend(10_999)) == 7


def test_a_calendar_counter_carries_nothing_over():
    day = Calendar("day", "UTC")
    asked = spend(86_400_000 * 20_000, window=day)
    assert level(rolled(Counter(asked.window - 1, 10, 10), asked.window), asked) == 0


@given(COUNTERS, st.integers(-CAP, CAP))
def test_sums_saturate_at_zero_and_cap(counter, cost):
    after = charged(counter, cost)
    assert after.used == min(max(counter.used + cost, 0), CAP)
    assert (after.window, after.before) == (counter.window, counter.before)


@given(COUNTERS, st.integers(0, FULL_CARRY))
def test_a_level_stays_within_what_63_bits_hold(counter, carry):
    assert counter.before * FULL_CARRY < 2**63
    assert 0 <= counter.used + counter.before * carry // FULL_CARRY <= 2 * CAP


@given(COUNTERS, st.integers(0, 12), st.integers(1, CAP))
def test_a_refund_never_goes_below_zero_and_never_touches_another_window(counter, window, amount):
    after = adjusted(counter, window=window, cost=-amount)
    if counter.window == window:
        assert after == Counter(window, max(counter.used - amount, 0), counter.before)
    elif counter.window == window + 1:
        assert after == Counter(counter.window, counter.used, max(counter.before - amount, 0))
    elif counter.window > window:
        assert after is None


@given(st.integers(0, 10), st.integers(1, 1000), st.integers(0, 1000))
def test_a_refund_undoes_its_charge(window, amount, used):
    counter = Counter(window, used, 0)
    assert adjusted(charged(counter, amount), window=window, cost=-amount) == counter


def test_a_refund_of_nothing_stored_makes_nothing():
    assert adjusted(None, window=5, cost=-3) is None
    assert adjusted(None, window=5, cost=3) == Counter(5, 3, 0)


@given(st.lists(st.integers(-50, 50), max_size=40))
def test_a_level_goes_up_and_down_and_never_over(costs):
    counter = None
    for cost in costs:
        counter, _ = take(counter, spend(5, cost=cost, allowance=100, window=Total()))
        assert counter is None or 0 <= counter.used <= 100


@given(st.integers(0, 10**13), st.integers(0, 10**13))
def test_a_spend_asked_anew_is_placed_where_that_instant_lies(then, now):
    assert spend(then, cost=3).at(now) == spend(now, cost=3)
