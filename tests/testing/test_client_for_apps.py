"""A test's client of an app: signed in as anybody, at any time, and nothing of it is left in the app afterwards."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import fastapi
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from litestar import Litestar, get
from litestar import Request as LitestarRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route

from sessionware import SessionMiddleware, Sessionware
from sessionware.clock import HostClock
from sessionware.config.settings import IssuerSettings, Settings
from sessionware.core.store import Query
from sessionware.stores.memory import MemoryStore
from sessionware.testing import ManualClock, SigningKey, client

SECRET = "a secret of more than thirty-two bytes, for tests"
HOUR_MS = 3_600_000
PEM = SigningKey("RS256", key=rsa.generate_private_key(public_exponent=65537, key_size=2048)).pem


def told(story: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Tell an async story as a test."""

    def test() -> None:
        asyncio.run(story())  # type: ignore[arg-type]  # every story is a coroutine

    test.__name__, test.__doc__, test.__module__ = story.__name__, story.__doc__, story.__module__
    return test


async def whoami(request: Request) -> JSONResponse:
    session = request.state.session
    session.data["turns"] = session.data.get("turns", 0) + 1
    return JSONResponse(
        {
            "user": session.user_id,
            "org": session.org_id,
            "groups": list(session.groups),
            "scopes": list(session.identity.scopes) if session.identity else [],
            "turns": session.data["turns"],
        }
    )


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


ROUTES = [Route("/", whoami), Route("/echo", echo, methods=["POST"])]


def wrapped(**settings: Any) -> SessionMiddleware:
    return SessionMiddleware(Starlette(routes=ROUTES), **settings)


async def answer(app: Any, user: str | None = "alice", **how: Any) -> dict[str, Any]:
    """What the app says to one request of that user."""
    async with client(app, user, clock=ManualClock(), **how) as someone:
        found = await someone.get("/")
        assert found.status_code == 200, found.text
        body: dict[str, Any] = found.json()
        return body


@told
async def test_everything_that_a_token_says_arrives():
    assert await answer(wrapped(), groups=["pro", "beta"], org="acme", scopes=["read", "write"]) == {
        "user": "alice", "org": "acme", "groups": ["pro", "beta"], "scopes": ["read", "write"], "turns": 1,
    }  # fmt: skip


@told
async def test_without_a_user_nobody_asks():
    assert (await answer(wrapped(), None))["user"] is None


@told
async def test_other_users_have_clients_of_the_same_running_app():
    async with client(wrapped(), "alice", clock=ManualClock()) as alice:
        bob, nobody = alice.as_user("bob", groups=["free"]), alice.as_user(None)
        assert (await alice.get("/")).json()["turns"] == 1
        assert (await alice.get("/")).json()["turns"] == 2
        found = (await bob.get("/")).json()
        assert (found["user"], found["groups"], found["turns"]) == ("bob", ["free"], 1)
        assert (await nobody.get("/")).json()["user"] is None
    assert alice.is_closed
    assert bob.is_closed
    assert nobody.is_closed


@told
async def test_time_stands_still_until_it_is_moved():
    """A20: without any wait the idle time is over; the token is renewed on the way."""
    clock = ManualClock()
    async with client(wrapped(), "alice", clock=clock) as alice:
        assert [(await alice.get("/")).json()["turns"] for _ in range(2)] == [1, 2]
        clock.advance(HOUR_MS)
        assert (await alice.get("/")).json()["turns"] == 1
        clock.advance(30 * 24 * HOUR_MS)
        assert (await alice.get("/")).json()["turns"] == 1


@told
async def test_a_claim_of_the_tests_own_stands_above_the_others():
    async with client(wrapped(), "alice", clock=ManualClock(), sid="work") as alice:
        assert (await alice.get("/")).json()["turns"] == 1
        late = alice.as_user("alice", exp=1)
        assert (await late.get("/")).status_code == 401
        assert (await alice.get("/", headers={"Authorization": "Bearer of.bad.news"})).status_code == 401
        assert (await alice.get("/", headers={"X-Session-ID": "work"})).json()["turns"] == 2


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"jwt_claim_user": "email", "jwt_max_age": 60},
        {"jwt_secret": SECRET},
        {"jwt_secret": SECRET, "jwt_issuer": "https://login.test", "jwt_audience": "api"},
        {"jwt_secret": SECRET * 2, "jwt_algorithms": "HS512"},
        {"jwt_public_key": PEM, "jwt_types": "JWT"},
        {"jwt_jwks_url": "https://nowhere.invalid/keys", "jwt_issuer": "https://nowhere.invalid"},
        {"jwt_issuer": "https://nowhere.invalid", "public_url": "https://app.test", "jwt_max_age": 600},
        {"issuers": [{"issuer": "https://one.invalid"}, {"issuer": "https://two.invalid", "audience": "api"}]},
        {"jwt_claim_user": "email", "jwt_claim_groups": "realm_access.roles", "jwt_claim_org": "https://x/org,org",
         "jwt_claim_scope": "scp", "jwt_secret": SECRET},
    ],
    ids=lambda settings: "-".join(settings) or "none",
)  # fmt: skip
def test_whatever_issuer_an_app_trusts_the_token_is_one_of_its(settings):
    found = asyncio.run(answer(wrapped(**settings), groups=["pro"], org="acme", scopes=["read"]))
    assert found == {"user": "alice", "org": "acme", "groups": ["pro"], "scopes": ["read"], "turns": 1}


