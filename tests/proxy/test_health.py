"""Life and death of an upstream: what counts as dead, what heals, and what is said meanwhile."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.proxy.health import (
    CIRCUIT_FAILURES,
    CIRCUIT_OPEN_MS,
    CLOSED,
    Failure,
    Health,
    Life,
    Meanwhile,
    after_failing,
    answered,
    before_connecting,
    connected,
    drained,
    failed,
    may_exchange,
    takes_new_sessions,
    tried,
    unanswered,
    undrained,
)
from sessionware.proxy.mcp.era import Era

NEW = Health()
REFUSED, SILENT = Failure.REFUSED, Failure.SILENT


def after(*failures):
    health = NEW
    for now, failure in failures:
        health = failed(health, failure, now)
    return health


@pytest.mark.parametrize(
    ("failures", "life"),
    [
        ([], Life.UP),
        ([(0, REFUSED)], Life.SUSPECTED),
        ([(0, REFUSED), (1_000, REFUSED)], Life.SUSPECTED),
        ([(0, REFUSED), (2_000, REFUSED)], Life.SUSPECTED),
        ([(0, REFUSED), (1_000, REFUSED), (1_999, REFUSED)], Life.SUSPECTED),
        ([(0, REFUSED), (1_000, REFUSED), (2_000, REFUSED)], Life.DEAD),
        ([(0, REFUSED)] * 50, Life.SUSPECTED),
        ([(0, REFUSED), (1_000, SILENT), (2_000, REFUSED), (3_000, REFUSED)], Life.SUSPECTED),
        ([(0, SILENT), (9_999, SILENT)], Life.SUSPECTED),
        ([(0, SILENT), (10_000, SILENT)], Life.DEAD),
        ([(0, REFUSED), (10_000, SILENT)], Life.DEAD),
        ([(0, REFUSED), (1_000, REFUSED), (2_000, REFUSED), (2_001, SILENT)], Life.DEAD),
    ],
)
def test_dead_is_three_refusals_over_two_seconds_or_ten_of_silence(failures, life):
    assert after(*failures).life is life


def test_one_connection_heals_and_the_count_begins_anew():
    dead = after((0, REFUSED), (1_000, REFUSED), (2_000, REFUSED))
    assert connected(dead) == NEW
    assert failed(connected(dead), REFUSED, 2_500).life is Life.SUSPECTED
    assert connected(NEW) is NEW


moments = st.lists(st.tuples(st.integers(0, 3_000), st.sampled_from([REFUSED, SILENT, None])), max_size=40)


@settings(deadline=None)
@given(moments)
def test_death_needs_an_unbroken_row_of_failures(steps):
    health, now = NEW, 0
    row: list[tuple[int, Failure]] = []
    for wait, what in steps:
        now += wait
        health = connected(health) if what is None else failed(health, what, now)
        row = [] if what is None else [*row, (now, what)]
        assert (health.life is Life.UP) == (not row)
        if health.life is Life.DEAD:
            assert row[-1][0] - row[0][0] >= 2_000
        if row and row[-1][0] - row[0][0] >= 10_000:
            assert health.life is Life.DEAD


@settings(deadline=None)
@given(moments, st.booleans())
def test_draining_is_no_matter_of_health(steps, drains):
    plain, other, now = NEW, drained(NEW) if drains else undrained(drained(NEW)), 0
    for wait, what in steps:
        now += wait
        plain, other = [connected(each) if what is None else failed(each, what, now) for each in (plain, other)]
    assert undrained(other) == plain
    assert other.is_draining is drains


def test_who_drains_serves_its_own_and_takes_nobody_new():
    suspected, dead = after((0, REFUSED)), after((0, SILENT), (10_000, SILENT))
    assert [takes_new_sessions(each) for each in (NEW, drained(NEW), suspected, dead)] == [True, False, False, False]
    assert [before_connecting(each, Era.LEGACY) for each in (drained(NEW), suspected, dead)] == [
        Meanwhile.FORWARD, Meanwhile.FORWARD, Meanwhile.GONE,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("life", "era", "before", "when_refused"),
    [
        (Life.UP, Era.LEGACY, Meanwhile.FORWARD, Meanwhile.WAIT),
        (Life.SUSPECTED, Era.LEGACY, Meanwhile.FORWARD, Meanwhile.WAIT),
        (Life.DEAD, Era.LEGACY, Meanwhile.GONE, Meanwhile.GONE),
        (Life.UP, Era.MODERN, Meanwhile.FORWARD, Meanwhile.REBIND),
        (Life.SUSPECTED, Era.MODERN, Meanwhile.FORWARD, Meanwhile.REBIND),
        (Life.DEAD, Era.MODERN, Meanwhile.REBIND, Meanwhile.REBIND),
    ],
)
def test_a_legacy_client_waits_and_then_begins_anew_a_modern_one_goes_elsewhere(life, era, before, when_refused):
    health = Health(life=life)
    assert (before_connecting(health, era), after_failing(health, era)) == (before, when_refused)


def broken(times, now=0):
    circuit = CLOSED
    for _ in range(times):
        circuit = unanswered(circuit, now)
    return circuit


def test_five_exchanges_without_an_answer_open_the_circuit():
    assert not broken(CIRCUIT_FAILURES - 1).is_open
    assert broken(CIRCUIT_FAILURES).is_open
    assert answered(broken(CIRCUIT_FAILURES - 1)) == CLOSED


def test_while_it_is_open_one_exchange_a_second_may_try():
    circuit = broken(CIRCUIT_FAILURES)
    assert not may_exchange(circuit, CIRCUIT_OPEN_MS - 1)
    assert may_exchange(circuit, CIRCUIT_OPEN_MS)
    trying = tried(circuit, CIRCUIT_OPEN_MS)
    assert not may_exchange(trying, CIRCUIT_OPEN_MS + 1)
    assert not may_exchange(unanswered(trying, CIRCUIT_OPEN_MS + 500), 2 * CIRCUIT_OPEN_MS + 499)
    assert may_exchange(unanswered(trying, CIRCUIT_OPEN_MS + 500), 2 * CIRCUIT_OPEN_MS + 500)
    assert answered(trying) == CLOSED
    assert tried(CLOSED, 5) is CLOSED
