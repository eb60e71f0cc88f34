"""What a route's limit takes of a request that is under way, for any framework."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from sessionware.asgi.passage import passage_of
from sessionware.asgi.route_limits import RouteLimit, method_of, take
from sessionware.testing import FaultyStore
from sessionware.testing.faulty import Fault
from tests.asgi.world import World, world

THREE = RouteLimit("3/minute per session")
PER_USER = RouteLimit("2/minute per user")
SHARED = RouteLimit("both=3/minute per user")
COSTLY = RouteLimit("10/minute per user", cost=4)
LADDER = RouteLimit("x=3/minute per client for anonymous", "x=1/minute per client")
ONE_AT_ONCE = RouteLimit("1 concurrent per user")


def route(path: str, *limits: RouteLimit, **how: Any) -> Route:
    """A Starlette endpoint that takes from its limits itself, as an integration does."""

    async def endpoint(request: Request) -> JSONResponse:
        passage = passage_of(request.scope)
        for limit in limits:
            await take(passage, limit, method=method_of(request.scope), template=path)
        return JSONResponse("ok")

    return Route(path, endpoint, **how)


async def log_in(request: Request) -> JSONResponse:
    """The session gets a user, and from then on the user counts."""
    await request.state.session.login("alice")
    await take(passage_of(request.scope), SHARED, method="POST", template="/login")
    return JSONResponse("ok")


async def held(request: Request) -> StreamingResponse:
    """Runs until the test lets it go."""
    await take(passage_of(request.scope), ONE_AT_ONCE, method="GET", template="/held")
    app = request.app

    async def parts():
        yield "begun"
        app.state.begun.set()
        await app.state.let_go.wait()

    return StreamingResponse(parts())


ROUTES = [
    route("/three/{id}", THREE), route("/user", PER_USER, PER_USER), route("/a", SHARED), route("/b", SHARED),
    route("/costly", COSTLY), route("/ladder", LADDER), route("/health", THREE), route("/both", THREE, PER_USER),
    Route("/login", log_in, methods=["POST"]), Route("/held", held),
]  # fmt: skip


def live(scenario: Any, **how: Any) -> None:
    async def run() -> None:
        async with world(ROUTES, **how) as there:
            await scenario(there)

    asyncio.run(run())


async def statuses(there: World, *paths: str, **how: Any) -> list[int]:
    return [(await there.get(path, **how)).status_code for path in paths]


def test_a_route_counts_by_its_template_and_each_session_for_itself() -> None:
    """B40: the path that was asked for makes no counter of its own."""

    async def scenario(there: World) -> None:
        paths = [f"/three/{number}" for number in range(4)]
        assert await statuses(there, *paths, user="alice") == [200, 200, 200, 429]
        assert await statuses(there, "/three/1", user="bob") == [200]

    live(scenario)


def test_a_refusal_says_everything_that_a_client_needs() -> None:
    async def scenario(there: World) -> None:
        await there.get("/a", user="alice")  # makes the session
        allowed = await there.get("/user", user="alice")
        assert allowed.headers["ratelimit-policy"] == (
            '"requests-minute-session";q=100;w=60, "requests-minute-user-get-user";q=2;w=60'
        )
        await there.get("/user", user="alice")
        answer = await there.get("/user", user="alice")
        assert answer.status_code == 429
        assert answer.headers["content-type"] == "application/problem+json"
        said = answer.json()
        assert (said["error"], said["code"], said["limit"]) == (
            "Rate limit exceeded", "rate_limited", "requests-minute-user-get-user",
        )  # fmt: skip
        assert (said["scope"], said["used"], said["allowance"]) == ("user", 2, 2)
        assert int(answer.headers["retry-after"]) == -(-said["retry_after_ms"] // 1000)
        assert answer.headers["ratelimit-policy"] == allowed.headers["ratelimit-policy"]
        assert '"requests-minute-user-get-user";r=0;' in answer.headers["ratelimit"]
        there.clock.advance(said["retry_after_ms"])
        assert (await there.get("/user", user="alice")).status_code == 200

    live(scenario)


def test_a_limit_that_is_asked_for_twice_is_taken_once() -> None:
    async def scenario(there: World) -> None:
        assert await statuses(there, "/user", "/user", "/user", user="alice") == [200, 200, 429]

    live(scenario)


def test_a_named_limit_is_shared_by_all_routes_that_use_it() -> None:
    async def scenario(there: World) -> None:
        assert await statuses(there, "/a", "/b", "/a", "/b", user="alice") == [200, 200, 200, 429]

    live(scenario)


def test_a_cost_is_taken_whole_or_not_at_all() -> None:
    async def scenario(there: World) -> None:
        assert await statuses(there, "/costly", "/costly", "/costly", user="alice") == [200, 200, 429]

    live(scenario)


def test_a_ladder_counts_the_first_rung_that_fits() -> None:
    async def scenario(there: World) -> None:
        assert await statuses(there, "/ladder", "/ladder", user="alice") == [200, 429]
        assert await statuses(there, "/ladder", "/ladder") == [200, 200]

    live(scenario)


def test_an_exempt_path_takes_nothing() -> None:
    async def scenario(there: World) -> None:
        assert await statuses(there, *["/health"] * 5, user="alice") == [200] * 5

    live(scenario)


def test_without_a_session_the_client_counts() -> None:
    async def scenario(there: World) -> None:
        assert await statuses(there, *["/three/1"] * 4) == [200, 200, 200, 429]

    live(scenario, on_missing="anonymous")


def test_a_session_that_was_logged_in_by_the_request_counts_as_its_user() -> None:
    async def scenario(there: World) -> None:
        statuses = [(await there.ask("POST", "/login")).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]

    live(scenario)


def test_a_running_request_holds_its_place_until_its_last_byte() -> None:
    async def scenario(there: World) -> None:
        state = there.app.app.state  # type: ignore[attr-defined]  # the Starlette app behind the middleware
        state.begun, state.let_go = asyncio.Event(), asyncio.Event()
        first = asyncio.ensure_future(there.get("/held", user="alice"))
        async with asyncio.timeout(5):
            await state.begun.wait()
        refused = await there.get("/held", user="alice")
        assert (refused.status_code, refused.json()["limit"]) == (429, "requests-concurrent-user-get-held")
        state.let_go.set()
        assert (await first).text == "begun"
        assert (await there.get("/held", user="alice")).status_code == 200

    live(scenario)


@pytest.mark.parametrize(
    ("sessions", "limits", "expected"),
    [("closed", "local", 503), ("anonymous", "closed", 503), ("anonymous", "local", 200), ("anonymous", "open", 200)],
)
def test_a_store_that_goes_down_after_the_admission_is_met_as_the_settings_say(sessions, limits, expected):
    async def run() -> None:
        faulty: list[FaultyStore] = []

        def store(inner: Any) -> FaultyStore:
            faulty.append(FaultyStore(inner))
            return faulty[0]

        async def endpoint(request: Request) -> JSONResponse:
            faulty[0].on("admit", Fault.REFUSED)
            await take(passage_of(request.scope), THREE, method="GET", template="/")
            return JSONResponse("ok")

        how = {"on_store_down_sessions": sessions, "on_store_down_limits": limits}
        async with world([Route("/", endpoint)], store=store, **how) as there:
            assert (await there.get(user="alice")).status_code == expected

    asyncio.run(run())


def test_the_same_words_are_the_same_limit() -> None:
    assert RouteLimit("1/minute per user") == RouteLimit("1/minute per user")
    assert len({RouteLimit("1/minute per user"), RouteLimit("1/minute per user", cost=1), PER_USER}) == 3
