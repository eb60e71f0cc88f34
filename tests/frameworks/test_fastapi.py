"""FastAPI with the middleware in front and our dependencies in its endpoints."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sessionware import ConfigError, LimitExceeded, SessionMiddleware, Sessionware
from sessionware.integrations.fastapi import CurrentSession, Limited, OptionalSession, install_openapi
from tests.frameworks.asking import Answered, asked, statuses
from tests.serving import Server


def turn(session: CurrentSession) -> dict[str, Any]:
    """A `def` endpoint: it runs in a thread."""
    session.sync.update(lambda data: data.update(turns=data.get("turns", 0) + 1))
    return {"id": session.id, "turns": session.data["turns"]}


async def ok() -> str:
    return "ok"


def app_with(*limits: str, at: str = "/x", **how: Any) -> FastAPI:
    """One route with these limits."""
    app = FastAPI(**how)
    app.get(at, dependencies=[Limited(*limits)])(ok)
    return app


@asynccontextmanager
async def client_of(app: FastAPI, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """The app behind the middleware, without a server; strangers come from one address."""
    async with Sessionware.from_env(**{"limits": "off"} | settings) as sessionware:
        sessionware.install(app)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://app.test") as client:
            yield client


def live(scenario: Callable[[httpx2.AsyncClient], Any], app: FastAPI, **settings: Any) -> None:
    async def run() -> None:
        async with client_of(app, **settings) as client:
            await scenario(client)

    asyncio.run(run())


# ------------------------------------------------------------------ the session


def test_a_def_and_an_async_endpoint_get_the_same_session() -> None:
    """B39, E4."""
    app = FastAPI()
    app.get("/turn")(turn)

    @app.get("/peek")
    async def peek(session: CurrentSession) -> dict[str, Any]:
        return dict(session.data)

    async def scenario(client: httpx2.AsyncClient) -> None:
        sid = (await client.get("/turn")).headers["x-session-id"]
        client.headers["X-Session-ID"] = sid
        assert (await client.get("/turn")).json() == {"id": sid, "turns": 2}
        assert (await client.get("/peek")).json() == {"turns": 2}

    live(scenario, app)


def test_without_a_session_the_current_one_is_401_and_the_optional_one_none() -> None:
    """B39: the text of the row."""
    app = FastAPI()
    app.get("/turn")(turn)

    @app.get("/maybe")
    async def maybe(session: OptionalSession) -> bool:
        return session is None

    async def scenario(client: httpx2.AsyncClient) -> None:
        refused = await client.get("/turn")
        assert (refused.status_code, refused.json()["error"]) == (401, "No session ID provided")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["www-authenticate"] == "Session"
        assert (await client.get("/maybe")).json() is True

    live(scenario, app, on_missing="anonymous")


def test_an_exempt_path_has_no_session_and_takes_from_no_limit() -> None:
    app = FastAPI(dependencies=[Limited("1/day per client")])

    @app.get("/health")
    async def health(session: OptionalSession) -> bool:
        return session is None

    async def scenario(client: httpx2.AsyncClient) -> None:
        assert [(await client.get("/health")).json() for _ in range(3)] == [True] * 3

    live(scenario, app)


def test_without_the_middleware_the_error_says_what_to_do() -> None:
    async def run() -> None:
        app = FastAPI()
        app.get("/turn")(turn)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://app.test") as client:
            with pytest.raises(RuntimeError, match=r"app\.add_middleware\(SessionMiddleware\)"):
                await client.get("/turn")

    asyncio.run(run())


# ------------------------------------------------------------------ limits of routes


def test_a_limit_counts_by_the_template_and_never_by_the_path() -> None:
    """B40."""

    async def scenario(client: httpx2.AsyncClient) -> None:
        assert await statuses(client, "/items/1", "/items/2", "/items/3") == [200, 200, 429]

    live(scenario, app_with("2/day per client", at="/items/{item_id}"))


def test_limits_keep_working_under_include_router_and_each_inclusion_counts_for_itself() -> None:
    """The peers' fault: FastAPI's route in the scope does not know its prefix."""
    inner = APIRouter(prefix="/inner", dependencies=[Limited("2/day per client")])
    inner.get("/x")(ok)
    inner.post("/x")(ok)
    outer = APIRouter(prefix="/outer")
    outer.include_router(inner)
    app = FastAPI()
    app.include_router(outer)
    app.include_router(inner, prefix="/v2")
    app.include_router(inner, prefix="/v3", dependencies=[Limited("1/day per client")])

    async def scenario(client: httpx2.AsyncClient) -> None:
        assert await statuses(client, *["/outer/inner/x"] * 3) == [200, 200, 429]
        assert await statuses(client, *["/v2/inner/x"] * 3) == [200, 200, 429]
        assert await statuses(client, *["POST /v2/inner/x"] * 3) == [200, 200, 429]
        assert await statuses(client, *["/v3/inner/x"] * 2) == [200, 429]
        refused = (await client.get("/v2/inner/x")).json()
        assert refused["limit"] == "requests-day-client-get-v2-inner-x"

    live(scenario, app)


def test_a_limit_of_the_app_and_the_same_one_of_the_route_are_taken_once() -> None:
    app = FastAPI(dependencies=[Limited("2/day per client")])
    app.get("/x", dependencies=[Limited("2/day per client")])(ok)
    app.get("/y")(ok)

    async def scenario(client: httpx2.AsyncClient) -> None:
        assert await statuses(client, "/x", "/x", "/x", "/y") == [200, 200, 429, 200]

    live(scenario, app)


def test_a_named_limit_counts_its_routes_together_each_at_its_cost() -> None:
    app = FastAPI()
    app.get("/cheap", dependencies=[Limited("chat=10/day per client")])(ok)
    app.get("/dear", dependencies=[Limited("chat=10/day per client", cost=8)])(ok)

    async def scenario(client: httpx2.AsyncClient) -> None:
        assert await statuses(client, "/dear", "/cheap", "/cheap", "/cheap", "/dear") == [200, 200, 200, 429, 429]

    live(scenario, app)


@pytest.mark.parametrize("prefix", ["/static", "/tenants/{tenant}"])
def test_a_mounted_app_counts_by_the_template_of_its_mount(prefix):
    outer = FastAPI()
    outer.mount(prefix, app_with("2/day per client"))
    outer.mount("/other", app_with("2/day per client"))

    async def scenario(client: httpx2.AsyncClient) -> None:
        paths = [f"{prefix.replace('{tenant}', tenant)}/x" for tenant in ("a", "b", "c")]
        assert await statuses(client, *paths, "/other/x") == [200, 200, 429, 200]
        limit = (await client.get(paths[0])).json()["limit"]
        assert limit == f"requests-day-client-get-{prefix[1:].replace('/{', '-').replace('}', '')}-x"

    live(scenario, outer)


def test_a_mount_within_a_mount_is_written_out() -> None:
    app = Starlette(routes=[Mount("/a/{one}", routes=[Mount("/b/{two}", app=app_with("1/day per client"))])])

    async def scenario() -> None:
        async with Sessionware.from_env(limits="off") as sessionware:
            transport = httpx2.ASGITransport(app=SessionMiddleware(app, sessionware))
            async with httpx2.AsyncClient(transport=transport, base_url="http://app.test") as client:
                assert await statuses(client, "/a/1/b/2/x", "/a/3/b/4/x") == [200, 429]
                refused = (await client.get("/a/1/b/2/x")).json()
                assert refused["limit"] == "requests-day-client-get-a-one-b-two-x"

    asyncio.run(scenario())


def test_a_bad_limit_fails_where_it_is_written() -> None:
    with pytest.raises(ConfigError, match="the route itself is what this limit speaks of"):
        Limited("10/day per user for /items")


# ------------------------------------------------------------------ errors


async def greedy(session: CurrentSession) -> None:
    """Takes all there is, and then some."""
    await session.spend(tokens=10)
    await session.spend(tokens=1)


async def sub(_: Annotated[None, Depends(greedy)]) -> None: ...


def in_a_thread(session: CurrentSession) -> None:
    session.sync.spend(tokens=10)
    session.sync.spend(tokens=1)


async def in_the_background(session: CurrentSession, tasks: BackgroundTasks) -> str:
    tasks.add_task(greedy, session)
    return "answered"


async def in_a_stream(session: CurrentSession) -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield "one"
        await greedy(session)
        yield "two"

    return StreamingResponse(parts())


def greedy_app(**how: Any) -> FastAPI:
    """The places where an app may meet a limit."""
    app = FastAPI(**how)
    app.get("/dependency", dependencies=[Depends(greedy)])(ok)
    app.get("/sub", dependencies=[Depends(sub)])(ok)
    app.get("/async")(greedy)
    app.get("/def")(in_a_thread)
    app.get("/background")(in_the_background)
    app.get("/stream")(in_a_stream)
    return app


async def answer_of(app: FastAPI, how: str, path: str) -> Answered:
    """What the app answers behind the middleware, with ten tokens to spend."""
    async with Sessionware.from_env(limits="10 tokens/day per client") as sessionware:
        if how == "install":
            sessionware.install(app)
            return await asked(app, path)
        return await asked(SessionMiddleware(app, sessionware), path)


WHOLE = ["http.response.start", "http.response.body"]
HOW = pytest.mark.parametrize("how", ["install", "wrap"])


@HOW
@pytest.mark.parametrize("path", ["/dependency", "/sub", "/def", "/async"])
@pytest.mark.parametrize("debug", [True, False])
def test_a_limit_that_nobody_catches_is_the_answer(how, path, debug):
    """B40, B42."""
    status, body, sent = asyncio.run(answer_of(greedy_app(debug=debug), how, path))
    assert (status, json.loads(body)["error"]) == (429, "Quota exceeded for tokens: 11/10")
    assert sent == WHOLE


@HOW
def test_a_handler_of_the_apps_own_has_the_word(how):
    app = greedy_app()

    @app.exception_handler(LimitExceeded)
    async def handler(request: Request, error: LimitExceeded) -> JSONResponse:
        return JSONResponse({"mine": error.name}, status_code=402)

    status, body, sent = asyncio.run(answer_of(app, how, "/async"))
    assert (status, json.loads(body), sent) == (402, {"mine": "tokens-day-client"}, WHOLE)


@HOW
def test_a_handler_for_everything_does_not_make_a_500_of_a_limit(how):
    app = greedy_app()

    @app.exception_handler(Exception)
    async def handler(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"oops": True}, status_code=500)

    status, body, sent = asyncio.run(answer_of(app, how, "/async"))
    assert (status, json.loads(body)["code"], sent) == (429, "quota_exceeded", WHOLE)


@HOW
def test_a_limit_met_after_the_answer_changes_nothing_of_it_and_reaches_the_log(how):
    status, body, sent = asyncio.run(answer_of(greedy_app(), how, "/background"))
    assert (status, body) == (200, b'"answered"')
    assert sent == [*WHOLE, "raised"]


@HOW
def test_a_limit_met_within_a_stream_ends_it_and_never_starts_a_second_answer(how):
    """The peers' fault: response.start is sent once."""
    status, body, sent = asyncio.run(answer_of(greedy_app(), how, "/stream"))
    assert (status, body) == (200, b"one")
    assert sent == [*WHOLE, "raised"]


