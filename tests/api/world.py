"""The API over a service whose time stands still; callers say who they are in test headers."""

from contextlib import asynccontextmanager
from typing import Any

import httpx2
from msgspec.structs import replace

from sessionware.api import ApiOptions, Readiness, SessionApi
from sessionware.core.ids import parse_presented
from sessionware.errors import InvalidToken
from sessionware.service import Actor, Sessions
from tests.service.scene import Scene, scene
from tests.stories import stories

ADMIN = ("sessionware:admin",)


class World(Scene):
    """A scene with an HTTP client in front of it."""

    http: httpx2.AsyncClient
    readiness: Readiness = Readiness()

    async def caller(self, scope, /):
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if headers.get("authorization") == "Bearer bad":
            raise InvalidToken("Invalid or expired token")
        user = headers.get("x-test-user")
        scopes = ADMIN if user == "root" else ()
        identity = self.identity(user, scopes=scopes, org_id=headers.get("x-test-org")) if user else None
        presented = headers.get("x-session-id")
        return Actor(
            identity=identity,
            presented=parse_presented(presented) if presented else None,
            session_token=headers.get("x-session-token"),
            client="192.0.2.1",
        )

    def use(self, **terms):
        """Go on under other terms."""
        runtime = self.sessions.runtime
        self.sessions = Sessions(replace(runtime, terms=replace(runtime.terms, **terms)))

    async def ask(self, method, path, user=None, *, json=None, session=None, status=None, **how):
        """One request; with `status` it must have that one. Answers the response."""
        headers = dict(how.pop("headers", {}))
        if user:
            headers["x-test-user"] = user
        if session:
            headers["x-session-id"] = session
        answer = await self.http.request(method, path, json=json, headers=headers, **how)
        assert "no-store" in answer.headers["cache-control"]
        if status is not None:
            assert answer.status_code == status, answer.text
        if answer.status_code >= 400 and path != "/ready":
            assert answer.headers["content-type"] == "application/problem+json"
            body = answer.json()
            assert {"type", "title", "status", "error", "code"} <= body.keys()
            assert body["status"] == answer.status_code
        return answer

    async def get(self, path, user=None, **how):
        """The body of a successful GET."""
        return (await self.ask("GET", path, user, status=200, **how)).json()

    async def post(self, path, user=None, json=None, *, status=200, **how):
        """The body of a POST with that status."""
        return (await self.ask("POST", path, user, json=json, status=status, **how)).json()

    async def start(self, user=None, json=None, **how):
        return await self.post("/session/start", user, json, status=201, **how)


def _hand_out(_: Any, text: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-session-id", text.encode())]


@asynccontextmanager
async def world(**how):
    async with scene(**how) as made:
        ready = World(made.store, made.clock, made.sessions, made.witness)
        api = SessionApi(
            lambda: ready.sessions,
            ready.caller,
            options=ApiOptions(id_headers=_hand_out),
            readiness=lambda: ready.readiness,
        )
        transport = httpx2.ASGITransport(api)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as ready.http:
            yield ready


in_world = stories(world)
