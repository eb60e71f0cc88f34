"""Listings, context, usage, what administrators do, and what machines ask."""

import json
from base64 import urlsafe_b64encode

import pytest

from sessionware.api import Readiness
from sessionware.testing import Fault
from tests.api.world import in_world
from tests.service.scene import ISSUER


@in_world()
async def test_d15_a21_everybody_lists_their_own(w):
    """D15, A21, A24."""
    made = await w.start("alice", {"session_id": "work"})
    other = await w.start("alice")
    await w.start("bob")
    listed = await w.get("/sessions", "alice", session="work")
    assert listed["cursor"] is None
    first, second = sorted(listed["sessions"], key=lambda row: row["name"] or "", reverse=True)
    assert first.keys() == {
        "handle", "ref", "name", "current", "client", "created_at", "last_activity", "expires_at",
    }  # fmt: skip
    assert (first["ref"], first["name"], first["current"], first["client"]) == (made["ref"], "work", True, "192.0.2.1")
    assert second["current"] is False
    assert other["session_id"] not in json.dumps(listed)
    await w.post("/session/work/close", "alice")
    assert len((await w.get("/sessions", "alice"))["sessions"]) == 1


@in_world()
async def test_a32_all_sessions_are_for_administrators(w):
    """A32, D14, E15."""
    for user in ("alice", "bob"):
        await w.start(user)
    assert {row["user_id"] for row in (await w.get("/sessions", "root"))["sessions"]} == {"alice", "bob"}
    assert [row["user_id"] for row in (await w.get("/sessions?user=bob", "root"))["sessions"]] == ["bob"]
    assert await w.get("/sessions?count=true", "root") == {"count": 2}
    assert await w.get("/sessions?count=true", "alice") == {"count": 1}
    assert await w.get("/sessions?user=bob&count=true", "root") == {"count": 1}
    assert len((await w.get("/sessions?user=alice", "alice"))["sessions"]) == 1
    await w.ask("GET", "/sessions?user=bob", "alice", status=403)
    await w.ask("GET", "/sessions?all=true", "alice", status=403)
    await w.ask("GET", "/sessions", status=401)
    await w.ask("GET", "/sessions?user=bob", status=401)


@in_world(max_sessions_per_user=0, create_limit="")
async def test_c5_pages_are_complete_and_bounded(w):
    """C5, ADM-05."""
    for _ in range(25):
        await w.start("alice")
    handles, cursor = [], ""
    while cursor is not None:
        page = await w.get(f"/sessions?limit=10&cursor={cursor}", "alice")
        handles += [row["handle"] for row in page["sessions"]]
        cursor = page["cursor"]
    assert len(handles) == len(set(handles)) == 25
    assert len((await w.get("/sessions?limit=1000000000", "alice"))["sessions"]) == 25
    assert len((await w.get(f"/sessions?limit={'9' * 5000}", "alice"))["sessions"]) == 25
    for query in (
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1e3",
        "limit=\u0661",
        "cursor=%00",
        "cursor=*%25_'",
    ):
        await w.ask("GET", f"/sessions?{query}", "alice", status=400)


@in_world()
async def test_logging_out_everywhere_else_keeps_this_session(w):
    await w.start("alice", {"session_id": "here"})
    await w.start("alice", {"session_id": "there"})
    await w.start("bob", {"session_id": "there"})
    answer = await w.ask("DELETE", "/sessions?except=current", "alice", session="here", status=200)
    assert answer.json()["closed"] == 1
    assert [row["name"] for row in (await w.get("/sessions", "alice"))["sessions"]] == ["here"]
    await w.ask("DELETE", "/sessions?except=bob", "alice", status=400)
    await w.ask("DELETE", "/sessions?user=bob", "alice", status=403)
    assert (await w.ask("DELETE", "/sessions?user=bob", "root", status=200)).json()["closed"] == 1
    assert (await w.ask("DELETE", "/sessions", "root", status=200)).json()["closed"] == 0  # an administrator's own
    assert (await w.ask("DELETE", "/sessions", "alice", status=200)).json()["closed"] == 1


