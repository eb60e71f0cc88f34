"""The grammar of limits: every example of the interface, and a refusal that points and teaches for everything else."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.core.ledger import CAP, Scope
from sessionware.core.limit_grammar import parse_limit, parse_limits
from sessionware.core.limits import (
    Anonymous,
    Concurrent,
    GrantedScope,
    Group,
    Limit,
    What,
    derived_name,
    describe,
    span_in_words,
)
from sessionware.core.windows import Calendar, Sliding, Total
from sessionware.errors import ConfigError

DAY = 86_400_000


def refused(text, **source):
    with pytest.raises(ConfigError) as caught:
        parse_limits(text, **source)
    return str(caught.value)


def limit(text, **fields):
    return Limit(**{"is_named": False, "resource": "requests", "over": (Scope.SESSION,), "text": text} | fields)


EXAMPLES = [
    limit("100/minute per session", name="requests-minute-session", allowance=100, span=Sliding(60_000)),
    limit(
        "burst=20/second per client for POST /login",
        name="burst",
        is_named=True,
        allowance=20,
        span=Sliding(1000),
        over=(Scope.CLIENT,),
        what=What(methods=("POST",), paths=("/login",)),
    ),
    limit(
        "1_000_000 tokens/calendar-day@Europe/Berlin per user",
        name="tokens-calendar-day-europe-berlin-user",
        allowance=1_000_000,
        resource="tokens",
        span=Calendar("day", "Europe/Berlin"),
        over=(Scope.USER,),
    ),
    limit(
        "30/minute per user and tool",
        name="requests-minute-user-tool",
        allowance=30,
        span=Sliding(60_000),
        over=(Scope.USER,),
        per_tool=True,
    ),
    limit(
        "500 storage_mb total per user",
        name="storage_mb-total-user",
        allowance=500,
        resource="storage_mb",
        span=Total(),
        over=(Scope.USER,),
    ),
    limit("5 concurrent per session", name="requests-concurrent-session", allowance=5, span=Concurrent()),
    limit(
        "100/hour per user for tool image_* costing 5",
        name="requests-hour-user-tool-image",
        allowance=100,
        span=Sliding(3_600_000),
        over=(Scope.USER,),
        what=What(tools=("image_*",)),
        cost=5,
    ),
    limit(
        "shadow 10/second per user",
        name="shadow-requests-second-user",
        allowance=10,
        span=Sliding(1000),
        over=(Scope.USER,),
        shadow=True,
    ),
    limit(
        "600/minute per session except /static/**",
        name="requests-minute-session",
        allowance=600,
        span=Sliding(60_000),
        excepted_paths=("/static/**",),
    ),
    limit(
        "daily=5M tokens/day per user for group pro",
        name="daily",
        is_named=True,
        allowance=5_000_000,
        resource="tokens",
        span=Sliding(DAY),
        over=(Scope.USER,),
        whom=Group("pro"),
    ),
    limit(
        "daily=200k tokens/day per user",
        name="daily",
        is_named=True,
        allowance=200_000,
        resource="tokens",
        span=Sliding(DAY),
        over=(Scope.USER,),
    ),
    limit("60/minute per user", name="requests-minute-user", allowance=60, span=Sliding(60_000), over=(Scope.USER,)),
    limit(
        "100 api_calls/hour per org",
        name="requests-hour-org",
        allowance=100,
        span=Sliding(3_600_000),
        over=(Scope.ORG,),
    ),
    limit("7/30s per global", name="requests-30s-global", allowance=7, span=Sliding(30_000), over=(Scope.GLOBAL,)),
    limit(
        "7/12h per tool",
        name="requests-12h-tool",
        allowance=7,
        span=Sliding(12 * 3_600_000),
        over=(Scope.GLOBAL,),
        per_tool=True,
    ),
    limit(
        "0/month per client for anonymous",
        name="requests-month-client",
        allowance=0,
        span=Sliding(30 * DAY),
        over=(Scope.CLIENT,),
        whom=Anonymous(),
    ),
    limit(
        "9/week per user and client",
        name="requests-week-user-client",
        allowance=9,
        span=Sliding(7 * DAY),
        over=(Scope.USER, Scope.CLIENT),
    ),
    limit(
        "9/calendar-month per client and session",
        name="requests-calendar-month-session-client",
        allowance=9,
        span=Calendar("month", "UTC"),
        over=(Scope.SESSION, Scope.CLIENT),
    ),
    limit(
        "2k compute_seconds/7d per org for scope tools:use for mcp tools/call for pool files,web",
        name="compute_seconds-week-org-mcp-tools-call-for-pool-files-web",
        allowance=2000,
        resource="compute_seconds",
        span=Sliding(7 * DAY),
        over=(Scope.ORG,),
        whom=GrantedScope("tools:use"),
        what=What(mcp=("tools/call",), pools=("files", "web")),
    ),
    limit(
        "1/day per user for GET, PUT /a/*,/b/** except tool read_*, x costing 1",
        name="requests-day-user-get-put-a-b",
        allowance=1,
        span=Sliding(DAY),
        over=(Scope.USER,),
        what=What(methods=("GET", "PUT"), paths=("/a/*", "/b/**")),
        excepted_tools=("read_*", "x"),
        cost=1,
    ),
]


@pytest.mark.parametrize("expected", EXAMPLES, ids=lambda example: example.text)
def test_an_example_is_read_as_it_is_meant(expected):
    assert parse_limit(expected.text) == expected


@pytest.mark.parametrize(
    ("text", "column", "teaches"),
    [
        ("", 1, "write for example `100/minute per session`"),
        ("100", 4, "a window is missing"),
        ("100/minute", 11, "a limit ends in `per session|user|…`: did you mean `100/minute per client`?"),
        ("100 per minute", 5, "did you mean `100/minute per session`?"),
        ("100 per minute per user", 5, "did you mean `100/minute per user`?"),
        ("100 per minute per user and tool", 5, "did you mean `100/minute per user and tool`?"),
        ("100/minute Per User", 12, "did you mean `100/minute per user`?"),
        ("5 concurrent requests per user", 14, "did you mean `5 concurrent per user`?"),
        ("100/2hours per user", 5, "`2hours` is no window: did you mean `/2h`?"),
        ("100/2 hours per user", 5, "did you mean `/2h`?"),
        ("100/2weeks per user", 5, "did you mean `/14d`?"),
        ("100/2moons per user", 5, "`2moons` is no window"),
        ("9/minute per session, 5/second per user", 21, "limits are separated by `;` (or given as a list)"),
        ("9/minute per session,burst=5/second per user", 21, "limits are separated by `;` (or given as a list)"),
        ("9/minute per session,user", 21, "two scopes are joined by `and`"),
        ("9/minute per user for /chat and /x", 29, "several paths are one list: did you mean `for /chat,/x`?"),
        ("9/minute per user except /a and /b", 29, "did you mean `except /a,/b`?"),
        ("9/minute per user for POST and PUT", 28, "did you mean `for POST,PUT`?"),
        ("9/minute per user for /a and for GET", 26, "clauses follow one another: leave `and` out"),
        ("9/minute per user for group a and b", 31, "write a ladder"),
        ("9/minute per user for /a and org", 26, "at most two scopes"),
        ("100/min per user", 5, "`min` is no window: did you mean `minute`?"),
        ("100/minutes per user", 5, "did you mean `minute`?"),
        ("100/fortnight per user", 5, "`fortnight` is no window"),
        ("100/ ", 5, "a window follows the `/`"),
        ("100/minute per ip", 16, "`ip` is no scope: did you mean `client`?"),
        ("100/minute per usr", 16, "did you mean `user`?"),
        ("100/minute per", 15, "a scope is missing"),
        ("100/minute per minute", 16, "`minute` is a window, not a scope"),
        ("x/minute per user", 1, "a limit begins with an amount, got `x`"),
        ("shadow", 1, "a limit begins with an amount, got `shadow`"),
        ("1.5/minute per user", 1, "`1.5` is no whole number"),
        ("1__0/minute per user", 1, "`1__0` is no whole number"),
        ("100K/day per user", 1, "did you mean `100k`?"),
        ("2m/day per user", 1, "did you mean `2M`?"),
        ("100requests/minute per user", 1, "did you mean `100 requests`?"),
        ("10 Tokens/day per user", 4, "a resource is a-z and `_`, got `Tokens`"),
        ("100 minute per session", 5, "did you mean `/minute`?"),
        ("100 user/day per user", 5, "`user` is a word of the grammar and cannot be a resource"),
        ("100 tokens per user", 12, "a window is missing"),
        ("5 tokens concurrent per user", 3, "`concurrent` counts running requests, not tokens"),
        ("5 concurrent per session costing 2", 34, "`costing` does not go with `concurrent`"),
        ("100/calendar-day@Europe/Berln per user", 18, "did you mean `Europe/Berlin`"),
        ("100/calendar-day@Berlin per user", 18, "did you mean `Europe/Berlin`?"),
        ("100/calendar-day@ per user", 18, "is no time zone"),
        ("100/calendar-day@../../etc/passwd per user", 18, "is no time zone"),
        ("100/calendar-day@Europe per user", 18, "is no time zone"),
        ("100/calendar-day@right/UTC per user", 18, "is no time zone"),
        ("100/day@UTC per user", 5, "did you mean `/calendar-day@UTC`?"),
        ("100/0s per user", 5, "a window must be 1s..366d, got `0s`"),
        ("100/367d per user", 5, "a window must be 1s..366d, got `367d`"),
        ("100/minute per user and global", 16, "did you mean `per user`?"),
        ("100/minute per user and user", 25, "is the same as `per user`"),
        ("100/minute per user and org and tool", 29, "at most two scopes"),
        ("100/minute per user for", 24, "something follows `for`"),
        ("100/minute per user for post", 25, "did you mean `POST`?"),
        ("100/minute per user for POST,get", 30, "did you mean `GET`?"),
        ("100/minute per user for role admin", 25, "did you mean `group`?"),
        ("100/minute per user for group", 30, "the name of a group is missing"),
        ("100/minute per user for group a,b", 31, "`for group a` and `for group b`"),
        ("100/minute per user for group a for anonymous", 37, "write a ladder"),
        ("100/minute per user for tool", 29, "a name or glob is missing"),
        ("100/minute per user for tool a for tool b", 36, "names tools twice"),
        ("100/minute per user for tool a[b]", 31, "'[' means nothing here"),
        ("100/minute per user for pool Files", 30, "a pool name is a-z, 0-9 and `-`, got `Files`"),
        ("100/minute per user for /a/{id}", 28, "'{' means nothing here"),
        ("100/minute per user for /a**b", 27, "`**` stands for whole segments"),
        ("100/minute per user except static/**", 28, "`except /static/**`"),
        ("100/minute per user except /a except /b", 31, "can stand only once"),
        ("100/minute per user costing 0", 29, "a whole number 1..9_000_000_000, got `0`"),
        ("100/minute per user costing x", 29, "a whole number 1..9_000_000_000, got `x`"),
        ("100/minute per user costing 200", 29, "a cost of 200 never fits into 100"),
        ("100/minute per user excpt /a", 21, "did you mean `except`?"),
        ("1day=3/day per user", 1, "a name is a letter and up to 63"),
        ("=3/day per user", 1, "a name is a letter"),
        ("per=3/day per user", 1, "`per` is a word of the grammar"),
    ],
)  # fmt: skip
def test_a_bad_limit_points_at_its_column_and_teaches(text, column, teaches):
    with pytest.raises(ConfigError) as caught:
        parse_limit(text)
    headline, shown, caret = str(caught.value).split("\n")
    assert f"(SESSIONWARE_LIMITS, column {column})" in headline
    assert teaches in headline
    assert shown == "  " + text
    assert caret.index("^") == column + 1


@pytest.mark.parametrize("got", ["9_000_000_001", "-1", "9001M", "9" * 1900])
def test_an_allowance_out_of_bounds_says_the_bounds(got):
    assert refused(f"daily={got} tokens/day per user").startswith(
        f"limit 'daily': allowance must be 0..9_000_000_000, got {got[:100]}"
    )


def test_the_bounds_themselves_are_allowances():
    assert parse_limit(f"{CAP}/day per user").allowance == parse_limit("9_000M/day per user").allowance == CAP
    assert parse_limit("0/day per user").allowance == 0


def test_the_exact_style_of_a_refusal():
    assert refused("daily=-1 tokens/day per user") == (
        "limit 'daily': allowance must be 0..9_000_000_000, got -1 (SESSIONWARE_LIMITS, column 7)\n"
        "  daily=-1 tokens/day per user\n"
        "        ^"
    )


def test_a_column_counts_from_the_start_of_the_setting():
    assert "(SESSIONWARE_LIMITS, column 26)" in refused("100/minute per session;  x/day per user")
    assert "(SESSIONWARE_LIMITS, line 3, column 4)" in refused("100/minute per session\n\n   x/day per user")
    assert "(limits, item 2, column 1)" in refused(["100/minute per session", "x/day per user"], source="limits")


@pytest.mark.parametrize("none", ["off", " off ", "", " ; \n ;", [], ["off"]])
def test_off_and_nothing_are_no_limits(none):
    assert parse_limits(none) == ()


def test_limits_are_separated_by_semicolons_newlines_or_items():
    texts = ["100/minute per session", "5 concurrent per user"]
    expected = tuple(map(parse_limit, texts))
    assert parse_limits(";".join(texts)) == parse_limits("\n".join(texts)) == parse_limits(texts) == expected


def test_two_equal_derived_names_ask_for_a_name():
    told = refused("100/minute per user; 200/minute per user for group pro")
    assert "two limits are called 'requests-minute-user': give one a name=" in told
    assert "column 22" in told


def test_a_chosen_name_may_not_be_another_limits_derived_name():
    assert "give one a name=" in refused("100/minute per user;requests-minute-user=5/minute per user")


def test_one_chosen_name_is_a_ladder():
    rungs = parse_limits("daily=5M tokens/day per user for group pro; daily=200k tokens/day per user")
    assert [(rung.name, rung.allowance) for rung in rungs] == [("daily", 5_000_000), ("daily", 200_000)]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ("a=1/day per user", "resource"),
        ("a=1 tokens/hour per user", "window"),
        ("a=1 tokens/day per user and tool", "scope"),
        ("a=1 tokens/day per user for POST", "WHAT"),
    ],
)
def test_the_rungs_of_a_ladder_share_what_they_count(other, what):
    assert f"differ in {what}" in refused(f"a=1 tokens/day per user for group x;{other}")


def test_more_than_a_hundred_limits_are_refused():
    assert "at most 100 limits" in refused([f"n{number}=1/day per user" for number in range(101)])


def test_a_limit_of_absurd_length_is_refused():
    assert "at most 2000 characters" in refused("1/day per user for tool " + "a" * 2000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("100/day per user", "requests-day-user: 100 requests per user; sliding 24 h"),
        (
            "1M tokens/calendar-day@Europe/Berlin per user",
            "tokens-calendar-day-europe-berlin-user: 1_000_000 tokens per user; resets 00:00 Europe/Berlin",
        ),
        ("9/calendar-month per org", "requests-calendar-month-org: 9 requests per org; resets on the 1st, 00:00 UTC"),
        ("5 concurrent per session", "requests-concurrent-session: 5 running requests per session; at the same time"),
        (
            "shadow x=5/minute per user and tool for group pro for POST /a except /b costing 2",
            (
                "x: 5 requests per user and tool, callers with group pro only, for POST /a except /b, each costing 2; "
                "sliding 60 s; shadow: reported, never refuses"
            ),
        ),
        (
            "5 mb total per user for anonymous",
            "mb-total-user: 5 mb per user, callers without a user only; a level: falls only when something is released",
        ),
    ],
)
def test_a_limit_reads_in_words(text, words):
    assert describe(parse_limit(text)) == words


@pytest.mark.parametrize(
    ("period", "words"), [(1_000, "1 s"), (60_000, "60 s"), (90_000, "90 s"), (3_600_000, "60 min"), (7 * DAY, "7 d")]
)
def test_a_sliding_span_reads_in_its_natural_unit(period, words):
    assert span_in_words(Sliding(period)) == f"sliding {words}"


def test_a_derived_name_is_fit_for_a_header():
    named = derived_name(parse_limit("100/minute per user for tool " + "ä_" * 200))
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", named)


WORDS = st.sampled_from(
    ["shadow", "a=", "100", "2M", "-1", "tokens", "/", "/minute", "minute", "/30s", "/calendar-day@Europe/Berlin",
     "/calendar-day@x", "total", "concurrent", "per", "and", "session", "user", "org", "client", "tool", "global",
     "for", "group", "scope", "anonymous", "pro", "POST", "POST,GET", "/a/**", "/a/*", "mcp", "tools/call", "pool",
     "except",
     "costing", "5", "a_*,b_*", ",", "=", ";", "\n", "\t", "\u2028", "`", "'", "\0", "\ud800", "@"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=14).map(" ".join) | st.text(max_size=60))
@settings(max_examples=1500, deadline=None)
def test_no_text_ever_raises_anything_but_a_positioned_configuration_error(text):
    try:
        limits = parse_limits(text)
    except ConfigError as error:
        headline, _, caret = str(error).split("\n")
        assert re.search(r"\(SESSIONWARE_LIMITS(, line \d+)?, column \d+\)$", headline)
        assert caret.strip() == "^"
        return
    assert all(describe(limit) and 0 <= limit.allowance <= CAP for limit in limits)


@given(st.sampled_from(EXAMPLES), st.data())
@settings(max_examples=500, deadline=None)
def test_an_example_with_one_character_changed_is_read_or_taught(example, data):
    at = data.draw(st.integers(0, len(example.text)))
    text = example.text[:at] + data.draw(st.characters()) + example.text[at + data.draw(st.integers(0, 1)) :]
    try:
        parse_limits(text)
    except ConfigError:
        return


@given(st.sampled_from(EXAMPLES))
def test_reading_again_what_was_read_changes_nothing(example):
    assert parse_limit(f"  {parse_limit(example.text).text}  ") == example