# ------------------------------------------------------------------ the document


def test_the_document_says_what_to_send_and_what_is_refused() -> None:
    app = FastAPI()
    app.get("/turn")(turn)
    app.get("/plain", responses={429: {"description": "mine"}})(ok)
    app.get("/health")(ok)
    Sessionware.from_env(session_header="X-Chat", session_cookie="sid").install(app)
    document = app.openapi()
    paths, components = document["paths"], document["components"]
    assert paths["/turn"]["get"]["security"] == [{"SessionID": []}, {"SessionCookie": []}, {"SessionBearer": []}]
    assert {name: scheme.get("name") for name, scheme in components["securitySchemes"].items()} == {
        "SessionID": "X-Chat", "SessionCookie": "sid", "SessionBearer": None,
    }  # fmt: skip
    refused = paths["/turn"]["get"]["responses"]
    assert refused["429"] == {"$ref": "#/components/responses/LimitExceeded"}
    assert refused["401"] == {"$ref": "#/components/responses/SessionRefused"}
    assert "application/problem+json" in components["responses"]["LimitExceeded"]["content"]
    assert "code" in components["schemas"]["SessionProblem"]["properties"]
    assert paths["/plain"]["get"]["responses"]["429"] == {"description": "mine"}
    assert "security" not in paths["/plain"]["get"]
    assert set(paths["/health"]["get"]["responses"]) == {"200"}
    assert app.openapi() == document


