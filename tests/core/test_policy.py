"""Which limits count a request, in which counter, and at what cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionware.core.admission import Token
from sessionware.core.amounts import booked, checked_amounts, plan_amounts, plan_usage, settlement
from sessionware.core.dead_limits import Surroundings, limits_that_match_nothing
from sessionware.core.identity import Claims, developer, prove
from sessionware.core.ids import Addresses, SessionKey
from sessionware.core.ledger import CAP, Counter, Lease, Scope, Spend, Tally, When
from sessionware.core.limit_grammar import parse_limit, parse_limits
from sessionware.core.policy import NOTHING, Caller, Plan, admission, compile_policy, plan
from sessionware.core.request import UNKNOWN_CLIENT, Facts, client_group
from sessionware.core.session import Override
from sessionware.core.windows import NEVER, Sliding, position
from sessionware.errors import ConfigError, InvalidAmount

NOW = 1_767_225_630_000
ADDRESSES = Addresses(b"s" * 32, 256)
SESSION = SessionKey(7, b"h" * 20)
FACTS = Facts(method="GET", path="/chat", client="192.0.2.1")


def user(name="alice", **more):
    return prove(Claims(issuer="i", user_id=name, **more), addresses=ADDRESSES)


def policy(limits, **more):
    return compile_policy(parse_limits(limits), addresses=ADDRESSES, **more)


def caller(identity=None, session=SESSION, **more):
    return Caller(identity, session, **more)


def planned(limits, who=None, facts=FACTS, **more):
    return plan(policy(limits), caller(user()) if who is None else who, facts, now=NOW, **more)


def counted(limits, who=None, facts=FACTS):
    """(name, scope, allowance, cost, binding) of each spend."""
    return [
        (spend.limit, spend.scope, spend.allowance, spend.cost, spend.binding)
        for spend in planned(limits, who, facts).spends
    ]


def key(limits, who=None, facts=FACTS):
    [spend] = planned(limits, who, facts).spends
    return spend.key


# ------------------------------------------------------------------ what is taken


def test_a_request_costs_one_and_is_placed_in_time():
    window = Sliding(60_000)
    place = position(window, NOW)
    [spend] = planned("100/minute per session").spends
    assert spend == Spend(
        "requests-minute-session", spend.key, Scope.SESSION, window, 100, 1, place.number, place.carry, place.stale_at
    )


def test_other_resources_cost_nothing_yet():
    assert counted("1M tokens/day per user") == [("tokens-day-user", Scope.USER, 1_000_000, 0, True)]


def test_costing_says_what_each_request_takes():
    assert counted("9 tokens/day per user costing 5; 9/day per user costing 2") == [
        ("tokens-day-user", Scope.USER, 9, 5, True),
        ("requests-day-user", Scope.USER, 9, 2, True),
    ]


def test_a_batch_counts_as_the_requests_that_it_holds():
    batch = Facts(method="POST", client="c", count=7)
    assert [cost for *_, cost, _ in counted("9/day per user costing 2;9 tokens/day per user", facts=batch)] == [14, 0]


def test_a_limit_in_shadow_does_not_bind():
    assert counted("shadow 10/second per user") == [("shadow-requests-second-user", Scope.USER, 10, 1, False)]


def test_a_concurrency_limit_takes_a_lease():
    plan_ = planned("5 concurrent per session; shadow 2 concurrent per user")
    assert plan_.spends == ()
    assert [(lease.limit, lease.scope, lease.allowance, lease.binding) for lease in plan_.leases] == [
        ("requests-concurrent-session", Scope.SESSION, 5, True),
        ("shadow-requests-concurrent-user", Scope.USER, 2, False),
    ]


def test_a_preflight_takes_nothing():
    assert (
        planned("1/day per client; 1 concurrent per client", facts=Facts(method="OPTIONS", is_preflight=True))
        == NOTHING
    )


def test_a_plan_and_its_caller_make_a_whole_admission():
    token = Token(b"t", 5)
    alice = user(token=token)
    plan_ = Plan((), (Lease("x", b"k", Scope.USER, 1),))
    asked = admission(caller(alice, bucket=3), plan_, now=NOW, operation=b"op")
    assert (asked.bucket, asked.key, asked.owner, asked.token) == (7, SESSION, alice.owner, token)
    assert (asked.spends, asked.leases, asked.now, asked.operation) == ((), plan_.leases, NOW, b"op")
    stranger = admission(caller(None, None, bucket=3), NOTHING, now=NOW, operation=b"op")
    assert (stranger.bucket, stranger.key, stranger.owner, stranger.token) == (3, None, None, None)


# ------------------------------------------------------------------ over whom


def test_a_session_counter_is_the_same_field_in_every_session():
    other = caller(user(), SessionKey(9, b"x" * 20))
    assert key("9/day per session") == key("9/day per session", other)
    assert key("9/day per session and tool", facts=Facts(tool="a")) == key(
        "9/day per session and tool", other, Facts(tool="a")
    )


@pytest.mark.parametrize(
    "scope", ["user", "client", "org", "user and client", "session and user", "session and client"]
)
def test_every_value_has_a_counter_of_its_own(scope):
    limits = f"9/day per {scope}"
    base = key(limits, caller(user(org_id="x")))
    changed = {
        "user": key(limits, caller(user("bob", org_id="x"))),
        "client": key(limits, caller(user(org_id="x")), Facts(client="192.0.2.2")),
        "org": key(limits, caller(user(org_id="y"))),
        "session": key(limits, caller(user(org_id="x"), SessionKey(7, b"i" * 20))),
    }
    assert {name for name, other in changed.items() if other != base} == set(scope.split(" and "))


def test_every_tool_has_a_counter_of_its_own_and_no_tool_has_none():
    limits = "9/day per user and tool;9/day per tool;9/hour per session and tool"
    a, b = (planned(limits, facts=Facts(tool=tool, client="c")).spends for tool in "ab")
    assert [spend.scope for spend in a] == [Scope.USER, Scope.GLOBAL, Scope.SESSION]
    assert not {spend.key for spend in a} & {spend.key for spend in b}
    assert planned(limits).spends == ()


@pytest.mark.parametrize(
    ("scope", "place"),
    [
        ("session", Scope.SESSION),
        ("session and tool", Scope.SESSION),
        ("session and client", Scope.USER),
        ("session and user", Scope.USER),
        ("user and client", Scope.USER),
        ("user and org", Scope.USER),
        ("client and org", Scope.ORG),
        ("client and tool", Scope.CLIENT),
        ("tool", Scope.GLOBAL),
        ("global", Scope.GLOBAL),
    ],
)
def test_a_counter_lies_in_the_narrower_place(scope, place):
    [spend] = planned(f"9/day per {scope}", caller(user(org_id="x")), Facts(tool="t", client="c")).spends
    assert spend.scope is place


@pytest.mark.parametrize("scope", ["session", "user", "session and user", "user and client"])
def test_without_session_and_user_the_client_counts_instead(scope):
    nobody = caller(None, None)
    [spend] = planned(f"9/day per {scope}", nobody).spends
    assert spend.scope is Scope.CLIENT
    assert spend.key != key(f"9/day per {scope}", nobody, Facts(client="192.0.2.2"))


def test_without_an_org_the_limit_does_not_apply():
    assert planned("9/day per org; 9/day per user and org").spends == ()


def test_without_a_client_address_nothing_is_counted_over_it():
    assert planned("9/day per client", facts=Facts()).spends == ()


def test_a_login_session_counts_as_its_user_by_its_tag():
    assert key("9/day per user", caller(None, tag=user().tag)) == key("9/day per user")
    anonymous = planned("9/day per user", caller(None, tag="a" * 12)).spends[0]
    assert anonymous.scope is Scope.CLIENT


def test_the_shared_developer_counts_per_client():
    [spend] = planned("9/day per user", caller(developer(ADDRESSES), tag=developer(ADDRESSES).tag)).spends
    assert spend.scope is Scope.CLIENT


def test_a_changed_window_is_a_new_counter_and_a_changed_allowance_is_not():
    assert key("a=9/day per user") == key("a=8/day per user")
    others = [
        "a=9/hour per user",
        "a=9/calendar-day per user",
        "a=9/calendar-day@Europe/Berlin per user",
        "b=9/day per user",
        "a=9 tokens/day per user",
        "a=9/day per user and client",
        "a=9/day per user for GET",
    ]
    assert len({key(limits) for limits in ["a=9/day per user", *others]}) == 8


# ------------------------------------------------------------------ for whom

LADDER = (
    "d=9/day per user for group pro; d=5/day per user for scope big; d=3/day per user for anonymous; d=1/day per user"
)


@pytest.mark.parametrize(
    ("who", "allowance"),
    [
        (caller(user(groups=("free", "pro"), scopes=("big",))), 9),
        (caller(user(scopes=("big",))), 5),
        (caller(None), 3),
        (caller(developer(ADDRESSES)), 3),
        (caller(user(groups=("Pro",))), 1),
    ],
)
def test_the_first_rung_that_fits_counts(who, allowance):
    assert [spend.allowance for spend in planned(LADDER, who).spends] == [allowance]


def test_all_rungs_of_a_ladder_share_one_counter():
    assert key(LADDER, caller(user(groups=("pro",)))) == key(LADDER)


def test_a_ladder_without_a_fitting_rung_counts_nothing():
    assert planned("9/day per user for group pro").spends == ()


# ------------------------------------------------------------------ for what


@pytest.mark.parametrize(
    ("what", "facts", "applies"),
    [
        ("for POST", Facts(method="POST"), True),
        ("for POST,PUT", Facts(method="GET"), False),
        ("for /a/**", Facts(path="/a/b"), True),
        ("for POST /a", Facts(method="POST", path="/b"), False),
        ("for tool image_*,x", Facts(tool="image_make"), True),
        ("for tool image_*", Facts(tool="text"), False),
        ("for tool *", Facts(), False),
        ("for mcp tools/*", Facts(mcp_method="tools/call"), True),
        ("for mcp tools/call", Facts(mcp_method="tools/list"), False),
        ("for pool files", Facts(pool="files"), True),
        ("for pool files for tool a", Facts(pool="files", tool="b"), False),
        ("except /static/**", Facts(path="/static/x"), False),
        ("except /static/**", Facts(path="/dynamic"), True),
        ("except tool read_*", Facts(tool="read_it"), False),
        ("for tool * except read_*", Facts(tool="write_it"), True),
    ],
)
def test_a_limit_speaks_only_of_the_requests_it_names(what, facts, applies):
    assert bool(planned(f"9/day per user {what}", facts=facts).spends) is applies


@pytest.mark.parametrize(
    ("method", "mcp_method", "limits", "applies"),
    [
        ("POST", "tools/call", "9/day per user", True),
        ("POST", "", "9/day per user", True),
        ("POST", "initialize", "9/day per user", False),
        ("POST", "ping", "9/day per user", False),
        ("POST", "server/discover", "9/day per user", False),
        ("POST", "notifications/cancelled", "9/day per user", False),
        ("POST", "notifications/cancelled", "9/day per user for POST", False),
        ("POST", "initialize", "9/day per user for mcp initialize", True),
        ("POST", "notifications/x", "9/day per user for mcp notifications/*", True),
        ("GET", "", "9/day per user", False),
        ("GET", "", "9/day per user for pool files", False),
        ("GET", "", "9/day per user for GET", True),
        ("DELETE", "", "9/day per user", False),
        ("GET", "", "9 concurrent per user", False),
        ("GET", "", "9 concurrent per user for GET", True),
        ("POST", "tools/call", "9 concurrent per user", True),
    ],
)
def test_on_mcp_paths_housekeeping_counts_only_where_a_limit_names_it(method, mcp_method, limits, applies):
    facts = Facts(method=method, mcp_method=mcp_method, is_mcp=True, pool="files")
    assert bool(planned(limits, facts=facts) != NOTHING) is applies


# ------------------------------------------------------------------ overrides


def test_overrides_of_the_org_stand_above_the_tokens_and_those_above_the_rule():
    limits = "d=9/day per user;5 concurrent per user"
    tokened = user(limits={"d": 20, "requests-concurrent-user": 6})
    org = {"d": Override(30, NOW + 1)}
    assert planned(limits, caller(tokened)).spends[0].allowance == 20
    assert planned(limits, caller(tokened)).leases[0].allowance == 6
    assert planned(limits, caller(tokened, org_limits=org)).spends[0].allowance == 30
    assert planned(limits, caller(user(), org_limits={"d": Override(30, NOW)})).spends[0].allowance == 9
    assert key(limits, caller(tokened, org_limits=org)) == key(limits)


def test_a_level_meets_a_request_only_where_the_request_costs_something():
    """A full level must not keep out the request that brings it down."""
    assert planned("5 storage_mb total per user; 5 tokens/day per user").spends[0].limit == "tokens-day-user"
    assert [spend.cost for spend in planned("5 storage_mb total per user costing 2").spends] == [2]
    assert planned("5 messages/minute per user").spends == ()


# ------------------------------------------------------------------ kept plans


@given(st.integers(0, 40 * 86_400_000))
def test_a_kept_plan_is_the_plan_of_a_later_request(later):
    limits = policy(
        "9/minute per session; 9/calendar-day@Europe/Berlin per org; mb-total-user=9 mb total per user costing 2; "
        "2 concurrent per user",
        creation=parse_limit("60/minute per user"),
    )
    who, batch = caller(user(org_id="x", limits={"mb-total-user": 3})), Facts(method="POST", path="/", count=3)
    kept = plan(limits, who, batch, now=NOW, creates=True)
    assert len(kept.spends) == 4
    assert kept.at(NOW + later) == plan(limits, who, batch, now=NOW + later, creates=True)


@pytest.mark.parametrize(
    ("limits", "minds"),
    [
        ("off", False),
        ("9/day per user; 9/hour per user for group pro; 9/day per user and tool; 1 concurrent per client", False),
        ("9/day per user; 9/hour per user for POST", True),
        ("9/day per user except /static/**", True),
        ("9/day per user for tool a", True),
    ],
)
def test_a_policy_knows_whether_it_minds_what_is_requested(limits, minds):
    made = policy(limits, creation=parse_limit("60/minute per user"))
    assert made.minds_requests is minds
    here, there = Facts(method="GET", path="/a", tool="t"), Facts(method="POST", path="/b", tool="t")
    plans = [plan(made, caller(user()), facts, now=NOW, creates=True) for facts in (here, there)]
    assert minds or plans[0] == plans[1]


def test_a_kept_plan_holds_until_the_first_override_of_the_org_runs_out():
    org = {"d": Override(30, NOW + 5), "x": Override(1, NOW + 9), "y": Override(1, NOW)}
    limits, who = policy("d=9/day per user"), caller(user(), org_limits=org)
    kept = plan(limits, who, FACTS, now=NOW)
    assert kept.until == NOW + 5
    assert kept.at(NOW + 4) == plan(limits, who, FACTS, now=NOW + 4)
    assert kept.at(NOW + 5).spends != plan(limits, who, FACTS, now=NOW + 5).spends
    assert planned("d=9/day per user").until == NEVER


# ------------------------------------------------------------------ making sessions


def test_the_creation_limit_takes_part_only_where_a_session_may_be_made():
    made = policy("9/day per user", creation=parse_limit("60/minute per user"))
    without = plan(made, caller(user()), FACTS, now=NOW)
    having = plan(
        made, caller(user()), Facts(method="POST", mcp_method="initialize", is_mcp=True), now=NOW, creates=True
    )
    assert [spend.limit for spend in without.spends] == ["requests-day-user"]
    assert [(spend.limit, spend.when, spend.cost) for spend in having.spends] == [("create", When.CREATED, 1)]


def test_without_a_user_making_sessions_counts_per_client():
    made = policy("off", creation=parse_limit("60/minute per user"))
    [spend] = plan(made, caller(None, tag="a" * 12), FACTS, now=NOW, creates=True).spends
    assert spend.scope is Scope.CLIENT


def test_the_creation_limit_never_shares_a_counter_with_another_limit():
    same = policy("60/minute per user", creation=parse_limit("60/minute per user"))
    spends = plan(same, caller(user()), FACTS, now=NOW, creates=True).spends
    assert len({spend.key for spend in spends}) == 2
    with pytest.raises(ConfigError, match="limit 'create': this name belongs"):
        policy("create=5/minute per user", creation=parse_limit("60/minute per user"))


# ------------------------------------------------------------------ amounts


def test_a_named_amount_is_taken_from_every_limit_of_its_resource():
    limits = policy(
        "1M tokens/day per user;9 tokens/day per user for POST;shadow 5 tokens/hour per session;9/day per user"
    )
    spends = plan_amounts(limits, caller(user()), FACTS, {"tokens": 532}, now=NOW)
    assert [(spend.limit, spend.cost, spend.binding) for spend in spends] == [
        ("tokens-day-user", 532, True),
        ("shadow-tokens-hour-session", 532, False),
    ]
    assert all(not spend.binding for spend in booked(spends))


def test_api_calls_are_requests_and_an_unlimited_resource_takes_nothing():
    limits = policy("9/day per user; 3 concurrent per user")
    assert [spend.cost for spend in plan_amounts(limits, caller(user()), FACTS, {"api_calls": 2, "x": 9}, now=NOW)] == [
        2
    ]


@pytest.mark.parametrize(
    "amount",
    [
        -1,
        0,
        1.5,
        float("nan"),
        "5",
        True,
        None,
        CAP + 1,
        pytest.param(-(10**5000), id="-huge"),
        pytest.param(10**5000, id="huge"),
    ],
)
def test_b23_an_amount_that_cannot_be_counted_is_refused_as_a_400(amount):
    """B23: amount -1 is a 400, and so is everything else that is no whole number above zero."""
    with pytest.raises(InvalidAmount, match="amount of tokens must be") as refused:
        checked_amounts({"tokens": amount})
    assert refused.value.status_hint == 400
    assert len(str(refused.value)) < 120


def test_two_spellings_of_one_resource_add_up():
    assert checked_amounts({"api_calls": 2, "requests": 3}) == {"requests": 5}
    with pytest.raises(InvalidAmount):
        checked_amounts({"api_calls": CAP, "requests": 1})


def test_a_settlement_adjusts_each_spend_in_the_window_that_was_charged():
    limits = policy("1M tokens/day per user;9 tokens/hour per session; 5 mb total per user")
    spends = plan_amounts(limits, caller(user()), FACTS, {"tokens": 1000, "mb": 2}, now=NOW)
    tallies = [
        Tally(Counter(spends[0].window + 1, 1000, 0), 10**6, fits=True),
        None,
        Tally(Counter(0, 2, 0), 5, fits=True),
    ]
    settled = settlement(limits, spends, tallies, {"tokens": 532})
    assert [(spend.key, spend.cost, spend.window, spend.binding) for spend in settled] == [
        (spends[0].key, -468, spends[0].window + 1, False),
        (spends[2].key, -2, 0, False),
    ]
    assert settlement(limits, spends[:1], tallies[:1], {"tokens": 1000}) == ()
    assert settlement(limits, spends[:1], tallies[:1], {"tokens": 0})[0].cost == -1000


def test_usage_reads_every_limit_of_the_caller_and_takes_nothing():
    limits = policy(
        "9 tokens/day per user for POST; 9/day per user for group x; 5 concurrent per user; "
        "9/day per session; 1/day per tool"
    )
    spends = plan_usage(limits, caller(user()), FACTS, now=NOW)
    assert [(spend.limit, spend.cost, spend.binding) for spend in spends] == [
        ("tokens-day-user-post", 0, False),
        ("requests-day-session", 0, False),
    ]


# ------------------------------------------------------------------ clients


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("[2001:db8::1]", "2001:db8::/64"),
        ("::1", "::/64"),
        ("", UNKNOWN_CLIENT),
        (None, UNKNOWN_CLIENT),
        ("unix:/tmp/x", UNKNOWN_CLIENT),
        ("1" * 5000, UNKNOWN_CLIENT),
        ("010.0.0.1", UNKNOWN_CLIENT),
    ],
)
def test_asgi04_a_client_is_an_address_or_its_64(address, group):
    """ASGI-04: keys are bounded."""
    assert client_group(address) == group


@given(st.text(max_size=80))
def test_asgi04_no_text_makes_a_client_of_its_own(text):
    group = client_group(text)
    assert group == UNKNOWN_CLIENT or client_group(group.removesuffix("/64")) == group


# ------------------------------------------------------------------ limits that match nothing


@pytest.mark.parametrize(
    ("limits", "around", "reason"),
    [
        ("9/day per user for pool x", Surroundings(pools=frozenset({"files"})), "there is no pool x (pools: files)"),
        ("9/day per org", Surroundings(proves_orgs=False), "no credential here names an organisation"),
        ("9/day per user for group a", Surroundings(proves_users=False), "no credential is verified here"),
        ("9/day per user for anonymous", Surroundings(admits_anonymous=False), "an identity is required here"),
        ("9/day per user and tool", Surroundings(speaks_mcp=False), "nothing here speaks MCP"),
        ("9/day per user for mcp tools/call", Surroundings(speaks_mcp=False), "nothing here speaks MCP"),
        ("9/day per user for /a/b except /a/**", Surroundings(), "`except /a/**` leaves nothing"),
        ("9/day per user except /**", Surroundings(), "`except /**` leaves nothing"),
        ("9/day per user for tool a,b except a,b", Surroundings(), "leaves nothing of `tool a,b`"),
        ("9/day per user for /health", Surroundings(exempt_paths=("/health",)), "/health is exempt"),
        ("a=9/day per user;a=5/day per user for group x", Surroundings(), "fits everybody already"),
        ("a=9/day per user for group x;a=5/day per user for group x", Surroundings(), "fits group x already"),
    ],
)
def test_a_limit_that_can_match_nothing_is_named_with_the_reason(limits, around, reason):
    [warning] = limits_that_match_nothing(parse_limits(limits), around)
    assert reason in warning


@pytest.mark.parametrize(
    "limits",
    [
        "9/day per user for pool files,x",
        "9/day per org",
        "9/day per user for /a/** except /a/b",
        "9/day per user for /a/** except /a/*",
        "9/day per user for /a,/b except /a",
        LADDER,
    ],
)
def test_a_limit_that_may_match_is_not_warned_about(limits):
    assert limits_that_match_nothing(parse_limits(limits), Surroundings(pools=frozenset({"files"}))) == []
