"""WebSockets through the guard: judged at the handshake, closed when the session ends."""

import asyncio
from typing import Any

import pytest
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from sessionware.core.store import Query
from sessionware.errors import LimitExceeded
from tests.asgi.test_guard import count
from tests.asgi.world import World, token, world


async def echo(socket: WebSocket) -> None:
    """Counts what it hears in the session, until the client goes."""
    await socket.accept()
    async for text in socket.iter_text():
        session = socket.state.session
        session.data["heard"] = session.data.get("heard", 0) + 1
        await socket.send_text(f"{session.user_id}:{text}")


async def think(socket: WebSocket) -> None:
    """Writes to the session once it is told to, and then says nothing more."""
    await socket.accept()
    await socket.receive_text()
    socket.state.session.data["thought"] = 42
    await socket.receive_text()


async def sign_in(socket: WebSocket) -> None:
    """Whoever says who they are gets the session."""
    await socket.accept()
    async for user in socket.iter_text():
        await socket.state.session.login(user)
        await socket.send_text(f"hello {socket.state.session.user_id}")


ROUTES = [
    Route("/", count),
    WebSocketRoute("/in", sign_in),
    WebSocketRoute("/ws", echo),
    WebSocketRoute("/think", think),
]


class Client:
    """The other end of a socket, message by message."""

    def __init__(
        self,
        there: World,
        *offered: str,
        path: str = "/ws",
        query: str = "",
        extensions: dict[str, Any] | None = None,
        **headers: str,
    ) -> None:
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        if offered:
            raw.append((b"sec-websocket-protocol", ", ".join(offered).encode()))
        scope = {
            "type": "websocket", "path": path, "query_string": query.encode(), "headers": raw, "scheme": "ws",
            "client": ("203.0.113.7", 1), "subprotocols": list(offered), "extensions": extensions, "state": {},
        }  # fmt: skip
        self._to_app.put_nowait({"type": "websocket.connect"})
        self.running = asyncio.ensure_future(there.app(scope, self._to_app.get, self.sent.put))

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            return await self.sent.get()

    async def say(self, text: str) -> dict[str, Any]:
        self._to_app.put_nowait({"type": "websocket.receive", "text": text})
        return await self.next()

    def tell(self, text: str) -> None:
        self._to_app.put_nowait({"type": "websocket.receive", "text": text})

    async def leave(self) -> None:
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.running


def live(scenario: Any, **how: Any) -> None:
    async def run() -> None:
        async with world(ROUTES, **how) as there:
            await scenario(there)

    asyncio.run(run())


def test_a_socket_gets_the_session_of_its_subprotocol_and_saves_what_it_wrote() -> None:
    async def scenario(there: World) -> None:
        client = Client(there, "sessionware", f"bearer.{token('alice')}")
        accepted = await client.next()
        assert (accepted["type"], accepted["subprotocol"]) == ("websocket.accept", "sessionware")
        assert (await client.say("hello"))["text"] == "alice:hello"
        await client.leave()
        session = (await there.get(user="alice")).json()
        assert session["turns"] == 1
        assert await there.data_of("alice") == {"heard": 1, "nested": {"turns": 1}}

    live(scenario)


@pytest.mark.parametrize("with_extension", [True, False])
def test_a_handshake_is_refused_with_the_status_that_a_request_would_get(with_extension):
    """ASGI-02: before accept, never skipped silently."""

    async def scenario(there: World) -> None:
        extensions: dict[str, Any] | None = {"websocket.http.response": {}} if with_extension else None
        client = Client(there, extensions=extensions, authorization="Bearer nonsense")
        first = await client.next()
        if with_extension:
            assert (first["type"], first["status"]) == ("websocket.http.response.start", 401)
        else:
            assert (first["type"], first["code"]) == ("websocket.close", 4401)
        await client.running

    live(scenario)


def test_a_socket_over_the_limit_is_refused_at_the_handshake() -> None:
    async def scenario(there: World) -> None:
        await there.get(user="alice")
        client = Client(there, authorization=f"Bearer {token('alice')}")
        assert (await client.next())["code"] == 4429
        await client.running

    live(scenario, limits="1/minute per session")


def test_a_socket_closes_when_its_session_ends() -> None:
    """SES-09: within a second, and the session is not made anew by it."""

    async def scenario(there: World) -> None:
        client = Client(there, authorization=f"Bearer {token('alice')}")
        assert (await client.next())["type"] == "websocket.accept"
        await client.say("hello")
        page = await there.store.list(Query(), now=there.clock.now())
        (session,) = page.sessions
        await there.store.delete(session.key, now=there.clock.now())
        there.engine.ends.ended(session.key)
        closed = await client.next()
        assert (closed["type"], closed["code"]) == ("websocket.close", 4401)
        await client.running
        assert await there.store.get(session.key, now=there.clock.now()) is None

    live(scenario)