def test_the_document_is_complete_without_a_word_when_the_app_starts_up_with_the_middleware() -> None:
    app = FastAPI()
    app.get("/turn")(turn)
    app.add_middleware(SessionMiddleware, limits="off")
    with Server(app) as server:
        operation = httpx2.get(f"{server.url}/openapi.json").json()["paths"]["/turn"]["get"]
    assert {"401", "429"} <= operation["responses"].keys()
    assert operation["security"] == [{"SessionID": []}, {"SessionBearer": []}]


def test_the_document_can_be_made_complete_by_hand() -> None:
    app = FastAPI()
    app.get("/turn")(turn)
    install_openapi(app)
    install_openapi(app)
    assert {"401", "429"} <= app.openapi()["paths"]["/turn"]["get"]["responses"].keys()


# ------------------------------------------------------------------ a real server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, limits="off")

    @app.websocket("/ws", dependencies=[Limited("2/day per client")])
    async def chat(socket: WebSocket, session: CurrentSession) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            session.data.setdefault("heard", []).append(text)
            await socket.send_text(f"{session.id}:{text}")

    router = APIRouter(prefix="/room/{room}")

    @router.websocket("/ws", dependencies=[Limited("1/day per client")])
    async def room(socket: WebSocket, session: CurrentSession) -> None:
        await socket.accept()
        await socket.close()

    @app.get("/heard")
    async def heard(session: CurrentSession) -> list[str]:
        found: list[str] = session.data.get("heard", [])
        return found

    app.include_router(router)
    with Server(app) as served:
        yield served


