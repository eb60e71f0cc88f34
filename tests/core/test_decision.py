"""What a store's answer means to the one who asked."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.core.admission import Admission, Admitted, Outcome
from sessionware.core.amounts import plan_amounts, plan_usage
from sessionware.core.decision import Allowed, Refused, judge
from sessionware.core.identity import Claims, prove
from sessionware.core.ids import Addresses, SessionKey
from sessionware.core.ledger import Counter, LeaseTally, Scope, Spend, Tally, charged, fits, rolled
from sessionware.core.limit_grammar import parse_limits
from sessionware.core.policy import Caller, Plan, admission, compile_policy, plan
from sessionware.core.request import Facts
from sessionware.core.session import EndReason
from sessionware.core.standing import usage_report
from sessionware.core.windows import Sliding, resets_at

NOW = 1_767_225_630_000  # 30 s into a minute, at 00:00:30 UTC
ADDRESSES = Addresses(b"s" * 32)
ALICE = prove(Claims(issuer="i", user_id="alice"), addresses=ADDRESSES)
CALLER = Caller(ALICE, SessionKey(0, b"h" * 20), ALICE.tag)
FACTS = Facts(method="GET", path="/", client="192.0.2.1")


class Ledger:
    """The whole of a store that counts: enough to ask and answer."""

    def __init__(self, limits, caller=CALLER):
        self.policy = compile_policy(parse_limits(limits), addresses=ADDRESSES)
        self.caller = caller
        self.counters = {}
        self.running = 0

    def answer(self, ask):
        tallies = []
        for spend in ask.spends:
            counter = rolled(self.counters.get(spend.key), spend.window)
            tallies.append(Tally(counter, spend.allowance, fits(counter, spend, spend.allowance)))
        leases = tuple(
            LeaseTally(self.running, lease.allowance, self.running < lease.allowance) for lease in ask.leases
        )
        refused = any(spend.binding and not tally.fits for spend, tally in zip(ask.spends, tallies, strict=True))
        if refused or any(lease.binding and not tally.fits for lease, tally in zip(ask.leases, leases, strict=True)):
            return Admitted(Outcome.LIMITED, ask.now, tallies=tuple(tallies), leases=leases)
        for index, (spend, tally) in enumerate(zip(ask.spends, tallies, strict=True)):
            after = self.counters[spend.key] = charged(tally.counter, spend.cost)
            tallies[index] = Tally(after, tally.allowance, tally.fits)
        return Admitted(Outcome.ADMITTED, ask.now, tallies=tuple(tallies), leases=leases)

    def judged(self, planned, now, **how):
        ask = admission(self.caller, planned, now=now, operation=b"op")
        return judge(ask, self.answer(ask), self.policy, **how)

    def request(self, now=NOW, facts=FACTS):
        return self.judged(plan(self.policy, self.caller, facts, now=now), now)

    def spend(self, now=NOW, **amounts):
        return self.judged(Plan(plan_amounts(self.policy, self.caller, FACTS, amounts, now=now)), now, named=True)


def test_b40_the_hundred_and_first_request_is_refused():
    """B40, B23: exactly the allowance passes."""
    ledger = Ledger("100/minute per session")
    assert all(isinstance(ledger.request(), Allowed) for _ in range(100))
    refused = ledger.request()
    assert isinstance(refused, Refused)
    assert (refused.code, refused.status_hint, refused.message) == ("rate_limited", 429, "Rate limit exceeded")
    assert refused.limit is not None
    assert (refused.limit.name, refused.limit.scope) == ("requests-minute-session", "session")
    assert (refused.limit.used, refused.limit.allowance) == (100, 100)
    assert refused.limit.resets_at == resets_at(Sliding(60_000), NOW)


def test_b22_b42_a_refused_quota_says_what_would_have_been_used():
    """B22, B42."""
    ledger = Ledger("100 tokens/hour per user")
    assert isinstance(ledger.spend(tokens=100), Allowed)
    refused = ledger.spend(tokens=1)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.status_hint) == ("quota_exceeded", 429)
    assert refused.message == "Quota exceeded for tokens: 101/100"
    exhausted = ledger.request()  # costs no tokens, but none are left
    assert isinstance(exhausted, Refused)
    assert exhausted.message == "Quota exceeded for tokens: 101/100"


def test_b24_after_the_wait_the_same_request_is_allowed():
    """B24: use all, wait, allowed again; one millisecond earlier it is not."""
    ledger = Ledger("5/2s per session")
    for _ in range(5):
        ledger.request()
    refused = ledger.request()
    assert isinstance(refused, Refused)
    wait = refused.retry_after_ms
    assert wait is not None
    assert isinstance(ledger.request(NOW + wait - 1), Refused)
    assert isinstance(ledger.request(NOW + wait), Allowed)


def test_c25_a_second_with_two_requests_waits_at_most_a_second():
    """C25."""
    ledger = Ledger("2/second per session")
    ledger.request()
    ledger.request()
    refused = ledger.request(NOW + 500)
    assert isinstance(refused, Refused)
    assert refused.retry_after_ms is not None
    assert 0 < refused.retry_after_ms <= 1000
    assert refused.retry_after == 1
    assert refused.should_retry


@given(
    st.sampled_from(
        ["7/second per user", "7/minute per user", "7/calendar-day@Europe/Berlin per user", "7/30s per user"]
    ),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 3)), min_size=1, max_size=40),
)
@settings(max_examples=200, deadline=None)
def test_every_refusal_says_the_exact_wait(limits, steps):
    ledger, now = Ledger(limits), NOW
    for step, amount in steps:
        now += step
        refused = ledger.spend(now, requests=amount)
        if isinstance(refused, Refused):
            before = dict(ledger.counters)
            assert refused.retry_after_ms is not None
            assert refused.retry_after_ms > 0
            assert isinstance(ledger.spend(now + refused.retry_after_ms - 1, requests=amount), Refused)
            assert isinstance(ledger.spend(now + refused.retry_after_ms, requests=amount), Allowed)
            ledger.counters = before


def test_the_limit_with_the_longest_wait_is_the_one_that_is_told():
    ledger = Ledger("1/second per user; 1/hour per user; 1/minute per user")
    ledger.request()
    refused = ledger.request()
    assert isinstance(refused, Refused)
    assert refused.limit is not None
    assert refused.limit.name == "requests-hour-user"


def test_an_exhausted_quota_of_more_than_two_minutes_is_not_worth_a_retry():
    day, minute = Ledger("1/day per user"), Ledger("1/minute per user")
    day.request()
    minute.request()
    exhausted, soon = day.request(), minute.request()
    assert isinstance(exhausted, Refused)
    assert isinstance(soon, Refused)
    assert (exhausted.should_retry, soon.should_retry) == (False, True)


@pytest.mark.parametrize(
    ("limits", "wait"),
    [
        ("0/minute per user", 60_000),
        ("0 tokens/day per user", 86_400_000),
        ("0/calendar-day per user", 86_400_000),
        ("0 mb total per user costing 1", 3_600_000),
        ("0 concurrent per user", 1000),
    ],
)
def test_b25_allowance_zero_refuses_everything_for_its_period(limits, wait):
    """B25: limit 0 refuses everything; store.md 8."""
    refused = Ledger(limits).request()
    assert isinstance(refused, Refused)
    assert (refused.status_hint, refused.retry_after_ms, refused.should_retry) == (429, wait, False)


def test_a_full_level_asks_for_an_hour():
    ledger = Ledger("5 mb total per user")
    assert isinstance(ledger.spend(mb=5), Allowed)
    refused = ledger.spend(mb=1)
    assert isinstance(refused, Refused)
    assert refused.limit is not None
    assert (refused.retry_after, refused.should_retry, refused.limit.resets_at) == (3600, False, None)


def test_a_full_concurrency_limit_asks_for_a_second():
    ledger = Ledger("2 concurrent per session")
    ledger.running = 2
    refused = ledger.request()
    assert isinstance(refused, Refused)
    assert refused.limit is not None
    assert (refused.retry_after, refused.should_retry, refused.message) == (1, True, "Rate limit exceeded")
    assert (refused.limit.used, refused.limit.allowance, refused.limit.remaining) == (2, 2, 0)


def test_an_amount_above_the_allowance_is_the_callers_mistake():
    """store.md 8: 400, but only for a cost that the caller named, and never for allowance 0."""
    refused = Ledger("100 tokens/day per user").spend(tokens=101)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.status_hint) == ("invalid_amount", 400)
    assert "at most 100, got 101" in refused.message
    nothing = Ledger("0 tokens/day per user").spend(tokens=101)
    assert isinstance(nothing, Refused)
    assert nothing.status_hint == 429
    override = Ledger(
        "9/day per user costing 9",
        Caller(prove(Claims(issuer="i", user_id="a", limits={"requests-day-user": 5}), addresses=ADDRESSES)),
    )
    unnamed = override.request()
    assert isinstance(unnamed, Refused)
    assert (unnamed.status_hint, unnamed.retry_after_ms) == (429, 86_400_000)


def test_a_limit_in_shadow_never_refuses_and_is_reported():
    ledger = Ledger("shadow 1/minute per user; 9/minute per session")
    first, second = ledger.request(), ledger.request()
    assert isinstance(first, Allowed)
    assert isinstance(second, Allowed)
    assert first.shadows == ()
    assert [standing.name for standing in second.shadows] == ["shadow-requests-minute-user"]


# ------------------------------------------------------------------ headers


def test_standings_say_what_headers_need():
    decision = Ledger("burst=100/minute per session; 9 mb total per user costing 2; 5 concurrent per session").request()
    assert isinstance(decision, Allowed)
    assert [
        (each.name, each.allowance, each.remaining, each.period_seconds, each.effective_seconds)
        for each in decision.standings
    ] == [
        ("burst", 100, 99, 60, 30),
        ("mb-total-user", 9, 7, None, None),
        ("requests-concurrent-session", 5, 5, None, None),
    ]


def test_without_room_the_effective_window_is_the_wait():
    ledger = Ledger("1/minute per session")
    decision = ledger.request()
    assert isinstance(decision, Allowed)
    assert decision.standings[0].effective_seconds == 31
    assert ledger.request().standings[0].retry_after_ms == 30_001


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 1000))
def test_asgi08_remaining_is_never_negative(used, before, allowance):
    """ASGI-08: work that was charged after the fact may pass the allowance."""
    ledger = Ledger(f"{allowance}/minute per user")
    [spend] = plan(ledger.policy, CALLER, FACTS, now=NOW).spends
    ledger.counters[spend.key] = Counter(spend.window, used, before)
    [standing] = ledger.request().standings
    assert standing.remaining >= 0
    assert standing.effective_seconds is not None
    assert standing.effective_seconds >= 0


@given(
    st.integers(0, 20), st.tuples(st.integers(-1, 1), st.integers(0, 30), st.integers(0, 30)),
    st.integers(NOW, NOW + 40 * 86_400_000), st.sampled_from((0, 1, 45_000)),
)  # fmt: skip
def test_a_glance_tells_what_its_standing_tells(allowance, stored, now, late):
    """Exhausted or not, by the minute, by the calendar or never, and when the store's clock is another."""
    over = ("minute", "hour", "calendar-day@Europe/Berlin", "calendar-month")
    limits = [f"{allowance}/{window} per user" for window in over]
    ledger = Ledger(
        "; ".join([*limits, f"{allowance} requests total per user", "shadow 1/day per user", "2 concurrent per user"])
    )
    ask = admission(CALLER, plan(ledger.policy, CALLER, FACTS, now=now), now=now, operation=b"op")
    ahead, used, before = stored
    for spend in ask.spends:
        ledger.counters[spend.key] = Counter(spend.window + ahead, used, before)
    decision = judge(ask, ledger.answer(ask.at(now + late)), ledger.policy)
    assert len(decision.glances) == 5
    assert decision.glances == tuple(
        (each.name, each.allowance, each.remaining, each.effective_seconds, each.period_seconds)
        for each in decision.standings
        if each.binding and each.window is not None
    )


