"""What sessionware is measured as, beside the bare app and middlewares that do nothing."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any, Final

import jwt
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from benchmarks.in_process import GREETING, VISITORS, App, Subject, Visitor, ask, prove, visitors
from sessionware import SessionMiddleware, Sessionware
from sessionware.config.load import load
from sessionware.core.store import Store
from sessionware.stores.memory import MemoryStore
from sessionware.testing import FaultyStore

BARE: Final = "bare Starlette app"
ADMITTED: Final = "sessionware: session, JWT, two limits"
READS: Final = "sessionware: the same, reads data"
CHANGES: Final = "sessionware: the same, changes data"
ANONYMOUS: Final = "sessionware: anonymous, one limit"

_SECRET: Final = "a secret for the benchmark alone, 64 bytes long: abcdefghijklmno"
_SHOWN: Final = (b"ratelimit", b"ratelimit-policy")
_TWO_LIMITS: Final = "1_000_000_000/minute per session; 1_000_000_000/hour per user"
_ONE_LIMIT: Final = "1_000_000_000/minute per session"  # the default, but for an allowance that no run uses up
_ASKED: Final = 4  # requests of each session: its first, two to prove the app, and the one that looks
_BY_TOKEN: Final = {
    "jwt_secret": _SECRET,
    "jwt_issuer": "https://issuer.example",
    "jwt_audience": "benchmark",
    "limits": _TWO_LIMITS,
}


class Nothing:
    """A pure ASGI middleware that does nothing: what one more layer costs."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


class NothingOnRequests(BaseHTTPMiddleware):
    """The same, as most middlewares are written."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse(GREETING)


async def _write(request: Request) -> PlainTextResponse:
    request.state.session.data["greeting"] = GREETING.decode()
    return PlainTextResponse("written")


async def _read(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.session.data["greeting"])


async def _change(request: Request) -> PlainTextResponse:
    data = request.state.session.data
    data["turns"] = data.get("turns", 0) + 1
    return PlainTextResponse(GREETING)


async def _session(request: Request) -> JSONResponse:
    session = request.state.session
    return JSONResponse(
        {"user": session.user_id, "requests": session.total_requests, "turns": session.data.get("turns", 0)}
    )


async def starlette(*middleware: Middleware, handler: Any = hello) -> Subject:
    """The hello-world app behind middlewares that keep nothing."""
    return Subject(Starlette(routes=[Route("/", handler)], middleware=middleware), visitors(), BARE)


async def by_token(stack: AsyncExitStack, handler: Any, *, store: Store | None = None) -> Subject:
    """Named sessions of users who show a token."""
    app = await _app(stack, handler, _BY_TOKEN, store)
    everyone = tuple(_with_token(visitor) for visitor in visitors())
    for visitor in everyone:
        await ask(app, visitor, "/write")
    changed = 2 if handler is _change else 0

    async def works() -> bool:
        found = [json.loads((await ask(app, visitor, "/session")).body) for visitor in everyone]
        wanted = {"requests": _ASKED, "turns": changed}
        return found == [{"user": f"user-{number}", **wanted} for number in range(VISITORS)]

    return Subject(app, everyone, BARE, _SHOWN, works)


async def anonymous(stack: AsyncExitStack, *, store: Store | None = None) -> Subject:
    """Sessions of nobody, under ids that we minted."""
    app = await _app(stack, hello, {"limits": _ONE_LIMIT}, store)
    everyone = []
    for visitor in visitors():
        minted = (await ask(app, visitor)).header(b"x-session-id")
        if minted is None:
            raise RuntimeError("no session id was handed out")
        everyone.append(visitor.showing(b"x-session-id", minted))

    async def works() -> bool:
        found = [json.loads((await ask(app, visitor, "/session")).body) for visitor in everyone]
        return found == [{"user": None, "requests": _ASKED, "turns": 0}] * VISITORS

    return Subject(app, tuple(everyone), BARE, _SHOWN, works)


async def bare(_: AsyncExitStack) -> Subject:
    return await starlette()


async def no_op(_: AsyncExitStack) -> Subject:
    return await starlette(Middleware(Nothing))


async def no_op_on_requests(_: AsyncExitStack) -> Subject:
    return await starlette(Middleware(NothingOnRequests))


async def admitted(stack: AsyncExitStack, *, store: Store | None = None) -> Subject:
    return await by_token(stack, hello, store=store)


async def reads(stack: AsyncExitStack, *, store: Store | None = None) -> Subject:
    return await by_token(stack, _read, store=store)


async def changes(stack: AsyncExitStack, *, store: Store | None = None) -> Subject:
    return await by_token(stack, _change, store=store)


PLAIN: Final = {BARE: bare, "no-op ASGI middleware": no_op, "no-op BaseHTTPMiddleware": no_op_on_requests}
OURS: Final = {ADMITTED: admitted, READS: reads, CHANGES: changes, ANONYMOUS: anonymous}


async def store_calls() -> dict[str, dict[str, float]]:
    """How often each method of the store is called for one request, per way of using sessionware."""
    counted = {}
    for name, make in OURS.items():
        async with AsyncExitStack() as stack:
            store = FaultyStore(MemoryStore())  # without a fault it only counts
            subject = await make(stack, store=store)
            await prove(name, subject)
            before = Counter(store.calls)
            for visitor in subject.visitors:
                await ask(subject.app, visitor)
            counted[name] = {method: calls / VISITORS for method, calls in (store.calls - before).items()}
    return counted


async def _app(stack: AsyncExitStack, handler: Any, keywords: dict[str, str], store: Store | None) -> App:
    settings = load(keywords=keywords, environ={}).settings
    runtime = await stack.enter_async_context(Sessionware(settings, store=store))
    routes = [Route("/", handler), Route("/write", _write), Route("/session", _session)]
    return Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, sessionware=runtime)])


def _with_token(visitor: Visitor) -> Visitor:
    """The visitor with a token and a session of their own."""
    now = int(time.time())
    claims = {
        "sub": f"user-{visitor.number}", "iss": _BY_TOKEN["jwt_issuer"], "aud": _BY_TOKEN["jwt_audience"],
        "iat": now, "exp": now + 3600, "jti": str(visitor.number),
    }  # fmt: skip
    token = jwt.encode(claims, _SECRET, "HS256", headers={"typ": "at+jwt"})
    named = visitor.showing(b"x-session-id", f"work-{visitor.number}".encode())
    return named.showing(b"authorization", f"Bearer {token}".encode())