def test_a_socket_has_its_session_and_is_refused_at_the_handshake_over_its_routes_limit(server):
    sid = httpx2.get(f"{server.url}/heard").headers["x-session-id"]
    for text in ("one", "two"):
        with connect(f"{server.socket_url}/ws", additional_headers={"X-Session-ID": sid}) as socket:
            socket.send(text)
            assert socket.recv() == f"{sid}:{text}"
    with pytest.raises(InvalidStatus) as caught, connect(f"{server.socket_url}/ws"):
        pass
    assert caught.value.response.status_code == 429
    assert json.loads(caught.value.response.body)["limit"] == "requests-day-client-websocket-ws"
    assert httpx2.get(f"{server.url}/heard", headers={"X-Session-ID": sid}).json() == ["one", "two"]


def test_a_socket_of_an_included_router_counts_by_its_template(server):
    with connect(f"{server.socket_url}/room/1/ws"):
        pass
    with pytest.raises(InvalidStatus) as caught, connect(f"{server.socket_url}/room/2/ws"):
        pass
    assert json.loads(caught.value.response.body)["limit"] == "requests-day-client-websocket-room-room-ws"


def test_what_a_background_task_changes_is_saved_when_it_is_done_unless_it_fails():
    app = FastAPI()

    @app.post("/{how}")
    async def begin(session: CurrentSession, tasks: BackgroundTasks, how: str) -> str:
        async def later() -> None:
            await session.update(lambda data: data.update(at_once=how))
            session.data[how] = True
            if how == "fails":
                raise ValueError(how)

        def later_in_a_thread() -> None:
            session.data["thread"] = True

        tasks.add_task(later_in_a_thread)
        tasks.add_task(later)
        return "answered"

    @app.get("/")
    async def look(session: CurrentSession) -> dict[str, Any]:
        return dict(session.data)

    async def scenario(client: httpx2.AsyncClient) -> None:
        for how, kept in (
            ("works", {"thread": True, "works": True, "at_once": "works"}),
            ("fails", {"thread": True, "at_once": "fails"}),  # what was there when `update` wrote
        ):
            begun = await client.post(f"/{how}")
            answer = await client.get("/", headers={"x-session-id": begun.headers["x-session-id"]})
            assert answer.json() == kept

    live(scenario, app)
