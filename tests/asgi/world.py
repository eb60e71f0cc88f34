"""The only place that puts an engine together for tests of the edge: real parts, a memory store, a clock of ours."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import jwt
from starlette.applications import Starlette

from sessionware.asgi.ends import Ends
from sessionware.asgi.guard import Guard
from sessionware.asgi.options import Engine, Options
from sessionware.config.settings import Settings
from sessionware.core.limit_grammar import parse_limit, parse_limits
from sessionware.core.payload import unpack
from sessionware.core.policy import compile_policy
from sessionware.core.store import Query
from sessionware.credentials.resolver import Resolver
from sessionware.gate import FailurePolicy, Gate
from sessionware.reaper import Reaper
from sessionware.service.runtime import Runtime
from sessionware.service.terms import Terms
from sessionware.stores.memory import MemoryStore
from sessionware.telemetry import Endings, Observers, Telemetry
from sessionware.telemetry.health import Health
from sessionware.testing import ManualClock

SECRET = "a secret of more than thirty-two bytes, for tests"
ISSUER = "https://login.test"
SETTINGS = Settings(jwt_secret=SECRET, jwt_issuer=ISSUER, jwt_audience=("app",))


def token(sub: str = "alice", **claims: Any) -> str:
    """A token as the issuer of these tests makes them; the verifier is told the clock's time."""
    now = int(ManualClock().now() / 1000)
    claims = {"iss": ISSUER, "aud": "app", "sub": sub, "iat": now, "exp": now + 3600, "jti": f"{sub}-1"} | claims
    return jwt.encode(claims, SECRET, "HS256", headers={"typ": "at+jwt"})


class World:
    """One app behind the guard, and a browser-less client."""

    def __init__(self, app: Guard, engine: Engine, client: httpx2.AsyncClient, clock: ManualClock) -> None:
        self.app = app
        self.engine = engine
        self.client = client
        self.clock = clock

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
        if sid:
            headers.append(("X-Session-ID", sid))
        if user:
            headers.append(("Authorization", f"Bearer {token(user)}"))
        return await self.client.request(method, path, headers=headers, **named)


@asynccontextmanager
async def world(
    routes: list[Any],
    *,
    limits: str = "100/minute per session",
    options: Options | None = None,
    settings: Settings | None = None,
    terms: Terms | None = None,
    store: Any = None,
    deadline_ms: int = 0,
) -> AsyncIterator[World]:
    clock = ManualClock()
    async with MemoryStore(clock=clock) as own, MemoryStore(clock=clock) as local:
        used = store(own) if store is not None else own
        telemetry = Telemetry()
        observers = Observers(telemetry=telemetry)
        endings = Endings(observers, telemetry=telemetry)
        policy = compile_policy(
            parse_limits(limits), addresses=used.addresses, creation=parse_limit("60/minute per user")
        )
        engine = Engine(
            runtime=Runtime(
                store=used, policy=policy, terms=terms or Terms(), telemetry=telemetry, observers=observers,
                endings=endings, reaper=Reaper(used, endings, telemetry=telemetry, interval_ms=60_000), health=Health(),
            ),
            gate=Gate(used, local=local, failure=FailurePolicy(deadline_ms=deadline_ms), telemetry=telemetry),
            resolver=Resolver(settings or SETTINGS, used.addresses),
            ends=Ends(),
            options=options or Options(exempt_paths=frozenset({"/health"})),
        )  # fmt: skip
        app = Guard(Starlette(routes=routes), lambda: engine)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=True)
        engine.gate.start()
        try:
            async with httpx2.AsyncClient(transport=transport, base_url="http://app.test") as client:
                yield World(app, engine, client, clock)
        finally:
            await engine.gate.aclose()
            await engine.resolver.aclose()
