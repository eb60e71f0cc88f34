"""The only place that puts an app behind the middleware for tests of the edge: real parts, a clock of ours."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import jwt
from starlette.applications import Starlette

from sessionware import SessionMiddleware, Sessionware
from sessionware.asgi.engine import Engine
from sessionware.config.load import load
from sessionware.config.settings import Settings
from sessionware.core.payload import unpack
from sessionware.core.store import Query, Store
from sessionware.stores.memory import MemoryStore
from sessionware.telemetry import Observer
from sessionware.testing import ManualClock

SECRET = "a secret of more than thirty-two bytes, for tests"
ISSUER = "https://login.test"
KEYWORDS = {"jwt_secret": SECRET, "jwt_issuer": ISSUER, "jwt_audience": "app", "exempt_paths": "/health"}


def settings_of(**keywords: Any) -> Settings:
    """The settings of these tests, with others beside or instead; the environment plays no part."""
    return load(keywords=KEYWORDS | keywords, environ={}).settings


def token(sub: str = "alice", **claims: Any) -> str:
    """A token as the issuer of these tests makes them; the verifier is told the clock's time."""
    now = int(ManualClock().now() / 1000)
    claims = {"iss": ISSUER, "aud": "app", "sub": sub, "iat": now, "exp": now + 3600, "jti": f"{sub}-1"} | claims
    return jwt.encode(claims, SECRET, "HS256", headers={"typ": "at+jwt"})


class World:
    """One app behind the guard, and a browser-less client."""

    def __init__(self, app: SessionMiddleware, client: httpx2.AsyncClient, clock: ManualClock) -> None:
        self.app = app
        self.client = client
        self.clock = clock

    @property
    def sessionware(self) -> Sessionware:
        return self.app.sessionware

    @property
    def engine(self) -> Engine:
        return self.app.sessionware.engine

    @property
    def store(self) -> Any:
        return self.engine.runtime.store

    async def data_of(self, user: str) -> dict[str, Any]:
        """What is stored in the one session of a user."""
        for session in (await self.store.list(Query(), now=self.clock.now())).sessions:
            if session.birth.user_id == user:
                full = await self.store.get(session.key, now=self.clock.now())
                return unpack(full.data)
        raise AssertionError(f"{user} has no session")

    async def get(self, path: str = "/", *, sid: str = "", user: str = "", **named: Any) -> httpx2.Response:
        return await self.ask("GET", path, sid=sid, user=user, **named)

    async def ask(self, method: str, path: str, *, sid: str = "", user: str = "", **named: Any) -> httpx2.Response:
        headers = list(named.pop("headers", []))
        self.client.cookies.clear()  # a test sends the cookies that it means
        if sid:
            headers.append(("X-Session-ID", sid))
        if user:
            headers.append(("Authorization", f"Bearer {token(user)}"))
        return await self.client.request(method, path, headers=headers, **named)

    async def total(self) -> int:
        """How many sessions there are."""
        total: int = (await self.store.list(Query(limit=0), now=self.clock.now())).total
        return total


@asynccontextmanager
async def world(
    routes: Any,
    *,
    store: Callable[[Store], Any] | None = None,
    observers: tuple[Observer, ...] = (),
    api: str | None = None,
    **keywords: Any,
) -> AsyncIterator[World]:
    """An app (or its routes) behind the middleware; `store` wraps the memory store, keywords are settings."""
    clock = ManualClock()
    memory = MemoryStore(clock=clock)
    sessionware = Sessionware(
        settings_of(**keywords), store=memory if store is None else store(memory), observers=observers
    )
    app = SessionMiddleware(Starlette(routes=routes) if isinstance(routes, list) else routes, sessionware, api=api)
    async with sessionware:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx2.AsyncClient(transport=transport, base_url="http://app.test") as client:
            yield World(app, client, clock)
