"""Reading a scope: everything that was presented, in the order it came, and nothing decided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionware.asgi.reading import Names, is_preflight, read
from sessionware.credentials.presented import Place

ALL = Names(session_cookie="session", secure_cookie="__Host-session", session_query="sid")


def scope(*headers, method="GET", query=b"", kind="http", client=("203.0.113.7", 5)):
    return {
        "type": kind,
        "method": method,
        "path": "/",
        "query_string": query,
        "headers": list(headers),
        "client": client,
    }


def ids(*headers, names=ALL, **fields):
    return read(scope(*headers, **fields), names).presented.ids


def test_an_id_is_found_in_the_header():
    assert ids((b"x-session-id", b"work")) == ((Place.HEADER, "work"),)


def test_a_header_that_is_there_twice_is_shown_twice():
    """SES-05: whoever decides sees both."""
    assert ids((b"x-session-id", b"a"), (b"x-session-id", b"b")) == ((Place.HEADER, "a"), (Place.HEADER, "b"))


def test_an_underscore_is_not_a_hyphen():
    """Security.md 5, row 6."""
    assert ids((b"x_session_id", b"a")) == ()


def test_a_cookie_is_read_by_its_name_and_a_planted_second_one_is_seen():
    """SES-02: the sibling domain's cookie must not win silently; another app's cookie of that name is none of ours."""
    one, two = (f"a{letter * 11}.{letter * 43}" for letter in "bc")
    assert ids((b"cookie", f'a=1; session="{one}"; session={two}; xsession=3'.encode())) == (
        (Place.COOKIE, one),
        (Place.COOKIE, two),
    )
    assert ids((b"cookie", f"session={one}".encode()), names=Names()) == ()
    assert ids((b"cookie", b"session=eyJjYXJ0IjogMX0.aB.cD")) == ()


@pytest.mark.parametrize(
    ("method", "accept", "found"),
    [("GET", b"text/event-stream", True), ("GET", b"text/html", False), ("POST", b"text/event-stream", False)],
)
def test_an_id_in_the_url_is_for_event_streams_only(method, accept, found):
    """SES-13, E8."""
    presented = ids((b"accept", accept), query=b"sid=one&x=2", method=method)
    assert presented == (((Place.QUERY, "one"),) if found else ())


def test_a_socket_may_carry_its_id_in_the_url_or_as_a_subprotocol():
    asked = scope(kind="websocket", query=b"sid=two")  # a server may have taken the header away
    asked["subprotocols"] = ["sessionware", "session.one", "bearer.aaa.bbb.ccc"]
    found = read(asked, ALL).presented
    assert found.ids == ((Place.WEBSOCKET, "one"), (Place.QUERY, "two"))
    assert found.authorization == ("Bearer aaa.bbb.ccc",)


def test_subprotocols_of_a_plain_request_carry_no_id():
    assert ids((b"sec-websocket-protocol", b"session.one")) == ()


def test_credentials_are_shown_as_they_came():
    found = read(
        scope(
            (b"authorization", b"Bearer x"), (b"authorization", b"Basic y"), (b"x-api-key", b"swk_1"),
            (b"x-user-id", "jos\u00e9".encode()), (b"x-forwarded-for", b"1.1.1.1, 2.2.2.2"), (b"host", b"app"),
        ),
        ALL,
    ).presented  # fmt: skip
    assert found.authorization == ("Bearer x", "Basic y")
    assert found.api_key == ("swk_1",)
    assert found.user == ("jos\u00e9",)
    assert found.forwarded_for == ("1.1.1.1, 2.2.2.2",)
    assert (found.peer, found.host) == ("203.0.113.7", "app")


def test_a_unix_socket_has_no_peer():
    assert read(scope(client=None), ALL).presented.peer is None


def test_a_preflight_is_known_by_its_method_and_its_question():
    asked = (b"access-control-request-method", b"POST")
    assert is_preflight(scope(asked, method="OPTIONS"))
    assert not is_preflight(scope(method="OPTIONS"))
    assert not is_preflight(scope(asked, method="GET"))


@given(st.lists(st.tuples(st.sampled_from([b"cookie", b"x-session-id", b"authorization", b"x-user-id"]), st.binary())))
def test_no_bytes_make_it_fail(headers):
    for kind in ("http", "websocket"):
        read(scope(*headers, kind=kind, query=b"sid=%ff&&=&sid"), ALL)