def test_what_took_no_part_is_glanced_over():
    policy = Ledger("9/day per user").policy
    ask = admission(CALLER, plan(policy, CALLER, FACTS, now=NOW), now=NOW, operation=b"op")
    for tallies in ((None,), ()):
        decision = judge(ask, Admitted(Outcome.ADMITTED, NOW, tallies=tallies), policy)
        assert (decision.glances, decision.standings) == ((), ())


def test_where_the_client_stood_in_the_scope_says_so():
    decision = Ledger("9/minute per session", Caller()).request()
    assert [standing.scope for standing in decision.standings] == ["client"]


def test_the_stores_own_instant_decides():
    ledger = Ledger("5/minute per user")
    ask = admission(CALLER, plan(ledger.policy, CALLER, FACTS, now=NOW), now=NOW, operation=b"op")
    [standing] = judge(ask, ledger.answer(ask.at(NOW + 60_000)), ledger.policy).standings
    assert (standing.now, standing.used, standing.remaining) == (NOW + 60_000, 1, 4)


def test_the_same_asked_again_has_an_operation_of_its_own():
    policy = Ledger("5/minute per user; 2 concurrent per user").policy
    first, second = (
        admission(CALLER, plan(policy, CALLER, FACTS, now=now), now=now, operation=operation)
        for now, operation in ((NOW, b"one"), (NOW + 90_000, b"two"))
    )
    assert first.at(NOW + 90_000, operation=b"two") == second
    assert first.at(NOW + 90_000).operation == b"one"


