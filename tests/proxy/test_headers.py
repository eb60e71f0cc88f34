"""What an upstream sees of a client: nothing that could pass for our word, no secret, nothing twice."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionware.proxy.headers import (
    BLOCK_MAX,
    BadHead,
    Disclosure,
    Onward,
    Sender,
    head_fault,
    header_names,
    shows_credentials,
    to_upstream,
)
from sessionware.proxy.hop_by_hop import HOP_BY_HOP
from sessionware.proxy.mcp.era import Era

SENDER = Sender(address="203.0.113.9", scheme="https", host=b"api.example.com")
OWN_NAMES = header_names("X-Session-ID", "X-User-Id", None)
OURS = Disclosure(own_names=OWN_NAMES, cookie_names=frozenset({b"__Host-session"}))
ONWARD = Onward(host=b"a:9001", disclosure=OURS, era=Era.LEGACY)
INTRODUCTION = [
    (b"x-forwarded-for", b"203.0.113.9"),
    (b"x-forwarded-proto", b"https"),
    (b"x-real-ip", b"203.0.113.9"),
    (b"x-forwarded-host", b"api.example.com"),
    (b"x-forwarded-port", b"443"),
    (b"forwarded", b'for=203.0.113.9;proto=https;host="api.example.com"'),
    (b"via", b"1.1 sessionware"),
]


def seen(*headers, onward=ONWARD, sender=SENDER):
    return to_upstream(headers, sender, onward)


def test_an_ordinary_request_arrives_whole_with_our_introduction():
    sent = [
        (b"host", b"api.example.com"),
        (b"accept", b"application/json, text/event-stream"),
        (b"content-type", b"application/json"),
        (b"origin", b"https://app.example.com"),
        (b"mcp-protocol-version", b"2025-11-25"),
        (b"mcp-param-region", b"=?base64?ZXU=?="),
        (b"traceparent", b"00-1-2-01"),
        (b"content-length", b"12"),
    ]
    assert seen(*sent) == [(b"host", b"a:9001"), *sent[1:-1], *INTRODUCTION]


@pytest.mark.parametrize(
    "name",
    [
        *sorted(HOP_BY_HOP),
        b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix", b"x-forwarded-user",
        b"forwarded", b"via", b"x-real-ip", b"x_forwarded_for", b"x_real_ip", b"X-Forwarded-For",
        b"x-session-id", b"x_session_id", b"X_Session-ID", b"x-session-token", b"x-sessionware-user",
        b"x_sessionware_spend", b"x-user-id", b"x_user_id", b"authorization", b"x-api-key", b"x_api_key", b"cookie",
        b"mcp-session-id", b"mcp_session_id", b"mcp_method", b"mcp_name", b"content_length", b"transfer_encoding",
        b"expect", b"content-length", b"true-client-ip", b"x-client-ip", b"x-original-url", b"x-http-method-override",
    ],
)  # fmt: skip
def test_what_a_client_may_not_say_never_arrives(name):
    assert seen((name, b"forged")) == [(b"host", b"a:9001"), *INTRODUCTION]


def test_blanks_around_a_value_are_no_part_of_it():
    """RFC 9110 5.5: some servers leave them in place."""
    shown = Onward(host=b"a:9001", disclosure=Disclosure(shows_credentials=True), era=Era.LEGACY)
    sent = [(b"x-own", b" \ta b\t "), (b"mcp-method", b"tools/call "), (b"authorization", b" Bearer x ")]
    wanted = [(b"x-own", b"a b"), (b"mcp-method", b"tools/call"), (b"authorization", b"Bearer x")]
    assert [pair for pair in seen(*sent, onward=shown) if pair[0] in dict(sent)] == wanted


def test_a_nominated_header_ends_here():
    assert seen((b"connection", b"close, X-Debug"), (b"x-debug", b"1")) == [(b"host", b"a:9001"), *INTRODUCTION]


@pytest.mark.parametrize(
    "nominated",
    [
        b"X-Session-ID", b"close, Authorization", b"X-Forwarded-For", b"mcp-session-id", b"Mcp-Method", b"cookie",
        b"content-length", b"host", b"X_Session_ID", b"x-sessionware-user", b" ,Forwarded", b"Origin",
    ],
)  # fmt: skip
def test_nobody_can_strip_our_headers_by_naming_them_in_connection(nominated):
    fault = head_fault([(b"connection", b"keep-alive"), (b"Connection", nominated)])
    assert fault == BadHead(400, "Invalid request: Connection names a header that must reach us")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"accept", b"a"), (b"accept", b"b")], None),
        ([(b"mcp-name", b"a"), (b"Mcp-Name", b"b")], 400),
        ([(b"mcp-param-x", b"a"), (b"mcp-param-x", b"a")], 400),
        ([(b"host", b"a"), (b"host", b"b")], 400),
        ([(b"origin", b"a"), (b"origin", b"a")], 400),
        ([(b"authorization", b"a"), (b"authorization", b"b")], 400),
        ([(b"content-length", b"1"), (b"transfer-encoding", b"chunked")], 400),
        ([(b"x", b"a\r\nb: c")], 400),
        ([(b"x", b"a\x00")], 400),
        ([(b"x y", b"a")], 400),
        ([(b"", b"a")], 400),
        ([(b"x", b"a")] * 100, None),
        ([(b"x", b"a")] * 101, 431),
        ([(b"x" * 256, b"a")], None),
        ([(b"x" * 257, b"a")], 431),
        ([(b"x", b"a" * (BLOCK_MAX - 5))], None),
        ([(b"x", b"a" * (BLOCK_MAX - 4))], 431),
    ],
)
def test_heads_that_two_readers_could_read_differently_are_refused(headers, status):
    fault = head_fault(headers)
    assert (fault and fault.status) == status


def test_credentials_pass_only_where_it_was_asked_for():
    sent = [
        (b"authorization", b"Bearer t"), (b"x-api-key", b"k"),
        (b"cookie", b"a=1; __Host-session=secret;b=2"), (b"cookie", b"__Host-session=secret"),
    ]  # fmt: skip
    shown = Disclosure(own_names=OURS.own_names, cookie_names=OURS.cookie_names, shows_credentials=True)
    found = seen(*sent, onward=Onward(host=b"a", disclosure=shown))
    expected = [(b"authorization", b"Bearer t"), (b"x-api-key", b"k"), (b"cookie", b"a=1; b=2")]
    assert found == [(b"host", b"a"), *expected, *INTRODUCTION]


def test_our_own_credential_stands_in_the_place_of_the_clients():
    for shows in (False, True):
        own = Disclosure(shows_credentials=shows, authorization=b"Bearer ours")
        found = seen((b"authorization", b"Bearer theirs"), onward=Onward(host=b"a", disclosure=own))
        assert [value for name, value in found if name == b"authorization"] == [b"Bearer ours"]


@pytest.mark.parametrize(
    ("forwarding", "verifies", "shows"),
    [("auto", True, False), ("auto", False, True), ("strip", False, False), ("forward", True, True)],
)
def test_auto_passes_credentials_through_where_nobody_here_verifies_them(forwarding, verifies, shows):
    assert shows_credentials(forwarding, verifies=verifies) is shows


def test_a_legacy_session_has_the_upstreams_name_and_can_be_resumed():
    sent = [(b"mcp-session-id", b"ours"), (b"last-event-id", b"5")]
    found = seen(*sent, onward=Onward(host=b"a", disclosure=OURS, era=Era.LEGACY, session_id=b"theirs"))
    assert found == [(b"host", b"a"), (b"last-event-id", b"5"), (b"mcp-session-id", b"theirs"), *INTRODUCTION]


def test_in_the_modern_era_neither_header_means_anything():
    sent = [(b"mcp-session-id", b"x"), (b"last-event-id", b"1"), (b"mcp-method", b"ping")]
    found = seen(*sent, onward=Onward(host=b"a", disclosure=OURS, era=Era.MODERN))
    assert found == [(b"host", b"a"), (b"mcp-method", b"ping"), *INTRODUCTION]


@pytest.mark.parametrize(
    ("address", "host", "forwarded", "port"),
    [
        ("2001:db8::1", b"[::1]:8443", b'for="[2001:db8::1]";proto=http;host="[::1]:8443"', b"8443"),
        ("unknown", b"h:81", b'for=unknown;proto=http;host="h:81"', b"81"),
        ("10.0.0.1", b'evil";for=1.1.1.1', b"for=10.0.0.1;proto=http", None),
        ("10.0.0.1", b"x/health?", b"for=10.0.0.1;proto=http", None),
    ],
)
def test_the_introduction_is_well_formed_whoever_asks(address, host, forwarded, port):
    sender = Sender(address=address, scheme="http", host=host, prefix="/app")
    found = dict(seen(sender=sender))
    assert (found[b"forwarded"], found.get(b"x-forwarded-port")) == (forwarded, port)
    assert found[b"x-forwarded-prefix"] == b"/app"


names = st.sampled_from(
    [b"accept", b"X-Session-ID", b"x_forwarded_for", b"cookie", b"Mcp-Method", b"te", b"x-a", b"connection", b"Via"]
)
values = st.binary(max_size=20).filter(lambda value: not any(byte < 32 or byte == 127 for byte in value))


@settings(deadline=None)
@given(st.lists(st.tuples(names, values), max_size=12))
def test_whatever_passes_has_one_host_one_introduction_and_no_forgery(headers):
    if head_fault(headers) is not None:
        return
    found = seen(*headers)
    assert found[0] == (b"host", b"a:9001")
    assert found[-len(INTRODUCTION) :] == INTRODUCTION
    passed = {name for name, _ in found[1 : -len(INTRODUCTION)]}
    assert passed <= {b"accept", b"mcp-method", b"x-a"}
