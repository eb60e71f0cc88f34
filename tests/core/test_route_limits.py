"""Limits that are bound to routes: what may be said, what they are called, and which routes share a counter."""

import pytest

from sessionware.core.identity import Claims, prove
from sessionware.core.ids import Addresses
from sessionware.core.policy import Caller, Policy, plan
from sessionware.core.request import Facts
from sessionware.core.route_limits import compile_route_limits, parse_route_limits
from sessionware.errors import ConfigError

ADDRESSES = Addresses(b"salt" * 8)
ALICE = Caller(prove(Claims(issuer="https://login.test", user_id="alice"), addresses=ADDRESSES))
NOW = 1_700_000_000_000
LONG = "/organisations/{organisation_id}/projects/{project_id}/conversations/{conversation_id}"


def policy(*texts: str, route: str = "GET /items/{item_id}", cost: int | None = None) -> Policy:
    method, _, template = route.partition(" ")
    limits = parse_route_limits(texts, cost=cost, source="Limited")
    return compile_route_limits(limits, addresses=ADDRESSES, method=method, template=template)


def counters(found: Policy) -> list[bytes]:
    facts = Facts(method="GET", path="/items/7", client="203.0.113.7")
    planned = plan(found, ALICE, facts, now=NOW)
    return [spend.key for spend in planned.spends] + [lease.key for lease in planned.leases]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10/minute per user for /items", "the route itself is what this limit speaks of"),
        ("10/minute per user for POST", "the route itself is what this limit speaks of"),
        ("10/minute per user for group pro for GET,POST /x", "the route itself"),
        ("10/minute per user for tool image_*", "the route itself"),
        ("10/minute per user except /static/**", "nothing is left out of a route"),
        ("10/minute per user and tool except read_*", "nothing is left out of a route"),
        ("500 tokens/day per user", r"takes no tokens by itself: say how many, `Limited\(..., cost=5\)`"),
        ("10/minute", "did you mean `10/minute per client`"),
    ],
)
def test_what_a_route_cannot_mean_is_refused_and_taught(text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        policy(text)
    assert "(Limited" in str(caught.value)
    assert "^" in str(caught.value)


def test_the_error_points_at_the_clause_that_has_to_go():
    with pytest.raises(ConfigError) as caught:
        policy("10/minute per user for group pro for GET /x")
    assert "column 34" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "cost", "said"),
    [
        ("10/minute per user", 0, "a cost is a whole number"),
        ("10/minute per user", True, "a cost is a whole number"),
        ("10/minute per user", 11, "a cost of 11 never fits into 10"),
        ("5 concurrent per user", 2, "a running request takes one place"),
    ],
)
def test_a_cost_that_can_never_be_taken_is_refused(text, cost, said):
    with pytest.raises(ConfigError, match=said):
        policy(text, cost=cost)


def test_no_limit_at_all_is_a_mistake_and_off_means_none():
    with pytest.raises(ConfigError, match="a limit is missing"):
        policy()
    assert policy("off").ladders == ()


@pytest.mark.parametrize(
    "text",
    [
        "10/minute per user for group pro", "10/minute per user for scope chat", "10/minute per client for anonymous",
        "10/minute per user costing 5", "shadow 10/minute per user", "10/minute per user and tool",
        "5 concurrent per user",
    ],
)  # fmt: skip
def test_everything_else_of_the_grammar_may_be_said(text):
    (ladder,) = policy(text).ladders
    assert [rung.matcher for rung in ladder.rungs] == [None]


def test_the_cost_of_the_call_stands_above_that_of_the_text():
    (spend,) = plan(policy("10/minute per user costing 5", cost=3), ALICE, Facts(), now=NOW).spends
    assert spend.cost == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("GET /items/{item_id}", "POST /items/{item_id}"),
        ("GET /a/b", "GET /a-b"),
        ("GET /a/{x}", "GET /a/x"),
        ("GET /", "GET /get"),
        (f"GET {LONG}", f"GET {LONG}/messages"),
    ],
)
def test_two_routes_never_share_the_counter_of_an_unnamed_limit(one, other):
    assert counters(policy("10/minute per user", route=one)) != counters(policy("10/minute per user", route=other))


def test_two_limits_that_differ_in_their_allowance_alone_count_apart():
    assert counters(policy("10/minute per user")) != counters(policy("5/minute per user"))


def test_a_named_limit_has_one_counter_on_all_routes_that_use_it():
    one = counters(policy("chat=10/minute per user", route="GET /a"))
    assert one == counters(policy("chat=10/minute per user", route="POST /b"))
    assert one != counters(policy("talk=10/minute per user", route="GET /a"))


@pytest.mark.parametrize(
    ("route", "name"),
    [
        ("GET /items/{item_id}", "requests-minute-user-get-items-item_id"),
        ("GET /", "requests-minute-user-get-root"),
        ("WEBSOCKET /ws", "requests-minute-user-websocket-ws"),
    ],
)
def test_the_shown_name_is_made_of_the_limit_and_the_route(route, name):
    assert [ladder.name for ladder in policy("10/minute per user", route=route).ladders] == [name]


def test_a_long_name_is_cut_and_stays_distinct():
    names = {policy("10/minute per user", route=f"GET {LONG}/{end}").ladders[0].name for end in ("a", "b", "c")}
    assert len(names) == 3
    assert all(len(name) <= 64 and name.startswith("requests-minute-user-get-organisations") for name in names)


def test_limits_of_one_chosen_name_form_a_ladder():
    (ladder,) = policy("x=100/minute per user for group pro", "x=10/minute per user").ladders
    assert [rung.allowance for rung in ladder.rungs] == [100, 10]
