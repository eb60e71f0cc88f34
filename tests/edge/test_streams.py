"""Open streams: they end with their session, and with what proved them; what an answer says it took is booked."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.edge import wire
from tests.edge.site import Site
from tests.serving import AT_ONCE_S, soon

FIRST, LAST = b"data: first\n\n", b"data: last\n\n"


@contextmanager
def watching(site: Site, gate: str, *headers: wire.Header) -> Iterator[socket.socket]:
    """A client of an event stream that has its first event and waits for the last."""
    with site.server.connect() as connection:
        connection.sendall(wire.request("GET", f"/feed/{gate}", headers))
        received = b""
        while FIRST not in received:
            more = connection.recv(wire.CHUNK)
            assert more, received
            received += more
        assert received.startswith(b"HTTP/1.1 200")
        connection.settimeout(AT_ONCE_S)
        yield connection


def test_a_stream_ends_with_its_session(plain):
    """SES-09, row 23: closed within a second, without the events that were to come."""
    sid = plain.started()
    with watching(plain, "ended", ("X-Session-ID", sid)) as connection:
        assert plain.ask("POST", "/end", sid=sid).status == 200
        assert LAST not in wire.read_all(connection)


def test_a_stream_ends_when_its_user_is_revoked(tokens):
    """SES-09, SES-10."""
    with watching(tokens, "revoked", ("Authorization", f"Bearer {tokens.token('sara')}")) as connection:
        tokens.run(tokens.sessionware.sessions.revoke(user="sara"))
        assert LAST not in wire.read_all(connection)


def test_a_stream_ends_when_its_token_is_revoked(tokens):
    """JWT-13, SES-09: the token alone, by its jti; its owner's other stream goes on."""
    one, two = (tokens.token("svea", jti=jti) for jti in ("svea-1", "svea-2"))
    with watching(tokens, "token-2", ("Authorization", f"Bearer {two}"), ("X-Session-ID", "two")) as other:
        with watching(tokens, "token-1", ("Authorization", f"Bearer {one}"), ("X-Session-ID", "one")) as connection:
            tokens.run(tokens.sessionware.sessions.revoke(token=one))
            assert LAST not in wire.read_all(connection)
        tokens.run(tokens.gates.open("token-2"))
        assert LAST in wire.read_all(other)


def test_a_stream_of_one_session_is_not_touched_by_the_end_of_another(plain):
    """SES-09."""
    mine, other = plain.started(), plain.started()
    with watching(plain, "untouched", ("X-Session-ID", mine)) as connection:
        assert plain.ask("POST", "/end", sid=other).status == 200
        plain.run(plain.gates.open("untouched"))
        assert LAST in wire.read_all(connection)


def test_a_stream_holds_its_slot_until_it_ends(serve):
    """ASGI-09: counted at its start, a lease while it runs."""
    site = serve(limits="900/minute per session; 1 concurrent per session")
    sid = site.started()
    with watching(site, "slot", ("X-Session-ID", sid)) as connection:
        assert site.ask("GET", "/who", sid=sid).status == 429
        site.run(site.gates.open("slot"))
        assert LAST in wire.read_all(connection)
    assert soon(lambda: site.ask("GET", "/who", sid=sid).status == 200)


def test_what_an_answer_says_it_took_is_booked_and_not_shown(serve):
    """Interface.md section 5, ASGI-07: `X-Sessionware-Spend` of the app, never of the client."""
    site = serve(limits="100 tokens/day per session")
    sid = site.started()
    answer = site.ask("POST", "/bill?spend=tokens%3D99", ("X-Sessionware-Spend", "tokens=1"), sid=sid)
    assert (answer.status, answer.body, answer.header("x-sessionware-spend")) == (200, b"billed", None)
    assert [site.ask("POST", f"/spend?tokens={amount}", sid=sid).status for amount in (2, 1)] == [429, 200]


@pytest.mark.parametrize(
    "spend",
    [
        "tokens=-50",
        "tokens=1e9",
        "tokens",
        "=5",
        "tokens=99999999999999999999",
        "TOKENS=5",
        "tokens=5;x",
        "tokens=\u0665",
    ],
)
def test_an_amount_that_is_none_is_not_booked(serve, spend):
    """ASGI-05: nor does it give anything back, and it is never a 500."""
    site = serve(limits="100 tokens/day per session")
    sid = site.started()
    target = f"/bill?spend={''.join(f'%{byte:02x}' for byte in spend.encode('latin-1', 'replace'))}"
    answer = site.ask("POST", target, sid=sid)
    assert (answer.status, answer.header("x-sessionware-spend")) == (200, None)
    assert [site.ask("POST", f"/spend?tokens={amount}", sid=sid).status for amount in (101, 100)] == [400, 200]