@in_world()
async def test_b4_b5_context_over_http(w):
    """B4, B5."""
    await w.start("alice", {"session_id": "chat"})
    for number in range(3):
        said = await w.post("/session/chat/context", "alice", {"n": number}, status=201)
        assert said == {"n": number, "timestamp": "2027-01-15T08:00:00Z"}
    body = await w.get("/session/chat/context?last_n=2", "alice")
    assert ([each["n"] for each in body["context"]], body["count"]) == ([1, 2], 2)
    assert (await w.get("/session/chat/context", "alice"))["count"] == 3
    assert (await w.get("/session/chat/context?last_n=0", "alice"))["context"] == []
    for last_n in ("-1", "x", "1.5", ""):
        await w.ask("GET", f"/session/chat/context?last_n={last_n}", "alice", status=400)
    await w.ask("POST", "/session/chat/context", "alice", json={}, status=400)
    await w.ask("POST", "/session/chat/context", "alice", json={"text": "x" * 70_000}, status=413)


@in_world(limits="100 tokens/hour per user; 10/minute per session")
async def test_b25_usage_over_http(w):
    """B25, B21."""
    await w.start("alice", {"session_id": "work"})
    await w.sessions.spend("work", by=w.actor("alice"), tokens=25)
    of_session = await w.get("/session/work/usage", "alice")
    assert of_session["tokens"] == {"used": 25, "limit": 100, "percentage": 25.0, "period_seconds": 3600}
    assert [row["name"] for row in of_session["limits"]] == ["tokens-hour-user", "requests-minute-session"]
    assert (await w.get("/usage", "alice"))["tokens"]["used"] == 25
    assert (await w.get("/usage", "alice", session="work"))["tokens"]["used"] == 25
    assert (await w.get("/usage?user=alice", "root"))["tokens"]["used"] == 25
    await w.ask("GET", "/usage?user=alice", "bob", status=403)
    assert (await w.get("/usage"))["tokens"]["used"] == 0
    changed = await w.ask(
        "PUT", "/users/alice/limits", "root", status=200,
        json={"limits": {"tokens-hour-user": 50}, "until": "2027-01-15T09:00:00Z"},
    )  # fmt: skip
    assert changed.json()["limits"] == {"tokens-hour-user": 50}
    assert (await w.get("/usage", "alice"))["tokens"]["percentage"] == 50.0
    wrong: list[dict[str, object]] = [{}, {"limits": {"x": 1}}, {"limits": []}, {"limits": {"tokens-hour-user": "5"}}]
    for body in wrong:
        await w.ask("PUT", "/users/alice/limits", "root", json=body, status=400)
    never: list[object] = ["soon", "2027-01-15", "2027-01-15T09:00:00", -1, 1e300, True, []]
    for until in never:
        body = {"limits": {"tokens-hour-user": 50}, "until": until}
        await w.ask("PUT", "/users/alice/limits", "root", json=body, status=400)
    await w.ask("PUT", "/users/alice/limits", "alice", json={"limits": {"tokens-hour-user": 5}}, status=403)


@in_world()
async def test_b34_b37_metrics_and_health_of_a_session(w):
    """B34, B36, B37."""
    await w.start("alice", {"session_id": "work"})
    key = (await w.sessions.get("work", by=w.actor())).record.key
    assert (await w.get("/session/work/health", "alice"))["status"] == "unknown"
    for number in range(10):
        w.runtime.health.called(key, now=w.clock.now(), took_ms=5, tokens=10)
        if number < 2:
            w.runtime.health.failed(key, now=w.clock.now(), error="boom")
    metrics = await w.get("/session/work/metrics", "alice")
    assert (metrics["api_calls"], metrics["error_count"], metrics["last_error"], metrics["tokens_used"]) == (
        10,
        2,
        "boom",
        100,
    )
    health = await w.get("/session/work/health", "alice")
    assert (health["status"], health["score"]) == ("unhealthy", 70)
    for _ in range(6):
        w.runtime.health.failed(key, now=w.clock.now(), error="boom")
    [alert] = (await w.get("/alerts", "root"))["alerts"]
    assert alert.keys() == {"type", "session_id", "error_count", "timestamp"}
    assert (alert["type"], alert["timestamp"]) == ("high_error_rate", "2027-01-15T08:00:00Z")
    await w.ask("GET", "/alerts", "alice", status=403)


