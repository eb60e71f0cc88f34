"""WebSockets: judged at the handshake with a real HTTP answer, closed with their session; what they write is kept."""

import contextlib
import json
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.edge import wire
from tests.edge.site import STRANGER, Site
from tests.serving import AT_ONCE_S, soon

CLOSED_BY_US = {4401, 1008}


@contextlib.contextmanager
def talking(
    site: Site, *headers: tuple[str, str], path: str = "/ws", protocols: list[str] | None = None
) -> Iterator[ClientConnection]:
    with connect(
        f"ws://127.0.0.1:{site.server.port}{path}", additional_headers=list(headers), subprotocols=protocols,  # type: ignore[arg-type]
        compression=None, proxy=None, open_timeout=10, close_timeout=2,
    ) as socket:  # fmt: skip
        yield socket


def refusal(site: Site, *headers: tuple[str, str], path: str = "/ws", protocols: list[str] | None = None) -> int:
    """The HTTP status that a handshake is refused with; 0 when it was accepted."""
    try:
        with talking(site, *headers, path=path, protocols=protocols):
            return 0
    except InvalidStatus as refused:
        return refused.response.status_code


def said(socket: ClientConnection, text: str) -> dict[str, object]:
    socket.send(text)
    answer = json.loads(socket.recv(timeout=10))
    assert isinstance(answer, dict)
    return answer


def test_a_handshake_is_refused_before_it_is_accepted(serve):
    """ASGI-02, section 5 row 23: with the status that http would have."""
    site = serve(on_missing="reject")
    before = site.count
    assert refusal(site) == 401
    assert refusal(site, ("X-Session-ID", STRANGER)) == 401
    assert refusal(site, ("X-Session-ID", "../x")) == 400
    assert refusal(site, ("X-Session-ID", STRANGER), ("X-Session-ID", STRANGER)) == 400
    assert refusal(site, protocols=["sessionware", f"session.{STRANGER}"]) == 401
    assert refusal(site, path=f"/ws?session={STRANGER}") == 401
    assert site.count == before


def test_what_a_socket_writes_is_saved(plain):
    """WebSocket writes are lost with the peers."""
    sid = plain.started()
    with talking(plain, ("X-Session-ID", sid)) as socket:
        assert said(socket, "one") == {"session": sid, "messages": 1}
        assert said(socket, "two") == {"session": sid, "messages": 2}
    assert soon(lambda: plain.ask("GET", "/get", sid=sid).json == {"messages": ["one", "two"]})


def test_an_id_may_come_as_a_subprotocol_which_is_not_sent_back(plain):
    """Interface.md section 5: we answer `sessionware`."""
    sid = plain.started()
    with talking(plain, protocols=["sessionware", f"session.{sid}"]) as socket:
        assert socket.subprotocol == "sessionware"
        assert said(socket, "x")["session"] == sid
    assert refusal(plain, ("X-Session-ID", sid), protocols=["sessionware", f"session.{plain.started()}"]) == 400
    assert refusal(plain, protocols=[f"session.{sid}", f"session.{sid}"]) == 400


def test_a_token_may_come_as_a_subprotocol(tokens):
    """JWT-14, interface.md section 5."""
    with talking(tokens, protocols=["sessionware", f"bearer.{tokens.token('wanda')}"]) as socket:
        assert socket.subprotocol == "sessionware"
        assert said(socket, "x")["session"] == "default"
    assert refusal(tokens, protocols=["sessionware", "bearer.x.y.z"]) == 401
    assert (
        refusal(
            tokens, ("Authorization", f"Bearer {tokens.token()}"), protocols=["sessionware", f"bearer.{tokens.token()}"]
        )
        == 400
    )


def test_a_socket_ends_with_its_session(plain):
    """SES-09, section 5 row 23: within a second, however the session ended."""
    sid = plain.started()
    with talking(plain, ("X-Session-ID", sid)) as socket:
        assert said(socket, "x")["messages"] == 1
        assert plain.ask("POST", "/end", sid=sid).json == {"ended": True}
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=AT_ONCE_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code in CLOSED_BY_US
    assert refusal(plain, ("X-Session-ID", sid)) == 401


def test_a_socket_ends_when_its_user_is_revoked(tokens):
    """SES-09, SES-10."""
    with talking(tokens, ("Authorization", f"Bearer {tokens.token('victor')}")) as socket:
        assert said(socket, "x")["messages"] == 1
        tokens.run(tokens.sessionware.sessions.revoke(user="victor"))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=AT_ONCE_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code in CLOSED_BY_US


def test_an_open_socket_counts_against_a_limit_at_once(serve):
    """ASGI-09: a socket is one request at its start, and holds its slot while it lasts."""
    site = serve(limits="900/minute per session; 1 concurrent per session")
    sid = site.started()
    with talking(site, ("X-Session-ID", sid)) as socket:
        assert said(socket, "x")["messages"] == 1
        assert refusal(site, ("X-Session-ID", sid)) == 429
        assert site.ask("GET", "/who", sid=sid).status == 429
    assert soon(lambda: site.ask("GET", "/who", sid=sid).status == 200)


def test_handshakes_are_limited(serve):
    """ASGI-02: with 429 before the socket is accepted."""
    site = serve(limits="3/minute per session")
    sid = site.started()
    assert [refusal(site, ("X-Session-ID", sid)) for _ in range(4)] == [0, 0, 429, 429]


def test_the_messages_of_a_socket_are_limited(serve):
    """ASGI-09: a socket that is let in once is no way around a limit; it closes with 4429."""
    site = serve(limits="3 messages/minute per session")
    sid = site.started()
    with talking(site, ("X-Session-ID", sid)) as socket:
        assert [said(socket, "x")["messages"] for _ in range(3)] == [1, 2, 3]
        socket.send("one too many")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4429


def test_the_refusal_of_a_handshake_is_the_same_body_as_over_http(serve):
    """ASGI-02: a browser sees nothing of it, every other client does."""
    site = serve(on_missing="reject")
    upgrade: list[wire.Header] = [
        ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]  # fmt: skip
    sent = wire.request(target="/ws", headers=upgrade).replace(b"Connection: close\r\n", b"")
    with site.server.connect() as connection:
        connection.sendall(sent)
        received = connection.recv(wire.CHUNK)
        while b'"session_required"}' not in received:
            more = connection.recv(wire.CHUNK)
            assert more, received
            received += more
    assert received.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "x", "websocket, h2c"])
def test_half_an_upgrade_is_no_way_in(serve, upgrade):
    """ASGI-02, appendix A: hypercorn answers 101 to h2c; the request that it carries is judged all the same."""
    site = serve(on_missing="reject")
    headers = [("Upgrade", upgrade), ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")]
    sent = wire.request(target="/who", headers=headers).replace(
        b"Connection: close", b"Connection: Upgrade, HTTP2-Settings"
    )
    with site.server.connect() as connection:
        connection.sendall(sent)
        received = connection.recv(wire.CHUNK)
        while received.startswith(b"HTTP/1.1 101") and b"session_required" not in received:
            more = connection.recv(wire.CHUNK)
            assert more, received
            received += more
    assert received.startswith((b"HTTP/1.1 101", b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.1 426"))
    assert b'"guarded"' not in received