def test_a_socket_that_is_cancelled_by_the_server_stays_cancelled() -> None:
    async def scenario(there: World) -> None:
        client = Client(there, authorization=f"Bearer {token('alice')}")
        await client.next()
        client.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client.running
        assert there.engine.ends.waiting() == []

    live(scenario)


async def greedy(socket: WebSocket) -> None:
    """Spends more than there is before it accepts."""
    await socket.receive()
    await socket.state.session.spend(tokens=6)
    await socket.state.session.spend(tokens=6)


async def hidden(socket: WebSocket) -> None:
    """The same in a framework that closes for whatever was raised."""
    try:
        await greedy(socket)
    except LimitExceeded:
        await socket.close(4500)


async def late(socket: WebSocket) -> None:
    """The same once it has accepted."""
    await socket.accept()
    await socket.state.session.spend(tokens=6)
    await socket.state.session.spend(tokens=6)


def handshake(app: Any, extensions: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Everything that is sent to a client that connects."""
    sent: list[dict[str, Any]] = []

    async def run() -> None:
        async with world([WebSocketRoute("/ws", app)], limits="10 tokens/day per user") as there:
            client = Client(there, extensions=extensions, authorization=f"Bearer {token('alice')}")
            await client.running
            while not client.sent.empty():
                sent.append(client.sent.get_nowait())

    asyncio.run(run())
    return sent


@pytest.mark.parametrize("app", [greedy, hidden])
def test_what_an_app_is_refused_before_it_accepts_refuses_the_handshake(app):
    start, body = handshake(app, {"websocket.http.response": {}})
    assert (start["type"], start["status"], body["type"]) == (
        "websocket.http.response.start", 429, "websocket.http.response.body",
    )  # fmt: skip
    assert b"quota_exceeded" in body["body"]
    (closed,) = handshake(app, None)
    assert (closed["type"], closed["code"]) == ("websocket.close", 4429)


def test_what_an_app_is_refused_once_it_accepted_closes_the_socket() -> None:
    accepted, closed = handshake(late, None)
    assert accepted["type"] == "websocket.accept"
    assert (closed["type"], closed["code"], closed["reason"]) == ("websocket.close", 4429, "limit exceeded")


def test_a_new_session_is_handed_out_with_the_acceptance() -> None:
    async def scenario(there: World) -> None:
        client = Client(there)
        accepted = await client.next()
        headers = dict(accepted["headers"])
        await client.say("hello")
        await client.leave()
        sid = headers[b"x-session-id"].decode()
        assert (await there.get(sid=sid)).json()["new"] is False

    live(scenario)


def test_messages_over_their_limit_close_the_socket() -> None:
    """A limit of the resource `messages` counts what a socket receives."""

    async def scenario(there: World) -> None:
        client = Client(there, authorization=f"Bearer {token('alice')}")
        await client.next()
        assert [(await client.say("a"))["text"] for _ in range(2)] == ["alice:a", "alice:a"]
        closed = await client.say("b")
        assert (closed["type"], closed["code"]) == ("websocket.close", 4429)
        await client.running
        assert await there.data_of("alice") == {"heard": 2}
        assert (await there.get(user="alice")).status_code == 200  # requests are no messages

    live(scenario, limits="2 messages/minute per user")


def test_what_a_socket_writes_is_saved_within_a_second_while_it_stays_open() -> None:
    async def scenario(there: World) -> None:
        client = Client(there, path="/think", authorization=f"Bearer {token('alice')}")
        await client.next()
        client.tell("think")
        async with asyncio.timeout(5):
            while await there.data_of("alice") != {"thought": 42}:
                await asyncio.sleep(0.01)
        client.tell("go")
        await client.running

    live(scenario)


def test_a_socket_is_judged_by_the_id_in_its_url_where_that_is_allowed() -> None:
    async def scenario(there: World) -> None:
        sid = (await there.get()).headers["x-session-id"]
        client = Client(there, query=f"sid={sid}")
        await client.next()
        await client.say("hello")
        await client.leave()
        assert (await there.get(sid=sid)).json()["turns"] == 2

    live(scenario, session_query="sid")


def test_a_login_closes_what_others_have_open_under_the_old_id_and_not_itself() -> None:
    """SES-11: whoever knew the id before does not stay in the session after it."""

    async def scenario(there: World) -> None:
        sid = (await there.get()).headers["x-session-id"]
        own, other = (Client(there, path="/in", x_session_id=sid) for _ in range(2))
        await own.next()
        await other.next()
        assert (await own.say("alice"))["text"] == "hello alice"
        assert (await other.next())["code"] == 4401
        await other.running
        assert (await own.say("alice"))["text"] == "hello alice"
        await own.leave()
        assert there.engine.ends.waiting() == []
        assert there.engine.gate.leases.running == 0

    live(scenario)