@in_world()
async def test_c13_e9_what_runs_can_be_seen_and_interrupted(w):
    """C13, E9."""
    await w.start("alice", {"session_id": "work"})
    assert await w.get("/session/work/pending", "alice") == {"session_id": "work", "pending": [], "count": 0}
    assert await w.post("/session/work/interrupt", "alice", status=202) == {
        "session_id": "work",
        "status": "interrupted",
    }
    await w.post("/session/nothing/interrupt", "alice", status=404)


@in_world()
async def test_a22_ses10_tokens_and_users_are_revoked_by_administrators(w):
    """A22, SES-10."""
    await w.start("alice", {"session_id": "work"})
    await w.start("bob", {"session_id": "work"})
    body = await w.post("/tokens/revoke", "root", {"iss": ISSUER, "jti": "alice-token", "exp": 2_000_000_000})
    assert (body["status"], body["ended"]) == ("revoked", 1)
    answer = await w.ask("GET", "/sessions", "alice", status=401)
    assert answer.json()["error"] == "Permission denied"
    assert (await w.get("/session/work/status", "bob"))["state"] == "active"
    part = urlsafe_b64encode(json.dumps({"iss": ISSUER, "jti": "bob-token"}).encode()).decode().rstrip("=")
    assert (await w.post("/tokens/revoke", "root", {"token": f"{part}.{part}.c2ln"}))["ended"] == 1
    await w.start("carol")
    assert (await w.post("/users/carol/revoke", "root"))["ended"] == 1
    for path in ("/tokens/revoke", "/users/carol/revoke"):
        await w.ask("POST", path, "dave", json={"jti": "x"}, status=403)
        await w.ask("POST", path, json={"jti": "x"}, status=401)
    for bad in ({}, {"token": 5}, {"token": "x"}, {"jti": ""}, {"jti": "a", "exp": "x"}, {"token": "a", "jti": "b"}):
        await w.ask("POST", "/tokens/revoke", "root", json=bad, status=400)
    w.use(issuers=("https://a", "https://b"))
    assert "https://a, https://b" in (await w.post("/users/carol/revoke", "root", status=400))["error"]
    await w.post("/users/carol/revoke?iss=https://a", "root")


@in_world()
async def test_d16_c8_a_cleanup_says_what_it_removed(w):
    """D16, C8."""
    await w.start("alice", {"ttl": 1})
    w.clock.advance(1_000)
    assert (await w.post("/cleanup", "root"))["removed"] == 1
    assert await w.post("/cleanup", "root", {"idle_seconds": 86_400}) == {"removed": 0, "handles": []}
    for idle in ("x", -1, 0, True, 1e300):
        await w.ask("POST", "/cleanup", "root", json={"idle_seconds": idle}, status=400)
    await w.ask("POST", "/cleanup", "alice", status=403)


@in_world()
async def test_a47_health_asks_no_store_and_ready_does(w):
    """A47, C23, ADM-06."""
    assert await w.get("/health") == {"status": "ok"}
    assert w.store.calls.total() == 0
    w.readiness = Readiness(upstreams={"http://a": "dead"})
    assert await w.get("/ready") == {"status": "ready", "upstreams": {"http://a": "dead"}}
    w.store.on("reap", Fault.REFUSED)
    answer = await w.ask("GET", "/ready", status=503)
    assert answer.json()["error"] == "Store unavailable"
    w.readiness = Readiness(is_draining=True)
    assert (await w.ask("GET", "/ready", status=503)).json()["status"] == "draining"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/session/start"), ("GET", "/session/work/status"), ("POST", "/session/work/ping"), ("GET", "/sessions")],
)
def test_c35_a_store_that_is_down_is_a_503(method, path):
    """C35."""

    @in_world()
    async def story(w):
        w.store.always("any", Fault.REFUSED)
        answer = await w.ask(method, path, "alice", status=503)
        assert answer.json()["error"] == "Store unavailable"
        assert int(answer.headers["retry-after"]) >= 1

    story()