@told
async def test_tokens_of_the_apps_own_secret_are_good_meanwhile():
    """An app that signs its own at a login of its own."""
    clock = ManualClock()
    now = clock.now() // 1000
    own = jwt.encode({"sub": "carol", "iat": now, "exp": now + 60}, SECRET, "HS256")
    async with client(wrapped(jwt_secret=SECRET), clock=clock) as nobody:
        found = await nobody.get("/", headers={"Authorization": f"Bearer {own}"})
        assert found.json()["user"] == "carol"


@told
async def test_tokens_of_the_apps_own_key_pair_are_good_meanwhile():
    clock, key = ManualClock(), SigningKey("RS256", kid="prod")
    now = clock.now() // 1000
    own = key.sign({"sub": "carol", "iat": now, "exp": now + 60})
    async with client(wrapped(jwt_public_key=key.pem), "alice", clock=clock) as alice:
        assert (await alice.get("/")).json()["user"] == "alice"
        found = await alice.get("/", headers={"Authorization": f"Bearer {own}"})
        assert found.json()["user"] == "carol"


@told
async def test_a_user_by_name_is_the_one_of_the_token():
    """What an app asks of `sessions` by `user=` means the same people in tests."""
    for settings in ({}, {"jwt_secret": SECRET, "jwt_issuer": "https://login.test"}):
        app = wrapped(**settings, api="/")
        async with client(app, "alice", clock=ManualClock()) as alice:
            await alice.get("/")
            admin = alice.as_user("root", scopes=["sessionware:admin"])
            listed = await admin.get("/sessions", params={"user": "alice"})
            assert [each["name"] for each in listed.json()["sessions"]] == ["default"]


def installed() -> Any:
    app = fastapi.FastAPI(routes=list[BaseRoute](ROUTES))
    Sessionware(Settings(jwt_secret=SECRET)).install(app)
    return app


def added() -> Any:
    app: Any = Starlette(routes=ROUTES)
    app.add_middleware(SessionMiddleware, jwt_secret=SECRET, jwt_issuer="https://login.test")
    return app


def mounted() -> Any:
    """Nobody tells a mounted app of the lifespan: it starts with its first request."""
    return Starlette(routes=[Mount("/", app=wrapped(jwt_secret=SECRET, jwt_issuer="https://login.test"))])


