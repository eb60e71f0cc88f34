"""The breaker opens when the store fails, probes once a second, and closes when a probe succeeds (ST-01)."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.gate.breaker import CALLS_MIN, CONSECUTIVE_MAX, PROBE_EVERY_MS, WINDOW_S, Breaker


def call(breaker, now, *, works):
    """One call; whether it was let through."""
    entry = breaker.enter(now)
    if entry is None:
        return False
    if works:
        breaker.succeeded(entry, now)
    else:
        breaker.failed(entry, now)
    return True


def entered(breaker, now):
    """A call that is let through and not reported yet."""
    entry = breaker.enter(now)
    assert entry is not None
    return entry


def opened(now=0):
    breaker = Breaker()
    for _ in range(CONSECUTIVE_MAX):
        call(breaker, now, works=False)
    assert breaker.is_open
    return breaker


def test_five_failures_in_a_row_open_it():
    breaker = Breaker()
    for _ in range(CONSECUTIVE_MAX - 1):
        call(breaker, 0, works=False)
    assert not breaker.is_open
    call(breaker, 0, works=True)
    for _ in range(CONSECUTIVE_MAX - 1):
        call(breaker, 0, works=False)
    assert not breaker.is_open, "the success in between began a new row"
    call(breaker, 0, works=False)
    assert breaker.is_open


def test_half_of_twenty_calls_within_ten_seconds_open_it():
    breaker = Breaker()
    for number in range(CALLS_MIN - 1):
        call(breaker, number * 500, works=number % 2 == 0)
    assert not breaker.is_open, "too few calls to speak of a rate"
    call(breaker, 9_999, works=False)
    assert breaker.is_open


def test_failures_that_left_the_window_are_forgotten():
    breaker = Breaker()
    for number in range(CALLS_MIN - 1):
        call(breaker, 0, works=number % 2 == 0)
    for number in range(CALLS_MIN - 1):
        call(breaker, WINDOW_S * 1000, works=number % 2 == 0)
    assert not breaker.is_open


def test_an_open_breaker_lets_one_call_through_per_second():
    breaker = opened()
    assert [call(breaker, now, works=False) for now in (0, 999, 1000, 1000, 1999, 2000)] == [
        False, False, True, False, False, True
    ]  # fmt: skip


def test_a_probe_that_succeeds_closes_it_and_forgets_the_failures():
    breaker = opened()
    entry = entered(breaker, PROBE_EVERY_MS)
    assert breaker.succeeded(entry, PROBE_EVERY_MS)
    assert not breaker.is_open
    for _ in range(CONSECUTIVE_MAX - 1):
        call(breaker, PROBE_EVERY_MS, works=False)
    assert not breaker.is_open


def test_calls_that_were_under_way_when_it_opened_change_nothing():
    breaker = Breaker()
    late = entered(breaker, 0)
    for _ in range(CONSECUTIVE_MAX):
        call(breaker, 0, works=False)
    assert not breaker.succeeded(late, 500)
    assert not breaker.failed(late, 500)
    assert breaker.is_open
    assert breaker.enter(999) is None
    assert breaker.enter(1000) is not None


def test_a_probe_that_is_never_reported_makes_way_for_the_next():
    breaker = opened()
    cancelled, probe = entered(breaker, 1000), entered(breaker, 2000)
    assert not breaker.succeeded(cancelled, 2001), "an overtaken probe"
    assert breaker.is_open
    assert breaker.succeeded(probe, 2002)


class Model:
    """What the breaker should do, written down without any economy."""

    def __init__(self):
        self.close()

    def close(self):
        self.calls = []
        self.row = 0
        self.probe_at = None

    def allows(self, now):
        if self.probe_at is None:
            return True
        if now < self.probe_at:
            return False
        self.probe_at = now + PROBE_EVERY_MS
        return True

    def reported(self, now, *, works):
        if self.probe_at is not None:
            if works:
                self.close()
            return
        self.calls.append((now // 1000, works))
        self.row = 0 if works else self.row + 1
        recent = [worked for second, worked in self.calls if second > now // 1000 - WINDOW_S]
        failures = recent.count(False)
        if not works and (self.row >= CONSECUTIVE_MAX or (len(recent) >= CALLS_MIN and 2 * failures >= len(recent))):
            self.probe_at = now + PROBE_EVERY_MS


@given(st.lists(st.tuples(st.sampled_from([0, 1, 40, 300, 999, 1000, 2500, 9000, 30_000]), st.booleans()), max_size=80))
@settings(max_examples=400)
def test_it_does_what_the_model_does(steps):
    breaker, model, now = Breaker(), Model(), 1_000_000
    for step, works in steps:
        now += step
        let_through = call(breaker, now, works=works)
        assert let_through == model.allows(now)
        if let_through:
            model.reported(now, works=works)
        assert breaker.is_open == (model.probe_at is not None)


@given(st.lists(st.integers(0, 700), max_size=60))
def test_a_store_that_is_down_is_asked_at_most_once_a_second(steps):
    breaker, now, asked = opened(), 0, []
    for step in steps:
        now += step
        if call(breaker, now, works=False):
            asked.append(now)
    assert all(later - earlier >= PROBE_EVERY_MS for earlier, later in pairwise(asked))
