"""What a client sees of an upstream's answer: what it says, and not where or who it is."""

import pytest

from sessionware.proxy.addresses import parse_address
from sessionware.proxy.answer_headers import (
    BLOCK_MAX,
    BadAnswer,
    Guise,
    is_event_stream,
    to_client,
    upstream_session_id,
)

UPSTREAM = parse_address("http://10.0.0.7:9001/mcp")
GUISE = Guise(upstream=UPSTREAM)


def test_an_ordinary_answer_arrives_as_it_was():
    headers = [
        (b"content-length", b"5"), (b"content-type", b"application/json"), (b"x-custom", b"1"), (b"x-custom", b"2"),
        (b"content-encoding", b"gzip"), (b"retry-after", b"3"), (b"x-sessionware-spend", b"tokens=5"),
    ]  # fmt: skip
    assert to_client(headers, GUISE) == headers


@pytest.mark.parametrize(
    "name",
    [
        b"server", b"date", b"via", b"x-powered-by", b"set-cookie", b"set_cookie", b"alt-svc", b"connection",
        b"keep-alive", b"transfer-encoding", b"trailer", b"upgrade", b"proxy-authenticate", b"mcp-session-id",
        b"x-session-id", b"x-session-token", b"x-sessionware-user", b"x_sessionware_spend", b"x-forwarded-for",
        b"access-control-allow-origin", b"x-envoy-upstream-service-time", b"content-location", b"Server",
    ],
)  # fmt: skip
def test_what_only_we_may_say_and_what_tells_of_the_upstream_stays_here(name):
    assert to_client([(name, b"x")], GUISE) == []


def test_the_session_gets_our_id_in_its_place():
    guise = Guise(upstream=UPSTREAM, session_id=b"ours")
    headers = [(b"content-type", b"application/json"), (b"Mcp-Session-Id", b"theirs")]
    assert to_client(headers, guise) == [(b"content-type", b"application/json"), (b"mcp-session-id", b"ours")]


def test_an_event_stream_is_never_gathered_on_its_way():
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
    assert to_client(headers, GUISE) == [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
    ]
    assert [is_event_stream([(b"content-type", value)]) for value in (b"Text/Event-Stream", b"text/event-streams")] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x", b"a\r\nSet-Cookie: b")],
        [(b"x", b"a\nb")],
        [(b"x", b"\x00")],
        [(b"a b", b"c")],
        [(b"content-length", b"1"), (b"content-length", b"2")],
        [(b"content-length", b"1, 1")],
        [(b"content-length", b"-1")],
        [(b"content-type", b"a"), (b"content-type", b"b")],
        [(b"location", b"/a"), (b"location", b"/b")],
        [(b"x", b"a" * BLOCK_MAX)],
        [(b"x" * 257, b"a")],
    ],
)
def test_an_answer_that_could_be_split_is_not_passed_on(headers):
    assert isinstance(to_client(headers, GUISE), BadAnswer)


def test_a_length_said_twice_alike_is_said_once_and_yields_to_chunks():
    twice = [(b"content-length", b"5"), (b"content-length", b"5")]
    assert to_client(twice, GUISE) == [(b"content-length", b"5")]
    assert to_client([*twice, (b"transfer-encoding", b"chunked")], GUISE) == []


def test_an_upstream_cannot_nominate_what_matters():
    headers = [(b"connection", b"content-type, x-sessionware-spend, x-debug"), (b"content-type", b"a/b")]
    spend = (b"x-sessionware-spend", b"tokens=1")
    assert to_client([*headers, spend, (b"x-debug", b"1")], GUISE) == [(b"content-type", b"a/b"), spend]


@pytest.mark.parametrize(
    ("base", "prefix", "value", "told"),
    [
        ("http://10.0.0.7:9001", "/app", b"/login?next=/x", b"/app/login?next=/x"),
        ("http://10.0.0.7:9001", "/app", b"http://10.0.0.7:9001/login#a", b"/app/login#a"),
        ("http://10.0.0.7:9001/base", "/app", b"/base/login", b"/app/login"),
        ("http://10.0.0.7:9001/base", "/app", b"http://10.0.0.7:9001/base", b"/app/"),
        ("http://10.0.0.7:9001/mcp", "", b"/mcp/", b"/mcp/"),
        ("http://10.0.0.7:9001", "/app", b"http://10.0.0.7:9002/login", None),
        ("http://10.0.0.7:9001", "/app", b"https://10.0.0.7:9001/login", None),
        ("http://10.0.0.7:9001", "/app", b"//evil.example/", None),
        ("http://10.0.0.7:9001", "/app", b"http://10.0.0.7:9001@evil.example/", None),
        ("http://10.0.0.7:9001", "/app", b"/\\evil.example", None),
        ("http://10.0.0.7:9001", "/app", b"http://10.0.0.7:9001//evil.example/", None),
        ("http://10.0.0.7:9001", "", b"http://10.0.0.7:9001//evil.example/", None),
        ("http://10.0.0.7:9001", "/app", b"javascript:alert(1)", None),
        ("http://10.0.0.7:9001", "/app", b"http://[::1/", None),
        ("http://10.0.0.7:9001", "/app", b"/\xff", None),
    ],
)
def test_a_redirect_leads_to_our_paths_or_nowhere(base, prefix, value, told):
    guise = Guise(upstream=parse_address(base), prefix=prefix)
    found = to_client([(b"location", value)], guise)
    assert found == ([(b"location", told)] if told else BadAnswer("Location leads to another place than the upstream"))


def test_where_the_upstream_authenticates_its_metadata_has_our_address():
    guise = Guise(upstream=UPSTREAM, metadata_url=b"https://api.example.com/.well-known/x")
    sent = b'Bearer error="invalid_token", resource_metadata="http://10.0.0.7:9001/.well-known/x", scope="a"'
    told = b'Bearer error="invalid_token", resource_metadata="https://api.example.com/.well-known/x", scope="a"'
    assert to_client([(b"www-authenticate", sent)], guise) == [(b"www-authenticate", told)]


def test_cors_is_the_upstreams_own_where_we_do_none():
    guise = Guise(upstream=UPSTREAM, hides_cors=False)
    headers = [(b"access-control-allow-origin", b"*")]
    assert to_client(headers, guise) == headers


@pytest.mark.parametrize(
    ("values", "found"),
    [([], None), ([b" u-1 "], b"u-1"), ([b"a", b"b"], None), ([b""], None), ([b"a b"], None), ([b"x" * 1025], None)],
)
def test_only_one_clean_session_id_is_adopted(values, found):
    assert upstream_session_id([(b"Mcp-Session-Id", value) for value in values]) == found
