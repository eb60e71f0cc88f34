"""A session that a socket makes while it is open belongs to it as one that was there before."""

import asyncio

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from tests.asgi.test_guard import scenario_of
from tests.asgi.test_socket import Client


async def note(socket: WebSocket) -> None:
    """Writes to a session that nobody has made yet, before it answers."""
    socket.state.session.data["heard"] = []
    await socket.accept()
    async for text in socket.iter_text():
        socket.state.session.data["heard"].append(text)
        await socket.send_text("noted")


scenario = scenario_of([WebSocketRoute("/ws", note)])


@scenario(session_cookie="session", cookie_secure="off")
async def test_it_closes_in_peace_and_what_it_wrote_last_is_saved(there):
    client = Client(there)
    assert (await client.next())["type"] == "websocket.accept"
    await client.say("hello")
    await client.leave()
    [session] = (await there.sessionware.sessions.list(everyone=True)).sessions
    assert (await there.sessionware.sessions.get(session.handle)).data == {"heard": ["hello"]}


@scenario(session_cookie="session", cookie_secure="off")
async def test_it_closes_when_that_session_ends(there):
    """SES-09."""
    client = Client(there)
    assert (await client.next())["type"] == "websocket.accept"
    [session] = (await there.sessionware.sessions.list(everyone=True)).sessions
    await there.sessionware.sessions.close(session.handle)
    assert await client.next() == {"type": "websocket.close", "code": 4401, "reason": "session over"}
    async with asyncio.timeout(5):
        await client.running
