"""Choosing an upstream: fair, the same everywhere, and no session moves that need not."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.proxy.addresses import parse_address
from sessionware.proxy.selection import ByHash, LeastSessions, RoundRobin, selector

SALT = b"salt" * 8
A, B, C, D = CANDIDATES = [parse_address(f"{name}@http://{name}:1/mcp") for name in ("a", "b", "c", "d")]
KEYS = [str(number).encode() for number in range(4_000)]

upstreams = st.lists(st.sampled_from(range(50)), min_size=1, max_size=12, unique=True).map(
    lambda numbers: [parse_address(f"u{number}@http://u{number}:1/mcp") for number in numbers]
)


def chosen_name(selector, candidates, key=b"", load=None):
    chosen = selector.choose(candidates, key=key, load=load or {})
    return None if chosen is None else chosen.name


def placed(selector, candidates, keys=KEYS):
    return {key: chosen_name(selector, candidates, key) for key in keys}


@pytest.mark.parametrize("each", [LeastSessions(SALT), ByHash(SALT), RoundRobin()])
def test_without_candidates_nobody_is_chosen(each):
    assert each.choose([], key=b"k", load={}) is None


@settings(deadline=None)
@given(upstreams, st.binary(max_size=40), st.data())
def test_when_an_upstream_leaves_only_its_own_sessions_move(candidates, key, data):
    chosen = ByHash(SALT).choose(candidates, key=key, load={})
    leaving = data.draw(st.sampled_from(candidates))
    rest = [each for each in candidates if each != leaving]
    if leaving != chosen:
        assert ByHash(SALT).choose(rest, key=key, load={}) == chosen


@settings(deadline=None)
@given(upstreams, st.binary(max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_the_configuration_makes_no_difference(candidates, key, random):
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert ByHash(SALT).choose(shuffled, key=key, load={}) == ByHash(SALT).choose(candidates, key=key, load={})


def test_hashing_is_fair_and_a_leaving_upstream_moves_one_nth():
    before, after = placed(ByHash(SALT), CANDIDATES), placed(ByHash(SALT), [A, B, C])
    assert all(850 < count < 1_150 for count in Counter(before.values()).values())
    moved = [key for key in KEYS if before[key] != after[key]]
    assert {before[key] for key in moved} == {"d"}
    assert all(1_150 < count < 1_520 for count in Counter(after.values()).values())


def test_another_installation_places_otherwise():
    ours, theirs = placed(ByHash(SALT), CANDIDATES), placed(ByHash(b"x" * 32), CANDIDATES)
    same = sum(ours[key] == theirs[key] for key in KEYS)
    assert 850 < same < 1_150  # as chance would have it


def test_the_fewest_sessions_win_and_equals_share():
    least = LeastSessions(SALT)
    assert least.choose(CANDIDATES, key=b"k", load={"a": 2, "b": 1, "c": 2, "d": 3}) == B
    equal = {chosen_name(least, CANDIDATES, key, {"a": 1, "b": 1}) for key in KEYS[:100]}
    assert equal == {"c", "d"}


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 5)), st.binary(max_size=8))
def test_nobody_has_fewer_than_the_chosen(load, key):
    chosen = chosen_name(LeastSessions(SALT), CANDIDATES, key, load)
    assert load.get(chosen or "", 0) == min(load.get(each.name, 0) for each in CANDIDATES)


def test_each_in_turn_even_when_one_leaves():
    turn = RoundRobin(start=1)
    assert [chosen_name(turn, CANDIDATES) for _ in range(5)] == ["b", "c", "d", "a", "b"]
    assert [chosen_name(turn, [A, B]) for _ in range(3)] == ["a", "b", "a"]


def test_the_setting_names_the_way():
    made = [type(selector(name, salt=SALT)) for name in ("least_sessions", "hash", "round_robin")]
    assert made == [LeastSessions, ByHash, RoundRobin]
