"""What servers let through, each in its own way: it is refused by the server, or by us."""

import pytest

from tests.edge import wire
from tests.edge.site import STRANGER, Site

REFUSALS = {400, 404, 405, 408, 411, 413, 414, 417, 431, 501, 505}


def is_guarded(site: Site, sent: bytes) -> None:
    """A site that wants a session has refused every request in `sent`; nothing was stored."""
    before = site.count
    with site.server.connect() as connection:
        connection.sendall(sent)
        received = wire.read_all(connection)
    statuses = {int(head[:3]) for head in received.split(b"HTTP/1.1 ")[1:]}
    assert statuses <= {401, *REFUSALS}, received
    assert b'"guarded"' not in received
    assert site.count == before


@pytest.fixture
def closed(serve) -> Site:
    """Whoever gets through without a session is a hole."""
    site: Site = serve(on_missing="reject")
    return site


def lines(first: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """A request of exactly these lines."""
    return b"\r\n".join([first, *fields, b"", body])


GET, POST, HOST, CLOSE = b"GET /who HTTP/1.1", b"POST /who HTTP/1.1", b"Host: x", b"Connection: close"
CHUNKED, END = b"Transfer-Encoding: chunked", b"0\r\n\r\n"
NEXT = lines(GET, HOST, CLOSE)
SECRET = STRANGER.encode()
SMUGGLED = {
    "length and chunked": lines(POST, HOST, b"Content-Length: 4", CHUNKED, body=END + NEXT),
    "two lengths": lines(POST, HOST, b"Content-Length: 0", b"Content-Length: 5", body=NEXT),
    "a list of lengths": lines(POST, HOST, b"Content-Length: 0, 0", body=NEXT),
    "gzip, chunked": lines(POST, HOST, b"Transfer-Encoding: gzip, chunked", body=END + NEXT),
    "xchunked": lines(POST, HOST, CLOSE, b"Transfer-Encoding: xchunked", body=END + NEXT),
    "blank before the colon": lines(POST, HOST, b"Transfer-Encoding : chunked", body=END + NEXT),
    "bare line feeds": NEXT.replace(b"\r\n", b"\n"),
    "no host": lines(GET, CLOSE),
    "two hosts": lines(GET, HOST, b"Host: y", CLOSE),
    "http/1.0": b"GET /who HTTP/1.0\r\n\r\n",
    "pipelined": lines(GET, HOST, body=NEXT),
    "trailers": lines(
        POST, HOST, CLOSE, CHUNKED, b"Trailer: X-Session-ID", body=lines(b"0", b"X-Session-ID: " + SECRET)
    ),
    "chunk extension": lines(POST, HOST, CLOSE, CHUNKED, body=b"0;" + b"x" * 1000 + b"\r\n\r\n"),
    "expect": lines(POST, HOST, CLOSE, b"Expect: 200-ok", b"Content-Length: 0"),
    "method override": lines(POST, HOST, CLOSE, b"X-HTTP-Method-Override: GET", b"Content-Length: 0"),
    "connect": lines(b"CONNECT /health HTTP/1.1", HOST, CLOSE),
    "asterisk": lines(b"OPTIONS * HTTP/1.1", HOST, CLOSE),
    "userinfo": lines(GET, b"Host: user:pass@x", CLOSE),
    "a header without a name": lines(GET, HOST, CLOSE, b": " + SECRET),
    "nul in a value": lines(GET, HOST, CLOSE, b"X-Session-ID: a\x00b"),
    "bare cr in a value": lines(GET, HOST, CLOSE, b"X-Session-ID: a\rb"),
    "empty path": lines(b"GET  HTTP/1.1", HOST, CLOSE),
    "nominated by connection": lines(GET, HOST, b"Connection: close, X-Session-ID", b"X-Session-ID: work"),
}


@pytest.mark.parametrize("case", SMUGGLED)
def test_nothing_comes_through_without_a_session(closed, case):
    """Appendix A: every request that a server makes of these bytes is refused, by it or by us."""
    is_guarded(closed, SMUGGLED[case])


@pytest.mark.parametrize("count", [500, 5000])
def test_thousands_of_headers_are_read_once(plain, count):
    """Appendix A: 5000 headers pass h11 and httptools."""
    sid = plain.started()
    headers = [("X-Padding", str(number)) for number in range(count)]
    answer = plain.raw(wire.request(target="/who", headers=[*headers, ("X-Session-ID", sid)]))
    assert answer is None or answer.status in REFUSALS or answer.json["session"] == sid


def test_every_connection_keeps_its_requests_apart(plain):
    """SES-03: one connection, alternating sessions: a balancer's connection is nobody's identity."""
    one, two = plain.started(), plain.started()
    sids = [one, two, one, None, two]
    pipeline = b"".join(
        wire.request(target="/who", headers=[] if sid is None else [("X-Session-ID", sid)]).replace(
            b"Connection: close\r\n", b""
        )
        for sid in sids
    )
    with plain.server.connect() as connection:
        connection.sendall(pipeline + NEXT)
        received = wire.read_all(connection)
    answers = [wire.Answer(b"HTTP/1.1 " + part) for part in received.split(b"HTTP/1.1 ")[1:]]
    found = [answer.json["session"] for answer in answers]
    assert [found[index] for index in (0, 1, 2, 4)] == [one, two, one, two]
    assert len({found[3], found[5], one, two}) == 4


@pytest.mark.parametrize(
    "value",
    ["<script>alert(1)</script>", "a\tb", b"\xe2\x80\xae", "x" * 200, "%0d%0aX-Evil:1", "${7*7}", "\"'><img src=x>"],
)
def test_no_response_header_and_no_error_repeats_what_a_client_sent(tokens, cookies, value):
    """ASGI-07: not in a header, not in a body, whichever field it came in."""
    shown = value if isinstance(value, bytes) else value.encode()
    for name in ["X-Session-ID", "Authorization", "Mcp-Session-Id", "X-User-Id", "X-API-Key", "X-Session-Token"]:
        sent = b"Bearer " + shown if name == "Authorization" else shown
        assert shown not in tokens.ask("GET", "/who", (name, sent)).raw
    assert shown not in cookies.ask("POST", "/who", ("Cookie", b"session=" + shown), ("Origin", shown)).raw
    for name in ["Origin", "Sec-Fetch-Site", "X-Forwarded-For", "Accept"]:
        assert shown not in heads_of(cookies.ask("GET", "/who", (name, shown)))
    assert shown not in heads_of(cookies.raw(wire.request(target="/who", host=shown)))


def heads_of(answer: wire.Answer | None) -> bytes:
    return b"" if answer is None else answer.raw.partition(b"\r\n\r\n")[0]
