"""The middleware around Quart, Django, a bare ASGI app and mounted Starlette apps, each behind a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import django.http
import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.urls import path
from quart import Quart, request, websocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from websockets.sync.client import connect

from sessionware import SessionMiddleware
from tests.serving import Server

LIMITS = ["3/day per session", "10 tokens/day per session"]


# ------------------------------------------------------------------ Quart


async def quart_turn() -> dict[str, Any]:
    session = request.scope["state"]["session"]
    session.data["turns"] = session.data.get("turns", 0) + 1
    return {"turns": session.data["turns"]}


async def quart_burn() -> str:
    session = request.scope["state"]["session"]
    await session.spend(tokens=10)
    await session.spend(tokens=1)
    return "never"


async def quart_stream() -> Any:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(3):
            yield f"data: {number}\n\n".encode()

    return parts(), {"Content-Type": "text/event-stream"}


async def quart_chat() -> None:
    session = websocket.scope["state"]["session"]
    while True:
        text: Any = await websocket.receive()
        session.data["heard"] = text
        await websocket.send(f"{session.id}:{text}")


async def quart_heard() -> dict[str, Any]:
    return dict(request.scope["state"]["session"].data)


def quart_app() -> tuple[Quart, list[str]]:
    """The app, and what it says of its life."""
    app, life = Quart(__name__), list[str]()
    app.get("/turn")(quart_turn)
    app.get("/burn")(quart_burn)
    app.get("/stream")(quart_stream)
    app.get("/heard")(quart_heard)
    app.websocket("/ws")(quart_chat)

    @app.before_serving
    async def begin() -> None:
        life.append("begun")

    @app.after_serving
    async def end() -> None:
        life.append("ended")

    return app, life


# ------------------------------------------------------------------ Django


if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, DEBUG=False, MIDDLEWARE=[], SECRET_KEY="tests", USE_TZ=True
    )
    django.setup()


async def django_turn(request: Any) -> django.http.JsonResponse:
    session = request.scope["state"]["session"]
    session.data["turns"] = session.data.get("turns", 0) + 1
    return django.http.JsonResponse({"turns": session.data["turns"]})


def django_thread(request: Any) -> django.http.JsonResponse:
    """A `def` view: Django runs it in a thread through asgiref."""
    session = request.scope["state"]["session"]
    session.sync.update(lambda data: data.update(turns=data.get("turns", 0) + 1))
    return django.http.JsonResponse({"turns": session.data["turns"]})


async def django_crossed(request: Any) -> django.http.JsonResponse:
    """An async view that leaves for a thread itself."""
    session = request.scope["state"]["session"]
    await sync_to_async(session.sync.update)(lambda data: data.update(turns=data.get("turns", 0) + 1))
    return django.http.JsonResponse({"turns": session.data["turns"]})


def django_burn(request: Any) -> django.http.JsonResponse:
    session = request.scope["state"]["session"]
    session.sync.spend(tokens=10)
    session.sync.spend(tokens=1)
    return django.http.JsonResponse({})


async def django_stream(request: Any) -> django.http.StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(3):
            yield f"data: {number}\n\n".encode()

    return django.http.StreamingHttpResponse(parts(), content_type="text/event-stream")


urlpatterns = [
    path("turn", django_turn), path("thread", django_thread), path("crossed", django_crossed),
    path("burn", django_burn), path("stream", django_stream),
]  # fmt: skip


# ------------------------------------------------------------------ bare ASGI


class Bare:
    """An app without a framework; `lives`: it listens to its lifespan."""

    def __init__(self, *, lives: bool) -> None:
        self._lives = lives
        self.life: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        session = scope["state"]["session"]
        headers = [(b"content-type", b"text/event-stream" if scope["path"] == "/stream" else b"application/json")]
        if scope["path"] == "/burn":
            await session.spend(tokens=10)
            await session.spend(tokens=1)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/stream":
            for number in range(3):
                part = f"data: {number}\n\n".encode()
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        await session.update(lambda data: data.update(turns=data.get("turns", 0) + 1))
        await send({"type": "http.response.body", "body": json.dumps({"turns": session.data["turns"]}).encode()})

    async def _live(self, receive: Any, send: Any) -> None:
        if not self._lives:
            raise RuntimeError("no lifespan here")
        for stage in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{stage}"
            self.life.append(stage)
            await send({"type": f"lifespan.{stage}.complete"})


# ------------------------------------------------------------------ what holds for all of them


def apps() -> dict[str, Any]:
    return {
        "quart": quart_app()[0],
        "django": ASGIHandler(),
        "bare": Bare(lives=True),
        "bare without a lifespan": Bare(lives=False),
    }


@pytest.fixture(params=apps())
def served(request: pytest.FixtureRequest) -> Any:
    """The app behind the middleware and uvicorn; it was started with the server and is closed after it."""
    app = SessionMiddleware(apps()[request.param], limits=LIMITS)
    with Server(app, lifespan="on") as server:
        assert app.sessionware.is_started
        yield server
    assert not app.sessionware.is_started


def test_sessions_are_kept_and_limits_answered_and_streams_left_alone(served):
    """B39, B40, E4."""
    first = httpx2.get(f"{served.url}/turn")
    sid = {"X-Session-ID": first.headers["x-session-id"]}
    assert first.json() == {"turns": 1}
    assert httpx2.get(f"{served.url}/turn", headers=sid).json() == {"turns": 2}
    with httpx2.stream("GET", f"{served.url}/stream", headers=sid) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in stream.headers
        assert b"".join(stream.iter_raw()) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    refused = httpx2.get(f"{served.url}/turn", headers=sid)
    assert (refused.status_code, refused.json()["error"]) == (429, "Rate limit exceeded")
    assert int(refused.headers["retry-after"]) >= 1
    assert httpx2.get(f"{served.url}/turn").json() == {"turns": 1}
    unknown = httpx2.get(f"{served.url}/turn", headers={"X-Session-ID": "aaaaaaaaaaaa." + "x" * 43})
    assert (unknown.status_code, unknown.json()["error"]) == (401, "Invalid session")


def test_a_quota_that_the_app_meets_is_our_answer(served):
    refused = httpx2.get(f"{served.url}/burn")
    assert (refused.status_code, refused.json()["error"]) == (429, "Quota exceeded for tokens: 11/10")
    assert refused.headers["content-type"] == "application/problem+json"


def test_the_apps_own_life_goes_on_inside_ours() -> None:
    app, life = quart_app()
    with Server(SessionMiddleware(app), lifespan="on"):
        assert life == ["begun"]
    assert life == ["begun", "ended"]
    bare = Bare(lives=True)
    with Server(SessionMiddleware(bare), lifespan="on"):
        assert bare.life == ["startup"]
    assert bare.life == ["startup", "shutdown"]


@pytest.mark.parametrize("view", ["thread", "crossed"])
def test_django_views_in_threads_use_the_same_session(view):
    with Server(SessionMiddleware(ASGIHandler(), limits="off"), lifespan="on") as server:
        first = httpx2.get(f"{server.url}/{view}")
        sid = {"X-Session-ID": first.headers["x-session-id"]}
        turns = [httpx2.get(f"{server.url}/{path}", headers=sid).json()["turns"] for path in (view, "turn")]
    assert turns == [2, 3]


def test_a_quart_socket_has_its_session_and_what_it_writes_is_saved() -> None:
    with Server(SessionMiddleware(quart_app()[0], limits="off"), lifespan="on") as server:
        sid = httpx2.get(f"{server.url}/turn").headers["x-session-id"]
        with connect(f"{server.socket_url}/ws", additional_headers={"X-Session-ID": sid}) as socket:
            socket.send("hello")
            assert socket.recv() == f"{sid}:hello"
        heard = {}
        while "heard" not in heard:  # it is saved while it closes
            heard = httpx2.get(f"{server.url}/heard", headers={"X-Session-ID": sid}).json()
    assert heard == {"turns": 1, "heard": "hello"}


def test_a_mounted_app_with_the_middleware_leaves_its_siblings_alone() -> None:
    """ASGI-01: only what is inside has a session; without a lifespan of its own it starts with the first request."""

    async def turn(request: Request) -> JSONResponse:
        session = request.state.session
        session.data["turns"] = session.data.get("turns", 0) + 1
        return JSONResponse({"turns": session.data["turns"], "path": request.url.path})

    async def outside(request: Request) -> JSONResponse:
        return JSONResponse({"session": hasattr(request.state, "session")})

    inner = SessionMiddleware(Starlette(routes=[Route("/turn", turn)]), limits="2/day per session for /in/turn")
    app = Starlette(routes=[Mount("/in", app=inner), Route("/out", outside)])
    with Server(app) as server:
        first = httpx2.get(f"{server.url}/in/turn")
        sid = {"X-Session-ID": first.headers["x-session-id"]}
        statuses = [httpx2.get(f"{server.url}/in/turn", headers=sid).status_code for _ in range(2)]
        assert first.json() == {"turns": 1, "path": "/in/turn"}
        assert statuses == [200, 429]
        assert httpx2.get(f"{server.url}/out").json() == {"session": False}
        asyncio.run_coroutine_threadsafe(inner.sessionware.aclose(), inner.sessionware.engine.loop).result(5)
