"""What other layers keep in context variables passes through, both ways."""

import asyncio
from contextvars import ContextVar
from typing import Any

from tests.asgi.world import token, world

REQUEST: ContextVar[str] = ContextVar("request")


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers what the layer outside has set, and sets something for it."""
    if scope["type"] == "http":
        seen = REQUEST.get()
        REQUEST.set("inside")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": seen.encode()})
    else:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000, "reason": REQUEST.get()})


def test_context_variables_survive_the_way_in_and_out():
    async def live() -> None:
        async with world(app) as there:
            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            REQUEST.set("outside")
            headers = [(b"authorization", f"Bearer {token()}".encode())]
            scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers, "state": {}}
            await there.app(scope, asyncio.Event().wait, send)
            assert sent[-1]["body"] == b"outside"
            assert REQUEST.get() == "inside"

    asyncio.run(live())


def test_a_socket_sees_the_context_that_it_was_opened_in():
    async def live() -> None:
        async with world(app) as there:
            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            async def receive() -> Any:
                return {"type": "websocket.connect"}

            REQUEST.set("handshake")
            headers = [(b"authorization", f"Bearer {token()}".encode())]
            scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": headers, "state": {}}
            await there.app(scope, receive, send)
            assert (sent[-1]["code"], sent[-1]["reason"]) == (1000, "handshake")

    asyncio.run(live())
