"""RateLimit headers: what a client may read of its limits."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionware.asgi.limit_headers import limit_headers
from sessionware.core.admission import Admission, Admitted, Outcome
from sessionware.core.ids import Addresses
from sessionware.core.ledger import Counter, Tally
from sessionware.core.limit_grammar import parse_limits
from sessionware.core.policy import Caller, admission, compile_policy, plan
from sessionware.core.request import Facts
from sessionware.core.standing import glances

ADDRESSES = Addresses(bytes(range(32)))
NOW = 1_800_000_000_000


def shown(text: str, used: int):
    """One limit of which so much is used in this window."""
    policy = compile_policy(parse_limits(text), addresses=ADDRESSES)
    planned = plan(policy, Caller(), Facts(method="GET", path="/", client="203.0.113.7"), now=NOW)
    ask: Admission = admission(Caller(), planned, now=NOW, operation=b"o" * 16)
    tallies = tuple(
        Tally(Counter(spend.window, used, 0), spend.allowance, used + 1 <= spend.allowance) for spend in ask.spends
    )
    answer = Admitted(Outcome.ADMITTED, NOW, tallies=tallies)
    return glances(ask, answer)


def as_dict(headers):
    return {name.decode(): value.decode() for name, value in headers}


def test_the_draft_names_the_quota_its_window_and_what_is_left():
    headers = as_dict(limit_headers(shown("burst=100/minute per client", 50), style="draft"))
    assert headers["ratelimit-policy"] == '"burst";q=100;w=60'
    assert re.fullmatch(r'"burst";r=50;t=\d+', headers["ratelimit"])


def test_several_limits_share_the_two_headers():
    found = shown("a=10/minute per client; b=5/hour per client", 1)
    headers = as_dict(limit_headers(found, style="draft"))
    assert headers["ratelimit-policy"] == '"a";q=10;w=60, "b";q=5;w=3600'
    assert headers["ratelimit"].startswith('"a";r=9;t=')
    assert ', "b";r=4;t=' in headers["ratelimit"]


def test_dual_adds_the_allowance_and_the_window_to_the_state():
    headers = as_dict(limit_headers(shown("burst=100/minute per client", 100), style="dual"))
    assert headers["ratelimit"].endswith(";a=100;w=60")
    assert headers["ratelimit"].startswith('"burst";r=0;t=')


def test_legacy_tells_of_the_limit_that_is_nearest():
    found = shown("a=10/minute per client; b=5/hour per client", 4)
    headers = as_dict(limit_headers(found, style="legacy"))
    assert headers["x-ratelimit-limit"] == "5"
    assert headers["x-ratelimit-remaining"] == "1"
    assert int(headers["x-ratelimit-reset"]) >= 1


def test_off_says_nothing():
    assert limit_headers(shown("a=10/minute per client", 4), style="off") == []


@pytest.mark.parametrize("text", ["shadow a=10/minute per client", "a=5 concurrent per client"])
def test_limits_in_shadow_and_without_a_window_are_not_told(text):
    assert limit_headers(shown(text, 4), style="draft") == []


def test_a_level_has_no_window_to_tell():
    headers = as_dict(limit_headers(shown("a=10 storage_mb total per client costing 1", 4), style="draft"))
    assert headers["ratelimit-policy"] == '"a";q=10'
    assert headers["ratelimit"] == '"a";r=6'


@given(st.integers(0, 10**9))
def test_what_is_left_is_never_negative(used):
    """ASGI-08."""
    for style in ("draft", "dual", "legacy"):
        for value in as_dict(limit_headers(shown("a=10/minute per client", used), style=style)).values():
            assert "-" not in value
