"""Litestar with the plugin: it hides lifespans from middleware and wraps what handlers raise."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from litestar import Controller, Litestar, MediaType, Request, Response, Router, asgi, get, post, types, websocket
from litestar.background_tasks import BackgroundTask
from litestar.connection import WebSocket
from litestar.di import NamedDependency, Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.params import FromPath
from litestar.response import ServerSentEvent, Stream
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sessionware import ConfigError, LimitExceeded, SessionMiddleware, Sessionware
from sessionware.integrations.litestar import CurrentSession, OptionalSession, SessionwarePlugin, limited
from tests.frameworks.asking import asked, statuses
from tests.serving import Server


@get("/turn")
async def turn(session: CurrentSession, request: Request[Any, Any, Any]) -> dict[str, Any]:
    assert request.state.session is session
    assert request.scope["state"]["session"] is session
    session.data["turns"] = session.data.get("turns", 0) + 1
    return {"id": session.id, "turns": session.data["turns"]}


@get("/thread", sync_to_thread=True)
def thread(session: CurrentSession) -> int:
    session.sync.update(lambda data: data.update(turns=data.get("turns", 0) + 1))
    turns: int = session.data["turns"]
    return turns


@get("/maybe")
async def maybe(optional_session: OptionalSession) -> bool:
    return optional_session is None


@get("/health")
async def health(optional_session: OptionalSession) -> bool:
    return optional_session is None


async def greedy(session: Any) -> None:
    await session.spend(tokens=10)
    await session.spend(tokens=1)


async def ok() -> str:
    return "ok"


def app_with(*handlers: Any, plugin: SessionwarePlugin | None = None, **how: Any) -> Litestar:
    return Litestar(list(handlers), plugins=[plugin or SessionwarePlugin(limits="off")], **how)


@asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """The app with its life, without a server."""
    async with app.lifespan():
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://app.test") as client:
            yield client


def live(scenario: Any, app: Litestar) -> None:
    async def run() -> None:
        async with client_of(app) as client:
            await scenario(client)

    asyncio.run(run())


# ------------------------------------------------------------------ the session


def test_the_session_is_the_dependency_and_on_the_state_and_in_threads() -> None:
    """B39, E4."""

    async def scenario(client: httpx2.AsyncClient) -> None:
        sid = (await client.get("/turn")).headers["x-session-id"]
        client.headers["X-Session-ID"] = sid
        assert (await client.get("/turn")).json() == {"id": sid, "turns": 2}
        assert (await client.get("/thread")).json() == 3

    live(scenario, app_with(turn, thread))


def test_without_a_session_the_dependency_is_401_and_the_optional_one_none() -> None:
    async def scenario(client: httpx2.AsyncClient) -> None:
        refused = await client.get("/turn")
        assert (refused.status_code, refused.json()["error"]) == (401, "No session ID provided")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["www-authenticate"] == "Session"
        assert (await client.get("/maybe")).json() is True

    live(scenario, app_with(turn, maybe, plugin=SessionwarePlugin(on_missing="anonymous")))


def test_exempt_paths_and_documents_make_no_session() -> None:
    async def scenario(client: httpx2.AsyncClient) -> None:
        assert (await client.get("/health")).json() is True
        assert "x-session-id" not in (await client.get("/schema/openapi.json")).headers
        assert "x-session-id" in (await client.get("/maybe")).headers

    live(scenario, app_with(maybe, health))


def test_the_plugin_lives_and_dies_with_the_app() -> None:
    """Litestar tells its middleware nothing of a lifespan."""
    plugin, during = SessionwarePlugin(limits="off"), []

    def on_startup() -> None:
        during.append(plugin.sessionware.is_started)

    with Server(app_with(turn, plugin=plugin, on_startup=[on_startup])) as server:
        during.append(plugin.sessionware.is_started)
        assert httpx2.get(f"{server.url}/turn").json()["turns"] == 1
    assert during == [True, True]
    assert not plugin.sessionware.is_started


def test_without_a_lifespan_the_first_request_starts_it() -> None:
    async def run() -> None:
        plugin = SessionwarePlugin(limits="off")
        app: Any = app_with(turn, plugin=plugin)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://app.test") as client:
            assert (await client.get("/turn")).json()["turns"] == 1
        await plugin.sessionware.aclose()

    asyncio.run(run())


def test_the_middleware_around_the_whole_app_works_too() -> None:
    @get("/state")
    async def state(request: Request[Any, Any, Any]) -> str:
        session_id: str = request.state.session.id
        return session_id

    async def greedy_state(request: Request[Any, Any, Any]) -> None:
        await greedy(request.state.session)

    app = SessionMiddleware(Litestar([state, get("/greedy")(greedy_state)]), limits="10 tokens/day per session")
    with Server(app) as server:
        assert app.sessionware.is_started
        answer = httpx2.get(f"{server.url}/state")
        assert answer.text == answer.headers["x-session-id"]
        refused = httpx2.get(f"{server.url}/greedy")
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert not app.sessionware.is_started


def test_what_the_app_provides_itself_stands() -> None:
    async def mine() -> str:
        return "mine"

    @get("/")
    async def index(session: NamedDependency[str]) -> str:
        return session

    async def scenario(client: httpx2.AsyncClient) -> None:
        assert (await client.get("/")).text == "mine"

    live(scenario, app_with(index, dependencies={"session": Provide(mine)}))


def test_settings_beside_a_ready_sessionware_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="limits belong to the Sessionware"):
        SessionwarePlugin(Sessionware(), limits="off")


# ------------------------------------------------------------------ limits of routes


def test_a_guard_counts_by_the_template_under_every_router() -> None:
    """B40."""

    @get("/items/{item_id:int}", guards=[limited("2/day per client")])
    async def item(item_id: FromPath[int]) -> int:
        return item_id

    async def scenario(client: httpx2.AsyncClient) -> None:
        assert await statuses(client, "/items/1", "/items/2", "/items/3") == [200, 200, 429]
        assert await statuses(client, *[f"/v2/items/{number}" for number in range(3)]) == [200, 200, 429]
        refused = await client.get("/v2/items/9")
        assert refused.json()["limit"] == "requests-day-client-get-v2-items-item_id"
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) >= 1
        assert ";r=0;" in refused.headers["ratelimit"]

    live(scenario, app_with(item, Router("/v2", route_handlers=[item])))


def test_guards_of_all_layers_count_each_once_and_names_are_shared() -> None:
    class Chat(Controller):
        path = "/chat"
        guards = (limited("2/day per client"), limited("all=5/day per client"))

        @get("/", guards=[limited("2/day per client")])
        async def read(self) -> str:
            return "ok"

        @post("/", guards=[limited("all=5/day per client", cost=2)])
        async def write(self) -> str:
            return "ok"

    async def scenario(client: httpx2.AsyncClient) -> None:
        assert await statuses(client, "/chat", "/chat", "/chat") == [200, 200, 429]
        assert await statuses(client, "POST /chat", "POST /chat") == [201, 429]

    live(scenario, app_with(Chat))


def test_mounted_apps_count_apart() -> None:
    async def answer(scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def mounted(path: str) -> Any:
        return asgi(path, is_mount=True, copy_scope=True, guards=[limited("1/day per client")])(answer)

    async def scenario(client: httpx2.AsyncClient) -> None:
        assert await statuses(client, "/one/a", "/one/b", "/in/two/a", "/in/two/b") == [200, 429, 200, 429]
        assert (await client.get("/in/two/c")).json()["limit"] == "requests-day-client-get-in-two"

    live(scenario, app_with(mounted("/one"), Router("/in", route_handlers=[mounted("/two")])))


# ------------------------------------------------------------------ errors


@get("/handler")
async def in_the_handler(session: CurrentSession) -> None:
    await greedy(session)


@get("/background")
async def in_the_background(session: CurrentSession) -> Response[str]:
    return Response("answered", background=BackgroundTask(greedy, session), media_type=MediaType.TEXT)


@get("/stream")
async def in_a_stream(session: CurrentSession) -> Stream:
    async def parts() -> AsyncIterator[str]:
        yield "one"
        await greedy(session)
        yield "two"

    return Stream(parts())


def greedy_app(**how: Any) -> Litestar:
    plugin = SessionwarePlugin(limits="10 tokens/day per client")

    async def cleared(session: CurrentSession) -> None:
        await greedy(session)

    class Sub(Controller):
        dependencies = {"cleared": Provide(cleared)}  # noqa: RUF012  # Litestar's own way

        @get("/dependency")
        async def dependency(self, cleared: NamedDependency[None]) -> None: ...

    return app_with(in_the_handler, in_the_background, in_a_stream, Sub, plugin=plugin, **how)


@pytest.mark.parametrize("path", ["/handler", "/dependency"])
@pytest.mark.parametrize("debug", [True, False])
def test_a_limit_that_nobody_catches_is_our_answer_and_not_litestars(path, debug):
    answered = asyncio.run(asked(greedy_app(debug=debug), path))
    assert (answered.status, json.loads(answered.body)["error"]) == (429, "Quota exceeded for tokens: 11/10")
    assert answered.sent == ["http.response.start", "http.response.body"]


def test_a_handler_of_the_apps_own_has_the_word() -> None:
    def mine(request: Request[Any, Any, Any], error: LimitExceeded) -> Response[Any]:
        return Response({"mine": error.name}, status_code=402)

    answered = asyncio.run(asked(greedy_app(exception_handlers={LimitExceeded: mine}), "/handler"))
    assert (answered.status, json.loads(answered.body)) == (402, {"mine": "tokens-day-client"})


@pytest.mark.parametrize(("path", "body"), [("/background", b"answered"), ("/stream", b"one")])
def test_a_limit_met_after_the_answer_began_never_starts_a_second_one(path, body):
    async def run() -> list[str]:
        sent: list[Any] = []
        app = greedy_app()

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            async def heard(message: Any) -> None:
                sent.append(message)
                await send(message)

            await app(scope, receive, heard)

        with pytest.raises(Exception, match="after response started"):
            await asked(watched, path)
        assert b"".join(message.get("body", b"") for message in sent) == body
        return [message["type"] for message in sent]

    assert asyncio.run(run()).count("http.response.start") == 1


# ------------------------------------------------------------------ the document and the API


def test_the_document_says_what_to_send_and_what_is_refused() -> None:
    plugin = SessionwarePlugin(session_header="X-Chat", session_cookie="sid")
    app = app_with(turn, health, plugin=plugin, openapi_config=OpenAPIConfig("chat", "1"))
    document: Any = app.openapi_schema.to_schema()
    assert document["security"] == [{"SessionID": []}, {"SessionCookie": []}, {"SessionBearer": []}]
    schemes = document["components"]["securitySchemes"]
    assert {name: scheme.get("name") for name, scheme in schemes.items()} == {
        "SessionID": "X-Chat", "SessionCookie": "sid", "SessionBearer": None,
    }  # fmt: skip
    responses = document["paths"]["/turn"]["get"]["responses"]
    assert set(responses) == {"200", "401", "429"}
    assert set(responses["429"]["content"]) == {"application/problem+json"}
    assert "code" in document["components"]["schemas"]["SessionProblem"]["properties"]
    assert set(document["paths"]["/health"]["get"]["responses"]) == {"200"}


def test_an_app_without_a_document_needs_none() -> None:
    assert app_with(turn, openapi_config=None).openapi_config is None


def test_the_session_api_is_served_under_its_path_and_makes_no_session_of_its_own() -> None:
    plugin = SessionwarePlugin(limits="off", api="/auth")

    async def scenario(client: httpx2.AsyncClient) -> None:
        started = await client.post("/auth/session/start")
        assert started.status_code == 201
        client.headers["X-Session-ID"] = started.json()["session_id"]
        assert (await client.get("/turn")).json() == {"id": started.json()["session_id"], "turns": 1}
        assert (await client.get("/auth/session/current/status")).json()["total_requests"] == 1
        assert len((await client.get("/auth/sessions")).json()["sessions"]) == 1
        assert (await client.get("/auth/health")).status_code == 200
        assert (await client.get("/auth/nothing")).json()["code"] == "not_found"
        assert await plugin.sessionware.sessions.count(everyone=True) == 1

    live(scenario, app_with(turn, plugin=plugin))


def test_the_session_api_at_the_root_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r'wrap the app instead: SessionMiddleware\(app, api="/"\)'):
        SessionwarePlugin(api="/")


# ------------------------------------------------------------------ a real server


@get("/events")
async def events(session: CurrentSession) -> ServerSentEvent:
    async def parts() -> AsyncIterator[str]:
        for number in range(3):
            session.data["part"] = number
            yield str(number)

    return ServerSentEvent(parts())


@websocket("/room/{room:str}", guards=[limited("2/day per client")])
async def room(socket: WebSocket[Any, Any, Any], session: CurrentSession, room: FromPath[str]) -> None:
    await socket.accept()
    session.data["room"] = room
    await socket.send_text(session.id)
    await socket.close()


@get("/data")
async def data(session: CurrentSession) -> dict[str, Any]:
    return dict(session.data)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(app_with(events, room, data)) as served:
        yield served


def test_a_stream_comes_part_by_part_and_what_it_writes_is_saved(server):
    with httpx2.stream("GET", f"{server.url}/events") as answer:
        sid = answer.headers["x-session-id"]
        lines = [line for line in answer.iter_lines() if line.startswith("data")]
    assert lines == ["data: 0", "data: 1", "data: 2"]
    assert httpx2.get(f"{server.url}/data", headers={"X-Session-ID": sid}).json() == {"part": 2}


def test_a_socket_has_its_session_and_is_refused_at_the_handshake_over_its_routes_limit(server):
    sid = httpx2.get(f"{server.url}/data").headers["x-session-id"]
    for name in ("a", "b"):
        with connect(f"{server.socket_url}/room/{name}", additional_headers={"X-Session-ID": sid}) as socket:
            assert socket.recv() == sid
    assert httpx2.get(f"{server.url}/data", headers={"X-Session-ID": sid}).json() == {"room": "b"}
    with pytest.raises(InvalidStatus) as caught, connect(f"{server.socket_url}/room/c"):
        pass
    assert caught.value.response.status_code == 429
    assert json.loads(caught.value.response.body)["limit"] == "requests-day-client-websocket-room-room"
