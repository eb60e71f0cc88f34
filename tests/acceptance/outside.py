"""The only place that stands outside: a small app behind the middleware with the API at its root, and who asks it."""

from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sessionware import SessionMiddleware, Sessionware
from sessionware.assembly.installation import settings_from
from sessionware.core.store import Store
from sessionware.telemetry import Observer
from sessionware.testing import Client, ManualClock, client
from tests.stories import stories

ADMIN = ["sessionware:admin"]


async def turn(request: Request) -> JSONResponse:
    """Count in the session's data; say whose it is."""
    session = request.state.session
    if session is None:
        return JSONResponse({"session": None})
    session.data["turns"] = session.data.get("turns", 0) + 1
    return JSONResponse({"id": session.id, "user": session.user_id, "turns": session.data["turns"]})


async def remember(request: Request) -> JSONResponse:
    request.state.session.data["memory"] = (await request.body()).decode()
    return JSONResponse({})


async def recall(request: Request) -> JSONResponse:
    return JSONResponse({"memory": request.state.session.data.get("memory", "")})


async def dump(request: Request) -> JSONResponse:
    """Everything that an app finds on its session."""
    session = request.state.session
    return JSONResponse(
        {
            "id": session.id,
            "ref": session.ref,
            "user_id": session.user_id,
            "org_id": session.org_id,
            "groups": list(session.groups),
            "name": session.name,
            "is_new": session.is_new,
            "created_at": session.created_at.isoformat(),
            "last_activity": session.last_activity.isoformat(),
            "expires_at": session.expires_at.isoformat(),
            "total_requests": session.total_requests,
            "hits": session.hits,
            "metadata": session.metadata,
            "data": dict(session.data),
            "context": await session.context.last(),
        }
    )


async def say(request: Request) -> JSONResponse:
    return JSONResponse(await request.state.session.context.append(await request.json()))


async def heard(request: Request) -> JSONResponse:
    return JSONResponse(await request.state.session.context.last(None))


async def spend(request: Request) -> JSONResponse:
    await request.state.session.spend(**{name: int(amount) for name, amount in request.query_params.items()})
    return JSONResponse({})


async def used(request: Request) -> Response:
    """An app that says afterwards what an answer has taken."""
    return Response(headers={"X-Sessionware-Spend": request.query_params["is"]})


async def add(request: Request) -> JSONResponse:
    """Read, change and write as one step, however many do it at once."""

    def one_more(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "count": data.get("count", 0) + 1}

    return JSONResponse(await request.state.session.update(one_more))


async def broken(_: Request) -> Response:
    return Response("no", 500)


async def events(request: Request) -> Response:
    return Response(f"data: {request.state.session.id}\n\n", media_type="text/event-stream")


ROUTES = [
    Route("/turn", turn, methods=["GET", "POST"]), Route("/remember", remember, methods=["POST"]),
    Route("/recall", recall), Route("/dump", dump), Route("/say", say, methods=["POST"]), Route("/heard", heard),
    Route("/spend", spend, methods=["POST"]), Route("/used", used, methods=["POST"]),
    Route("/add", add, methods=["POST"]), Route("/broken", broken), Route("/events", events),
    *[Route(path, turn, methods=["POST"]) for path in ("/send", "/interrupt", "/network", "/result")],
]  # fmt: skip


def app_of(*, api: str = "/", observers: tuple[Observer, ...] = (), **settings: Any) -> SessionMiddleware:
    """The app as its owner writes it."""
    sessionware = Sessionware(settings_from(settings), observers=observers)
    return SessionMiddleware(Starlette(routes=ROUTES), sessionware, api=api)


class Outside:
    """A few people and their clients of one running app."""

    def __init__(self, nobody: Client, clock: ManualClock) -> None:
        self.nobody = nobody
        self.clock = clock
        self.alice = nobody.as_user("alice")
        self.bob = nobody.as_user("bob")
        self.admin = nobody.as_user("root", scopes=ADMIN)

    async def start(self, who: Client, name: str | None = None, **body: Any) -> dict[str, Any]:
        """A session that was started over the API."""
        answer = await who.post("/session/start", json=body if name is None else {"session_id": name, **body})
        assert answer.status_code == 201, answer.text
        started: dict[str, Any] = answer.json()
        return started

    async def count(self) -> int:
        """How many sessions there are."""
        return int((await self.admin.get("/sessions", params={"count": "true"})).json()["count"])


@asynccontextmanager
async def outside(*, store: Callable[[ManualClock], Store] | None = None, **how: Any) -> Any:
    """The app running on a memory store whose time stands still; `store` makes another one."""
    clock = ManualClock()
    kept: dict[str, Any] = {"clock": clock} if store is None else {"store": store(clock)}
    async with client(app_of(**how), **kept) as nobody:
        yield Outside(nobody, clock)


from_outside = stories(outside)


def sid(text: str) -> dict[str, str]:
    return {"X-Session-ID": text}


def said(answer: httpx2.Response) -> tuple[int, str]:
    """The status of a refusal and its text."""
    return answer.status_code, answer.json()["error"]
