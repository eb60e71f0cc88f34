"""What sessionware is measured beside: each peer as its own documents use it, with limits that no run reaches.

A peer is imported when its turn comes: one that is missing, or cannot run, costs its own row only.
"""

# ruff: noqa: PLC0415
# Annotations stay values here: Litestar and FastAPI read those of handlers that are made inside functions.

from contextlib import AsyncExitStack
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks.in_process import GREETING, VISITORS, App, Subject, visitors, with_cookie
from benchmarks.middleware_ours import BARE, hello, starlette

COOKIE_READ: Final = "Starlette SessionMiddleware, reads"
BARE_LITESTAR: Final = "bare Litestar app"
BARE_FASTAPI: Final = "bare FastAPI app"
_ENOUGH: Final = 1_000_000_000
_SECRET: Final = "a secret for the benchmark alone, 64 bytes long: abcdefghijklmno"
_ID: Final = "x-session-id"


async def _write(request: Request) -> PlainTextResponse:
    request.session.update({"greeting": GREETING.decode(), "turns": 0})
    return PlainTextResponse("written")


async def _read(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.session["greeting"])


async def _change(request: Request) -> PlainTextResponse:
    request.session["turns"] += 1
    return PlainTextResponse(request.session["greeting"])


async def cookie_read(_: AsyncExitStack) -> Subject:
    return await _cookie(_read)


async def cookie_write(_: AsyncExitStack) -> Subject:
    return await _cookie(_change)


async def starsessions(_: AsyncExitStack) -> Subject:
    """A rolling session, as ours: it is written and its cookie sent whenever it was loaded."""
    from starsessions import InMemoryStore, SessionMiddleware, load_session

    async def write(request: Request) -> PlainTextResponse:
        await load_session(request)
        return await _write(request)

    async def read(request: Request) -> PlainTextResponse:
        await load_session(request)
        return await _read(request)

    middleware = Middleware(
        SessionMiddleware, store=InMemoryStore(), lifetime=3600, rolling=True, cookie_https_only=False
    )
    app = Starlette(routes=[Route("/", read), Route("/write", write)], middleware=[middleware])
    return await _with_cookies(app, BARE, shows=(b"set-cookie",))


async def slowapi_asgi(_: AsyncExitStack) -> Subject:
    from slowapi.middleware import SlowAPIASGIMiddleware

    return await _slowapi(SlowAPIASGIMiddleware)


async def slowapi_on_requests(_: AsyncExitStack) -> Subject:
    from slowapi.middleware import SlowAPIMiddleware

    return await _slowapi(SlowAPIMiddleware)


async def asgi_ratelimit(_: AsyncExitStack) -> Subject:
    """Two limits per session; it has no headers for an answer within the limits."""
    from ratelimit import RateLimitMiddleware, Rule
    from ratelimit.backends.simple import MemoryBackend

    async def whose(scope: Any) -> tuple[str, str]:
        return next(value.decode() for name, value in scope["headers"] if name == _ID.encode()), "default"

    backend = MemoryBackend()
    rules = {r"^/": [Rule(minute=_ENOUGH, hour=_ENOUGH)]}
    subject = await starlette(Middleware(RateLimitMiddleware, authenticate=whose, backend=backend, config=rules))

    async def works() -> bool:
        return [limit.count for limit in backend.blocks["/"].values()] == [_ENOUGH - 2] * 2 * VISITORS

    return Subject(subject.app, _named(), BARE, works=works)


async def bare_litestar(_: AsyncExitStack) -> Subject:
    from litestar import MediaType, get

    @get("/", media_type=MediaType.TEXT)
    async def hello() -> str:
        return GREETING.decode()

    return Subject(_litestar([hello], []), visitors(), BARE_LITESTAR)


async def litestar_limit(_: AsyncExitStack) -> Subject:
    """One limit per session; per second, for it keeps and copies the time of every request of the window."""
    from litestar import MediaType, get
    from litestar.middleware.rate_limit import RateLimitConfig

    @get("/", media_type=MediaType.TEXT)
    async def hello() -> str:
        return GREETING.decode()

    def whose(request: Any) -> str:
        return str(request.headers[_ID])

    config = RateLimitConfig(rate_limit=("second", _ENOUGH), identifier_for_request=whose)
    app = _litestar([hello], [config.middleware])
    return Subject(app, _named(), BARE_LITESTAR, (b"ratelimit-policy", b"ratelimit-remaining"))


