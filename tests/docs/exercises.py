"""What each page promises of the app that it builds, asked of that app. Run as a script: one page, by its name."""

import asyncio
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from sessionware.clock import wall_ms
from tests.docs.blocks import DOCS, ran

MINUTE_MS = 60_000


def quick_start(page: ModuleType) -> None:
    with TestClient(page.app) as client:
        first = client.post("/chat")
        sid = first.headers["x-session-id"]
        assert first.headers["cache-control"] == "private, no-store"
        assert 'create";q=60;w=60' in first.headers["ratelimit-policy"]
        assert first.json() == {"session": sid, "turns": 1}
        second = client.post("/chat", headers={"X-Session-ID": sid})
        assert second.json() == {"session": sid, "turns": 2}
        assert "x-session-id" not in second.headers
        assert client.post("/chat").json()["turns"] == 1
        rest = [client.post("/chat", headers={"X-Session-ID": sid}).status_code for _ in range(99)]
        assert rest == [200] * 98 + [429]


def concepts(page: ModuleType) -> None:
    assert page.printed.splitlines() == ["['private', 'work']"]
    with TestClient(page.app) as client:
        first = client.get("/")
        sid = first.headers["x-session-id"]
        assert first.json() == {"seen": ["home"], "visits": 1}
        second = client.get("/?page=shop", headers={"X-Session-ID": sid})
        assert second.json() == {"seen": ["home", "shop"], "visits": 2}


def identity(page: ModuleType) -> None:
    with TestClient(page.app, base_url="https://app.test") as client:
        assert client.get("/me").json() == {"user": None}
        assert client.post("/login", params={"user": "alice", "password": "wrong"}).status_code == 401
        assert client.post("/login", params={"user": "alice", "password": "correct horse"}).json() == {"user": "alice"}
        assert "__Host-session" in client.cookies
        assert client.get("/me").json() == {"user": "alice"}
        client.post("/logout")
        assert client.get("/me").json() == {"user": None}


def limits(page: ModuleType) -> None:
    with TestClient(page.app) as client:
        first = client.get("/generate")
        headers = {"X-Session-ID": first.headers["x-session-id"]}
        left = client.get("/generate?used=1200", headers=headers).headers["ratelimit"]
        assert '"tokens-day-user";r=9468' in left
        codes = [client.get("/export", headers=headers).status_code for _ in range(2)]
        assert codes == [200, 429]  # seven seconds of five are booked, and refuse the next request
        body = client.get("/export", headers=headers).json()
        assert body["error"] == "Quota exceeded for compute_seconds: 8/5"
        assert body["code"] == "quota_exceeded"
        assert {"type", "title", "status", "limit", "scope", "used", "allowance", "retry_after_ms"} <= body.keys()
    assert asyncio.run(page.promote())["limit"] == 5_000_000


def failure(page: ModuleType) -> None:
    assert page.printed.splitlines() == ["[200, 503, 200]"]


def security(page: ModuleType) -> None:
    assert page.printed.splitlines() == ["Session not found"]


def frameworks(page: ModuleType) -> None:
    for app in (page.app, page.quart_app, page.application):
        with TestClient(app) as client:
            first = client.get("/")
            assert first.json() == {"visits": 1}, app
            again = client.get("/", headers={"X-Session-ID": first.headers["x-session-id"]})
            assert again.json() == {"visits": 2}, app
    with TestClient(page.app) as client:
        assert client.post("/auth/session/start").status_code == 201
    asyncio.run(_bare_and_mounted(page))


async def _bare_and_mounted(page: ModuleType) -> None:
    async with _client(page.bare_app) as client:
        first = await client.get("/")
        headers = {"X-Session-ID": first.headers["x-session-id"]}
        bodies = [first.text, *[(await client.get("/", headers=headers)).text for _ in range(2)]]
        assert bodies[:2] == ["taken", "taken"]
        assert bodies[2].startswith("again in ")
    await page.bare_app.sessionware.aclose()
    async with _client(page.outer) as client:
        first = await client.get("/v1/")
        headers = {"X-Session-ID": first.headers["x-session-id"]}
        codes = [(await client.get("/v1/", headers=headers)).status_code for _ in range(2)]
        assert codes == [200, 429]
    await page.inner.sessionware.aclose()


