"""The app behind the middleware in these tests: it shows what it was given, and writes where it is told to."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, Router, WebSocketRoute
from starlette.websockets import WebSocket

UNGUARDED: Final = "unguarded"  # the middleware let the request through without looking at it
HELD_S: Final = 10.0


class Gates:
    """Requests that wait here until the test lets them go; `arrived` is set when one waits."""

    def __init__(self) -> None:
        self._arrived: dict[str, asyncio.Event] = {}
        self._opened: dict[str, asyncio.Event] = {}

    async def wait(self, name: str) -> None:
        self._event(self._arrived, name).set()
        async with asyncio.timeout(HELD_S):
            await self._event(self._opened, name).wait()

    async def arrived(self, name: str) -> None:
        async with asyncio.timeout(HELD_S):
            await self._event(self._arrived, name).wait()

    async def open(self, name: str) -> None:
        self._event(self._opened, name).set()

    def _event(self, events: dict[str, asyncio.Event], name: str) -> asyncio.Event:
        return events.setdefault(name, asyncio.Event())


def build() -> Starlette:
    """One app; `app.state.gates` and `app.state.calls` are the test's hands inside it."""
    inner = Router([Route("/items/{item}", who), Route("/", who)])
    app = Starlette(
        routes=[
            Route("/", turn, methods=["GET", "POST"]), Route("/who", who, methods=["GET", "POST", "DELETE"]),
            Route("/set", set_values, methods=["POST"]), Route("/get", get_values), Route("/stream", stream),
            Route("/slow/{gate}", slow), Route("/echo", echo, methods=["POST"]), Route("/fail", fail),
            Route("/spend", spend, methods=["POST"]), Route("/reserve/{gate}", reserve, methods=["POST"]),
            Route("/end", end, methods=["POST"]), Route("/rotate", rotate, methods=["POST"]),
            Route("/login", login, methods=["POST"]), Route("/bill", bill, methods=["POST"]),
            Route("/feed/{gate}", feed), Route("/big", big, methods=["POST"]),
            Mount("/mounted", app=inner), WebSocketRoute("/ws", talk), Route("/{rest:path}", who),
        ],
        lifespan=living,
    )  # fmt: skip
    app.state.gates = Gates()
    app.state.calls = Counter()
    return app


@asynccontextmanager
async def living(_app: Starlette) -> AsyncIterator[dict[str, str]]:
    yield {"born": "with the app"}


def session_of(request: Request | WebSocket) -> Any:
    return request.state.session if request.scope["sessionware"] is not None else UNGUARDED


async def turn(request: Request) -> JSONResponse:
    """Count a turn in the session."""
    session = session_of(request)
    session.data["turns"] = session.data.get("turns", 0) + 1
    return JSONResponse({"session": session.id, "turns": session.data["turns"]})


async def who(request: Request) -> JSONResponse:
    """Show who is asking and where, and write nothing."""
    session = session_of(request)
    request.app.state.calls[request.scope["path"]] += 1
    shown = {"path": request.scope["path"], "guarded": session is not UNGUARDED, "born": request.state.born}
    if session is None or session is UNGUARDED:
        return JSONResponse({**shown, "session": None})
    about = {"session": session.id, "new": session.is_new, "user": session.user_id, "groups": list(session.groups)}
    return JSONResponse({**shown, **about})


async def set_values(request: Request) -> JSONResponse:
    session = session_of(request)
    session.data.update(await request.json())
    return JSONResponse(dict(session.data))


async def get_values(request: Request) -> JSONResponse:
    return JSONResponse(dict(session_of(request).data))


async def big(request: Request) -> Response:
    """Put as much into the session as is asked for."""
    session_of(request).data["big"] = "x" * int(request.query_params["bytes"])
    return PlainTextResponse("kept")


async def stream(request: Request) -> StreamingResponse:
    """Three server-sent events; the session learns of each after the head has left."""
    session = session_of(request)

    async def events() -> AsyncIterator[str]:
        for number in range(3):
            session.data["seen"] = number
            yield f"data: {number}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def feed(request: Request) -> StreamingResponse:
    """One event at once, and one when the test opens the gate."""

    async def events() -> AsyncIterator[str]:
        yield "data: first\n\n"
        await request.app.state.gates.wait(request.path_params["gate"])
        yield "data: last\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def bill(request: Request) -> PlainTextResponse:
    """An answer that says what it took."""
    return PlainTextResponse("billed", headers={"X-Sessionware-Spend": request.query_params["spend"]})


async def slow(request: Request) -> PlainTextResponse:
    """Answer when the test opens the gate, and write down that it did."""
    await request.app.state.gates.wait(request.path_params["gate"])
    session_of(request).data["slow"] = True
    return PlainTextResponse("let go")


async def echo(request: Request) -> Response:
    """The body, as the app received it."""
    return Response(await request.body(), media_type="application/octet-stream")


async def fail(request: Request) -> Response:
    session_of(request).data["lost"] = True
    raise RuntimeError("a fault of the app")


async def spend(request: Request) -> JSONResponse:
    await session_of(request).spend(tokens=int(request.query_params["tokens"]))
    return JSONResponse({"spent": True})


async def reserve(request: Request) -> JSONResponse:
    """Hold tokens until the gate opens, and use half of them."""
    tokens = int(request.query_params["tokens"])
    async with session_of(request).reserve(tokens=tokens) as hold:
        await request.app.state.gates.wait(request.path_params["gate"])
        if "fail" in request.query_params:
            raise RuntimeError("a fault of the app")
        await hold.settle(tokens=tokens // 2)
    return JSONResponse({"used": tokens // 2})


async def end(request: Request) -> JSONResponse:
    await session_of(request).end()
    return JSONResponse({"ended": True})


async def rotate(request: Request) -> JSONResponse:
    await session_of(request).rotate()
    return JSONResponse({"rotated": True})


async def login(request: Request) -> JSONResponse:
    await session_of(request).login(request.query_params["user"])
    return JSONResponse({"in": True})


async def talk(socket: WebSocket) -> None:
    """Keep every message in the session, and answer with how many there are."""
    session = session_of(socket)
    await socket.accept()
    async for message in socket.iter_text():
        session.data["messages"] = [*session.data.get("messages", []), message]
        await socket.send_json({"session": session.id, "messages": len(session.data["messages"])})