# ------------------------------------------------------------------ other outcomes


@pytest.mark.parametrize(
    ("outcome", "full", "status", "code", "message"),
    [
        (Outcome.UNKNOWN, "", 401, "session_invalid", "Invalid session"),
        (Outcome.FOREIGN, "", 403, "permission_denied", "Permission denied"),
        (Outcome.REVOKED, "", 401, "invalid_token", "Permission denied"),
        (Outcome.FULL, "owner", 429, "too_many_sessions", "Too many sessions"),
        (Outcome.FULL, "client", 429, "too_many_sessions", "Too many sessions from this client"),
        (Outcome.FULL, "all", 503, "sessions_full", "maximum concurrent sessions reached"),
    ],
)
def test_other_refusals_have_a_stable_code_and_a_status(outcome, full, status, code, message):
    """D9: the text of the global cap."""
    refused = judge(Admission(NOW, 0, b""), Admitted(outcome, NOW, full=full), Ledger("off").policy)
    assert isinstance(refused, Refused)
    assert (refused.status_hint, refused.code, refused.message) == (status, code, message)
    assert (refused.limit, refused.retry_after_ms, refused.should_retry) == (None, None, True)


def test_the_reason_of_an_end_is_handed_on():
    answer = Admitted(Outcome.UNKNOWN, NOW, reason=EndReason.EVICTED)
    refused = judge(Admission(NOW, 0, b""), answer, Ledger("off").policy)
    assert isinstance(refused, Refused)
    assert refused.reason is EndReason.EVICTED


