"""What nobody should send: each gets a clear 4xx, never a 500, and leaves nothing behind."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from sessionware.api import SessionApi
from tests.api.world import in_world

DEEP = b"[" * 100_000 + b"]" * 100_000
BODIES = [
    b"{", b"[]", b"null", b"5", b'"x"', b"\xff\xfe", b'{"a": NaN}', b'{"a": 1e999}', DEEP, b'{"a": ' + DEEP + b"}",
    b'{"metadata": 5}', b'{"metadata": []}', b'{"metadata": {"a": "\\ud800"}}', b'{"ttl": ' + b"9" * 5000 + b"}",
    b'{"metadata": {"a": ' + b"9" * 100 + b"}}", b'{"session_id": "\\u0000"}', b"{}{}", b"a=b&c=d",
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_body_that_is_no_honest_json_is_a_400(body):
    """SES-17, security 5."""

    @in_world()
    async def story(w):
        answer = await w.ask("POST", "/session/start", "alice", content=body)
        assert answer.status_code in {400, 413}
        await w.ask("PUT", "/session/x", "alice", content=body)
        assert await w.sessions.count() == 0
        await w.start("alice", {"session_id": "work"})
        for method, path in (("PATCH", ""), ("PUT", "/ttl"), ("POST", "/context")):
            answer = await w.ask(method, f"/session/work{path}", "alice", content=body)
            assert answer.status_code < 500

    story()


@in_world()
async def test_c32_b44_a_body_over_its_cap_is_a_413_however_it_comes(w):
    """C32, B44: 65 KB of metadata, a megabyte, a stream without length."""
    await w.ask("POST", "/session/start", "alice", json={"metadata": {"a": "x" * 66_000}}, status=413)
    await w.ask("POST", "/session/start", "alice", content=b" " * 1_000_000, status=413)

    async def endless():
        for _ in range(100):
            yield b" " * 10_000

    await w.ask("POST", "/session/start", "alice", content=endless(), status=413)


@in_world()
async def test_metadata_that_nests_too_deeply_is_refused(w):
    deep: dict[str, object] = {}
    for _ in range(40):
        deep = {"d": deep}
    await w.ask("POST", "/session/start", "alice", json={"metadata": deep}, status=413)
    await w.start("alice", {"session_id": "work"})
    await w.ask("PATCH", "/session/work", "alice", json=deep, status=413)


IDS = [
    "%00", "a%20b", "..%2f..%2fetc%2fpasswd", "%2e%2e", "x" * 10_000, "*", "{tag}", "'%3B%20DROP", "%ff", "%C3%BC",
    "uaaaaaaaaaaa.short", "uaaaaaaaaaaa." + "x" * 65, "s-", "s-" + "a" * 33, "s-" + "a" * 34 + "x", "s-" + "1" * 34,
    "S-" + "a" * 34 + "%0a", "work%0d%0aX-Evil:%201",
]  # fmt: skip


@pytest.mark.parametrize("session_id", IDS)
def test_ses06_an_id_that_is_none_is_refused_without_asking_the_store(session_id):
    """SES-06, A28, security 5 (4, 5, 7)."""

    @in_world()
    async def story(w):
        for method, path in (("GET", "status"), ("POST", "ping"), ("POST", "close"), ("GET", "context")):
            answer = await w.ask(method, f"/session/{session_id}/{path}", "alice")
            assert answer.status_code in {400, 404}
            assert "x-evil" not in answer.headers
        await w.ask("PUT", f"/session/{session_id}", "alice")
        assert w.store.calls.total() == 0

    story()


@in_world()
async def test_ses02_a_well_formed_id_of_nobody_is_never_adopted(w):
    """SES-02, SES-03: unknown, and another's for a proved caller."""
    unknown = "a" * 12 + "." + "x" * 43
    await w.ask("GET", f"/session/{unknown}/status", status=404)
    await w.ask("GET", f"/session/{unknown}/status", "alice", status=403)
    assert await w.sessions.count() == 0


@in_world()
async def test_paths_and_methods_that_are_not_there_are_problems_too(w):
    for path in (
        "/",
        "/session",
        "/session/",
        "/session/a/b/c",
        "/sessions/",
        "/admin",
        "//sessions",
        "/users//revoke",
    ):
        await w.ask("GET", path, status=404)
    answer = await w.ask("GET", "/session/start", status=405)
    assert answer.headers["allow"] == "POST, OPTIONS"
    await w.ask("BREW", "/sessions", status=405)
    await w.ask("POST", "/sessions", "alice", status=405, headers={"x-http-method-override": "DELETE"})
    options = await w.ask("OPTIONS", "/sessions", status=204)
    assert options.headers["allow"] == "GET, DELETE, HEAD, OPTIONS"
    assert (await w.ask("HEAD", "/health", status=200)).content in {b"", b'{"status":"ok"}'}


@in_world()
async def test_mounted_in_an_app_errors_stay_ours(w):
    api = SessionApi(lambda: w.sessions, w.caller)
    app = Starlette(routes=[Mount("/api", api)])
    sent = []

    async def ask(method, path):
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": b"", "headers": [], "scheme": "http", "server": ("t", 80), "http_version": "1.1",
        }  # fmt: skip

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        await app(scope, receive, send)
        return sent[-2]["status"], dict(sent[-2]["headers"])[b"content-type"]

    assert await ask("POST", "/api/session/start") == (201, b"application/json")
    assert await ask("GET", "/api/session/start") == (405, b"application/problem+json")
    assert await ask("GET", "/api/nowhere") == (404, b"application/problem+json")


@in_world()
async def test_a_client_that_leaves_in_the_middle_of_its_body_starts_nothing(w):
    api = SessionApi(lambda: w.sessions, w.caller)
    scope = {"type": "http", "method": "POST", "path": "/session/start", "query_string": b"", "headers": []}
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    await api(scope, receive, send)
    assert sent[0]["status"] == 400
    assert await w.sessions.count() == 0


@in_world()
async def test_a_websocket_that_comes_here_is_nobodys(w):
    api = SessionApi(lambda: w.sessions, w.caller)
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    await api({"type": "websocket", "path": "/sessions", "headers": [], "query_string": b""}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


@in_world()
async def test_many_hostile_calls_at_once_leave_the_others_alone(w):
    await w.start("alice", {"session_id": "work"})
    bad = [w.ask("POST", "/session/start", content=b"{") for _ in range(50)]
    good = [w.ask("POST", "/session/work/ping", "alice") for _ in range(50)]
    answers = await asyncio.gather(*bad, *good)
    assert [each.status_code for each in answers] == [400] * 50 + [200] * 50
