"""SessionMiddleware as users mount it."""

import asyncio
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route

from sessionware.assembly import SessionMiddleware, Sessionware
from sessionware.config.settings import Settings
from sessionware.core.store import Query
from sessionware.errors import ConfigError
from tests.asgi.test_guard import count
from tests.selection import is_selected


def client_of(app: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://app.test")


async def two_turns(app: Any) -> list[int]:
    async with client_of(app) as client:
        first = await client.get("/")
        second = await client.get("/", headers={"X-Session-ID": first.headers["x-session-id"]})
        return [first.json()["turns"], second.json()["turns"]]


async def close(app: Any) -> None:
    """Close the runtime of an app that was never told of a lifespan."""
    for each in _middlewares(app):
        await each.sessionware.aclose()


def _middlewares(app: Any) -> list[SessionMiddleware]:
    found, layer = [], getattr(app, "middleware_stack", None) or app
    while layer is not None:
        if isinstance(layer, SessionMiddleware):
            found.append(layer)
        layer = getattr(layer, "app", None) or getattr(layer, "_app", None)
    return found


@pytest.mark.parametrize("way", ["add_middleware", "Middleware", "outer wrap", "mounted"])
def test_it_works_however_it_is_mounted_without_lifespan(way):
    async def live() -> None:
        routes = [Route("/", count)]
        if way == "add_middleware":
            app: Any = Starlette(routes=routes)
            app.add_middleware(SessionMiddleware, limits="100/minute per session")
        elif way == "Middleware":
            app = Starlette(routes=routes, middleware=[Middleware(SessionMiddleware)])
        elif way == "outer wrap":
            app = SessionMiddleware(Starlette(routes=routes))
        else:
            app = Starlette(routes=[Mount("/", app=SessionMiddleware(Starlette(routes=routes)))])
        try:
            assert await two_turns(app) == [1, 2]
        finally:
            await close(app.routes[0].app if way == "mounted" else app)

    asyncio.run(live())


def test_it_starts_and_closes_with_the_lifespan():
    async def live() -> None:
        app = SessionMiddleware(Starlette(routes=[Route("/", count)]))
        to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        running = asyncio.ensure_future(app({"type": "lifespan", "state": {}}, to_app.get, said.put))
        to_app.put_nowait({"type": "lifespan.startup"})
        assert (await said.get())["type"] == "lifespan.startup.complete"
        assert app.sessionware.is_started
        assert await two_turns(app) == [1, 2]
        to_app.put_nowait({"type": "lifespan.shutdown"})
        assert (await said.get())["type"] == "lifespan.shutdown.complete"
        await running
        assert not app.sessionware.is_started

    asyncio.run(live())


def test_making_it_does_no_io_and_a_bad_setting_fails_at_once():
    SessionMiddleware(Starlette(), store="redis://127.0.0.1:1/0")
    with pytest.raises(ConfigError, match="session_tll"):
        SessionMiddleware(Starlette(), session_tll=5)
    with pytest.raises(ConfigError, match="did you mean `100/minute per client`"):
        SessionMiddleware(Starlette(), limits=["100/minute"])


def test_a_store_that_is_away_is_503_and_the_next_request_tries_again():
    """A35, C23."""

    async def live() -> None:
        app = SessionMiddleware(Starlette(routes=[Route("/", count)]), store="redis://127.0.0.1:1/0")
        async with client_of(app) as client:
            answer = await client.get("/")
            assert (answer.status_code, answer.json()["error"]) == (503, "Store unavailable")
            assert "retry-after" in answer.headers
        assert not app.sessionware.is_started

    asyncio.run(live())


@pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")
def test_two_apps_on_one_redis_share_sessions_and_limits(redis_url):
    """A36: start at one, use at the other; the limit counts both."""

    async def live() -> None:
        settings = Settings(store=f"{redis_url}?prefix=two-apps:", store_timeout=5_000)
        async with Sessionware(settings) as one, Sessionware(settings) as two:
            apps = [SessionMiddleware(Starlette(routes=[Route("/", count)]), each) for each in (one, two)]
            async with client_of(apps[0]) as first, client_of(apps[1]) as second:
                sid = (await first.get("/")).headers["x-session-id"]
                turns = [
                    (await client.get("/", headers={"X-Session-ID": sid})).json()["turns"]
                    for client in (second, first, second)
                ]
                assert turns == [2, 3, 4]
            store = one.engine.runtime.store
            assert (await store.list(Query(limit=0), now=store.clock.now())).total == 1

    asyncio.run(live())