def test_a_store_that_refuses_without_saying_by_what_is_obeyed():
    refused = judge(Admission(NOW, 0, b""), Admitted(Outcome.LIMITED, NOW), Ledger("off").policy)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.retry_after) == ("rate_limited", 1)


def test_a_spend_of_no_configured_limit_speaks_for_itself():
    ticket = Spend("ticket", b"nonce", Scope.USER, Sliding(30_000), 1, 1, NOW // 30_000, 0, NOW + 90_000)
    ledger = Ledger("off")
    first, second = (ledger.judged(Plan((ticket,)), NOW) for _ in range(2))
    assert isinstance(first, Allowed)
    assert isinstance(second, Refused)
    assert (second.message, second.standings[0].scope) == ("Rate limit exceeded", "user")


# ------------------------------------------------------------------ usage


def report(ledger):
    spends = plan_usage(ledger.policy, ledger.caller, FACTS, now=NOW)
    ask = admission(ledger.caller, Plan(spends), now=NOW, operation=b"op")
    return usage_report(ask, ledger.answer(ask), ledger.policy)


def test_b25_the_usage_report_says_all_of_a_limit():
    """B25: 25 of 100 is 25.0 percent."""
    ledger = Ledger("100 tokens/hour per user")
    ledger.spend(tokens=25)
    assert report(ledger) == [
        {
            "name": "tokens-hour-user", "resource": "tokens", "scope": "user", "window": "hour", "used": 25,
            "limit": 100, "remaining": 75, "percentage": 25.0, "period_seconds": 3600,
            "resets_at": resets_at(Sliding(3_600_000), NOW), "shadow": False,
        }
    ]  # fmt: skip


def test_b25_a_limit_of_zero_is_zero_percent_used():
    """B25."""
    [zero] = report(Ledger("shadow 0 tokens/calendar-day@Europe/Berlin per user"))
    assert (zero["percentage"], zero["remaining"], zero["window"], zero["shadow"]) == (
        0.0, 0, "calendar-day@Europe/Berlin", True,
    )  # fmt: skip


def test_reading_usage_uses_nothing():
    ledger = Ledger("100 tokens/hour per user")
    ledger.spend(tokens=25)
    assert report(ledger) == report(ledger)