async def litestar_session(_: AsyncExitStack) -> Subject:
    """A session in memory: it is written and its cookie sent with every answer."""
    from litestar import MediaType, get
    from litestar.connection import Request as Asked
    from litestar.middleware.session.server_side import ServerSideSessionConfig

    @get("/write")
    async def write(request: Asked[Any, Any, Any]) -> None:
        request.set_session({"greeting": GREETING.decode(), "turns": 0})

    @get("/", media_type=MediaType.TEXT)
    async def read(request: Asked[Any, Any, Any]) -> str:
        return str(request.session["greeting"])

    app = _litestar([write, read], [ServerSideSessionConfig(max_age=3600).middleware])
    return await _with_cookies(app, BARE_LITESTAR, shows=(b"set-cookie",))


async def bare_fastapi(_: AsyncExitStack) -> Subject:
    return Subject(_fastapi([]), visitors(), BARE_FASTAPI)


async def fastapi_limiter(stack: AsyncExitStack) -> Subject:
    """Two rates; in one bucket for all callers, which is what it makes of rates. It sends no headers."""
    from fastapi import Depends
    from fastapi_limiter.depends import RateLimiter
    from pyrate_limiter import Duration, Limiter, Rate

    limiter = Limiter([Rate(_ENOUGH, Duration.MINUTE), Rate(2 * _ENOUGH, Duration.HOUR)])
    stack.callback(limiter.close)
    app = _fastapi([Depends(RateLimiter(limiter=limiter))])

    async def works() -> bool:
        return limiter.buckets()[0].count() == 2 * VISITORS

    return Subject(app, visitors(), BARE_FASTAPI, works=works)


PEERS: Final = {
    COOKIE_READ: cookie_read,
    "Starlette SessionMiddleware, writes": cookie_write,
    "starsessions in memory, reads": starsessions,
    "slowapi, ASGI, two limits": slowapi_asgi,
    "slowapi, BaseHTTP, two limits": slowapi_on_requests,
    "asgi-ratelimit in memory, two limits": asgi_ratelimit,
    BARE_LITESTAR: bare_litestar,
    "Litestar RateLimit, one limit": litestar_limit,
    "Litestar server-side session, reads": litestar_session,
    BARE_FASTAPI: bare_fastapi,
    "fastapi-limiter, two limits": fastapi_limiter,
}


def _named() -> tuple[Any, ...]:
    return tuple(visitor.showing(_ID.encode(), f"work-{visitor.number}".encode()) for visitor in visitors())


async def _with_cookies(app: App, over: str, *, shows: tuple[bytes, ...] = ()) -> Subject:
    return Subject(app, tuple([await with_cookie(app, visitor, "/write") for visitor in visitors()]), over, shows)


async def _cookie(handler: Any) -> Subject:
    from starlette.middleware.sessions import SessionMiddleware

    middleware = [Middleware(SessionMiddleware, secret_key=_SECRET)]
    app = Starlette(routes=[Route("/", handler), Route("/write", _write)], middleware=middleware)
    return await _with_cookies(app, BARE, shows=(b"set-cookie",) if handler is _change else ())


async def _slowapi(middleware: type[Any]) -> Subject:
    from slowapi import Limiter

    def whose(request: Request) -> str:
        return request.headers[_ID]

    limits: list[Any] = [f"{_ENOUGH}/minute", f"{_ENOUGH}/hour"]
    app = Starlette(routes=[Route("/", hello)], middleware=[Middleware(middleware)])
    app.state.limiter = Limiter(key_func=whose, default_limits=limits, headers_enabled=True)
    return Subject(app, _named(), BARE, (b"x-ratelimit-limit", b"x-ratelimit-remaining"))


def _litestar(handlers: list[Any], middleware: list[Any]) -> App:
    from litestar import Litestar

    # Its logging would be that of everybody in this process.
    app: Any = Litestar(route_handlers=handlers, middleware=middleware, openapi_config=None, logging_config=None)
    return app


def _fastapi(dependencies: list[Any]) -> App:
    from fastapi import FastAPI

    app = FastAPI(openapi_url=None)  # without the routes of its documents, which fastapi-limiter walks

    @app.get("/", response_class=PlainTextResponse, dependencies=dependencies)
    async def hello() -> str:
        return GREETING.decode()

    return app
