"""How an app starts: what can never work stops it, a store that is away does not."""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from sessionware import SessionMiddleware, StoreUnavailable
from sessionware.assembly.parts import counted_apart
from sessionware.config.load import load
from sessionware.core.ids import Addresses
from sessionware.core.policy import compile_policy
from tests.asgi.test_guard import count

AWAY = "redis://:secret-word@127.0.0.1:1/0"


async def plain(_: Any) -> PlainTextResponse:
    return PlainTextResponse("docs")


def lifespan_of(app: Any, *, until_shutdown: bool = False) -> list[dict[str, Any]]:
    """What the app says to a server that starts it, and stops it if it has started."""

    async def live() -> list[dict[str, Any]]:
        to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        to_app.put_nowait({"type": "lifespan.startup"})
        running = asyncio.ensure_future(app({"type": "lifespan", "state": {}}, to_app.get, said.put))
        heard = [await said.get()]
        if heard[0]["type"] == "lifespan.startup.complete":
            to_app.put_nowait({"type": "lifespan.shutdown"})
            heard.append(await said.get())
        await running
        return heard

    return asyncio.run(live())


def test_a_setting_that_cannot_work_stops_the_start_of_a_starlette_app():
    """Raised out of the app, uvicorn would take it for one without a lifespan and serve a 500 for every request."""
    for app in (Starlette(), FastAPI()):
        app.add_middleware(SessionMiddleware, session_tll=5)
        (said,) = lifespan_of(app)
        assert said["type"] == "lifespan.startup.failed"
        assert "session_tll" in said["message"]
        assert "session_ttl" in said["message"]


def test_a_store_that_can_never_work_stops_the_start(tmp_path: Path):
    app = SessionMiddleware(Starlette(), store=f"sqlite:///{tmp_path}/missing/x.db")
    (said,) = lifespan_of(app)
    assert said["type"] == "lifespan.startup.failed"
    assert "missing" in said["message"]


def test_a_store_that_is_away_does_not_stop_the_start_and_is_named_in_the_log(caplog):
    """C23: and its password is not."""
    app = SessionMiddleware(Starlette(routes=[Route("/", count)]), store=AWAY)
    with caplog.at_level(logging.ERROR, logger="sessionware"):
        said = [each["type"] for each in lifespan_of(app)]
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert "127.0.0.1:1/0 cannot be reached" in caplog.text
    assert "secret-word" not in caplog.text


def test_while_the_store_is_away_requests_are_503_at_once_and_exempt_paths_are_served():
    """C35, A35."""

    async def live() -> None:
        routes = [Route("/", count), Route("/health", plain)]
        app = SessionMiddleware(Starlette(routes=routes), store=AWAY)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://app.test") as client:
            began = asyncio.get_running_loop().time()
            answers = await asyncio.gather(*[client.get("/") for _ in range(20)], client.get("/health"))
            assert asyncio.get_running_loop().time() - began < 3
            assert [answer.status_code for answer in answers] == [503] * 20 + [200]
            assert answers[-1].text == "docs"
            with contextlib.suppress(StoreUnavailable):
                await app.sessionware.start()
            began = asyncio.get_running_loop().time()
            assert (await client.get("/")).status_code == 503
            assert asyncio.get_running_loop().time() - began < 0.5, "it was tried before, and still waits"
        await app.sessionware.aclose()

    asyncio.run(live())


def test_limits_whose_counters_lie_elsewhere_on_a_cluster_are_said_once():
    """Store.md 10."""
    places = "redis+cluster://127.0.0.1:1"
    over = {"a": "user", "b": "client", "c": "org", "d": "global", "e": "session"}
    limits = "; ".join([f"{name}=5/minute per {scope}" for name, scope in over.items()])
    settings = load(keywords={"store": places, "limits": limits}).settings
    policy = compile_policy(settings.limits, addresses=Addresses(bytes(32), 256), creation=settings.create_limit)
    assert sorted(counted_apart(settings, policy)) == [
        "limit 'b' counts over clients: two network waits on Redis Cluster",
        "limit 'c' counts over organisations: two network waits on Redis Cluster",
        "limit 'd' counts over everybody: two network waits on Redis Cluster",
    ]
    per_org = replace(settings, partition="org")
    assert not any("organisations" in line for line in counted_apart(per_org, policy))
    assert list(counted_apart(replace(settings, store="redis://127.0.0.1:1"), policy)) == []