def bare() -> Any:
    """An app that refuses lifespans, as Django does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError(f"not a request: {scope['type']}")
        await whoami(Request(scope, receive))  # counts its turn
        body = await whoami(Request(scope, receive))
        scope["state"]["session"].data["turns"] -= 1
        await JSONResponse({"user": scope["state"]["session"].user_id, "turns": _turns(body) - 1})(scope, receive, send)

    return SessionMiddleware(app)


def _turns(response: JSONResponse) -> int:
    return int(bytes(response.body).split(b'"turns":')[1].rstrip(b"}"))


def litestar() -> Any:
    @get("/")
    async def turn(request: LitestarRequest[Any, Any, Any]) -> dict[str, Any]:
        session = request.scope["state"]["session"]
        session.data["turns"] = session.data.get("turns", 0) + 1
        return {"user": session.user_id, "turns": session.data["turns"]}

    middleware: Any = SessionMiddleware
    return Litestar(route_handlers=[turn], middleware=[middleware], openapi_config=None)


@pytest.mark.parametrize("made", [installed, added, mounted, bare, litestar, wrapped], ids=lambda made: made.__name__)
def test_an_app_may_be_built_in_any_way_and_every_client_finds_it_fresh(made):
    app = made()

    async def once() -> list[Any]:
        async with client(app, "alice", clock=ManualClock()) as alice:
            found = [(await alice.get("/")).json() for _ in range(2)]
            return [(each["user"], each["turns"]) for each in found]

    async def twice() -> None:
        for _ in range(2):
            assert await once() == [("alice", 1), ("alice", 2)]

    asyncio.run(twice())
    assert asyncio.run(once()) == [("alice", 1), ("alice", 2)]  # on another loop, too


@told
async def test_a_request_that_starts_its_app_is_sent_again_whole():
    app = mounted()
    async with client(app, "alice", clock=ManualClock()) as alice:
        assert (await alice.post("/echo", content=b"all of it")).text == "all of it"


@told
async def test_nothing_of_it_is_left_in_the_app():
    """Its own store, its own issuers and its own time hold again."""
    own, lent = MemoryStore(), MemoryStore(clock=ManualClock())
    sessionware = Sessionware(Settings(jwt_secret=SECRET, jwt_issuer="https://login.test"), store=own)
    app = SessionMiddleware(Starlette(routes=ROUTES), sessionware)
    async with client(app, "alice", store=lent) as alice:
        assert (await alice.get("/")).status_code == 200
        assert (await lent.list(Query(limit=0), now=lent.clock.now())).total == 1
        token = alice.token
    assert not sessionware.is_started
    async with sessionware:
        assert sessionware.engine.runtime.store is own
        assert [issuer.algorithms for issuer in sessionware.engine.resolver.jwt.issuers] == [{"HS256"}]  # type: ignore[union-attr]  # it has one
    assert (await own.list(Query(limit=0), now=own.clock.now())).total == 0
    assert token


def test_a_memory_store_of_the_apps_own_begins_anew_each_time_and_a_lasting_one_lasts(tmp_path):
    async def turns(app: Any) -> int:
        async with client(app, "alice") as alice:
            return int((await alice.get("/")).json()["turns"])

    async def live() -> None:
        for store, found in (("memory://", [1, 1]), (f"sqlite:///{tmp_path}/sessions.db", [1, 2])):
            app = wrapped(store=store)
            assert [await turns(app) for _ in range(2)] == found

    asyncio.run(live())


@told
async def test_without_a_clock_the_app_keeps_its_own_store_and_time():
    own = MemoryStore(clock=ManualClock())
    app = SessionMiddleware(Starlette(routes=ROUTES), Sessionware(store=own))
    async with client(app, "alice") as alice:
        assert (await alice.get("/")).status_code == 200
        assert (await own.list(Query(limit=0), now=own.clock.now())).total == 1
    async with client(wrapped(), "alice") as alice:
        assert abs(jwt.decode(alice.token, options={"verify_signature": False})["iat"] - HostClock().now() // 1000) < 60


@told
async def test_startup_and_shutdown_run_around_it_and_their_state_arrives():
    seen = []

    @asynccontextmanager
    async def lifespan(_: Starlette):
        seen.append("up")
        yield {"greeting": "hello"}
        seen.append("down")

    async def greet(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.state.greeting} {request.state.session.user_id}")

    app = SessionMiddleware(Starlette(routes=[Route("/", greet)], lifespan=lifespan))
    async with client(app, "alice") as alice:
        assert seen == ["up"]
        assert (await alice.get("/")).text == "hello alice"
        assert app.sessionware.is_started
    assert seen == ["up", "down"]
    assert not app.sessionware.is_started


@pytest.mark.parametrize("stage", ["startup", "shutdown"])
def test_what_goes_wrong_at_the_apps_ends_is_raised(stage):
    @asynccontextmanager
    async def lifespan(_: Starlette):
        if stage == "startup":
            raise LookupError("startup")
        yield
        raise LookupError("shutdown")

    async def live() -> None:
        async with client(SessionMiddleware(Starlette(lifespan=lifespan))):
            assert stage == "shutdown"

    with pytest.raises(LookupError, match=stage):
        asyncio.run(live())


@told
async def test_an_app_without_sessions_is_told_apart_from_a_bad_token():
    async def closed(_: Request) -> PlainTextResponse:
        return PlainTextResponse("no", status_code=401)

    app = Starlette(routes=[Route("/", closed)])
    async with client(app, "alice") as alice:
        with pytest.raises(RuntimeError, match="does the app have SessionMiddleware"):
            await alice.get("/")
        assert (await alice.as_user(None).get("/")).status_code == 401


@told
async def test_a_clock_belongs_to_one_store():
    with pytest.raises(ValueError, match=r"MemoryStore\(clock=clock\)"):
        async with client(wrapped(), clock=ManualClock(), store=MemoryStore()):
            raise AssertionError("never reached")


@told
async def test_issuers_that_stand_beside_each_other_stay():
    """Only the first gets a key of ours."""
    two = (IssuerSettings(issuer="https://a.invalid", public_key=PEM), IssuerSettings(issuer="https://b.invalid"))
    sessionware = Sessionware(Settings(issuers=two))
    async with client(SessionMiddleware(Starlette(routes=ROUTES), sessionware), "alice") as alice:
        assert (await alice.get("/")).json()["user"] == "alice"
        claims = jwt.decode(alice.token, options={"verify_signature": False})
        assert claims["iss"] == "https://a.invalid"