def fastapi(page: ModuleType) -> None:
    with TestClient(page.app) as client:
        first = client.post("/chat")
        headers = {"X-Session-ID": first.headers["x-session-id"]}
        assert client.post("/chat", headers=headers).json() == {"turns": 2}
        assert client.get("/hello", headers=headers).json() == {"user": None}
        codes = [client.get(f"/items/{number}", headers=headers).status_code for number in range(4)]
        assert codes == [200, 200, 200, 429]
        codes = [client.post("/items/import", headers=headers).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        assert client.post("/plain", headers=headers).json() == {"left": True}
        assert client.get("/stream", headers=headers).text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
        assert client.post("/summary", headers=headers).json()["summary"] is None
        assert client.post("/auth/session/start").status_code == 201
        described = client.get("/openapi.json").json()
        schemes = described["components"]["securitySchemes"].values()
        assert any(each.get("name", "").lower() == "x-session-id" for each in schemes)
        assert {"401", "429"} <= described["paths"]["/chat"]["post"]["responses"].keys()
    with TestClient(page.cors_app) as client:
        origin = {"Origin": page.PAGES[0]}
        preflight = client.options("/note", headers={**origin, "Access-Control-Request-Method": "POST"})
        answers = [preflight, *[client.post("/note", headers=origin) for _ in range(3)]]
        assert [each.status_code for each in answers] == [200, 200, 200, 429]
        assert {each.headers["access-control-allow-origin"] for each in answers} == set(page.PAGES)
        assert client.post("/note", headers={"Origin": "https://evil.example"}).status_code == 403


def litestar(page: ModuleType) -> None:
    with TestClient(page.app) as client:
        first = client.post("/chat")
        headers = {"X-Session-ID": first.headers["x-session-id"]}
        assert client.post("/chat", headers=headers).json() == {"turns": 2}
        codes = [client.get(f"/items/{number}", headers=headers).status_code for number in range(4)]
        assert codes == [200, 200, 200, 429]


def websockets_and_sse(page: ModuleType) -> None:
    with TestClient(page.app) as client:
        sid = client.get("/").text
        with client.websocket_connect("/ws", subprotocols=["sessionware", f"session.{sid}"]) as socket:
            assert socket.accepted_subprotocol == "sessionware"
            for number in (1, 2):
                socket.send_text("hello")
                assert socket.receive_text() == f"{number}: hello"
            socket.send_text("too much")
            closed = socket.receive()
            assert (closed["type"], closed.get("code")) == ("websocket.close", 4429)
        streamed = client.get("/events", params={"session": sid}, headers={"accept": "text/event-stream"})
        assert streamed.text.splitlines()[1] == "data: 2"
        assert client.get("/", params={"session": sid}).text != sid  # a query is read for streams alone
        stranger = "a22222222222." + "A" * 43
        offered = ["sessionware", f"session.{stranger}"]
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/ws", subprotocols=offered):
            pass
        assert refused.value.status_code == 401


def session_api(page: ModuleType) -> None:
    async def ask() -> None:
        async with page.sessionware, _client(page.app) as client:
            assert await page.work("http://test/auth", http=client) == "active"

    asyncio.run(ask())


def observability(page: ModuleType) -> None:
    lines = page.printed.splitlines()
    assert lines[0] == "['ended work: ended', 'started work']"
    text = (DOCS / "observability.md").read_text("utf-8")
    metrics = {line.split("{")[0].split(" ")[0] for line in lines[1:] if line.startswith("sessionware_")}
    named = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in metrics}
    named = {name for name in named if not name.endswith("_created")}
    assert sorted(name for name in named if f"`{name}`" not in text) == []


def migration(page: ModuleType) -> None:
    for package in ("slowapi", "fastapi_limiter"):
        if package in page.peers:
            with TestClient(page.peers[package].app) as client:
                assert [client.get("/items/1").status_code for _ in range(4)] == [200, 200, 200, 429]
    for package in ("starsessions", "itsdangerous"):
        if package in page.peers:
            _visits(page.peers[package].app)
    _visits(page.app)


def _visits(app: Any) -> None:
    with TestClient(app, base_url="https://app.test") as client:
        assert [client.post("/visit").json()["visits"] for _ in range(2)] == [1, 2]


def _client(app: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test")


EXERCISES: dict[str, Callable[[ModuleType], None]] = {
    "quick-start.md": quick_start,
    "concepts.md": concepts,
    "identity.md": identity,
    "limits.md": limits,
    "failure.md": failure,
    "security.md": security,
    "frameworks.md": frameworks,
    "fastapi.md": fastapi,
    "litestar.md": litestar,
    "websockets-and-sse.md": websockets_and_sse,
    "session-api.md": session_api,
    "observability.md": observability,
    "migration.md": migration,
}


def exercise(name: str) -> None:
    """Run a page, and ask of it what it promises; once more if a minute has ended meanwhile: its limits begin anew."""
    began = wall_ms() // MINUTE_MS
    try:
        _ask(name)
    except AssertionError:
        if wall_ms() // MINUTE_MS == began:
            raise
        _ask(name)


def _ask(name: str) -> None:
    with ran(DOCS / name) as page:
        EXERCISES.get(name, lambda _: None)(page)


if __name__ == "__main__":
    exercise(sys.argv[1])
