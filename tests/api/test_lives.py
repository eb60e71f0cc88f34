"""The exact shapes of one session's life over HTTP."""

import asyncio
import re

import pytest

from tests.api.world import in_world


@in_world(anonymous="named")
async def test_a9_a_start_says_what_it_made(w):
    """A9, A12, B7."""
    answer = await w.ask("POST", "/session/start", json={"session_id": "user-alice-session-1"}, status=201)
    body = answer.json()
    assert {"session_id", "ref", "status", "created_at", "user_id", "expires_at"} == body.keys()
    assert (body["session_id"], body["status"], body["user_id"]) == ("user-alice-session-1", "started", None)
    assert (body["created_at"], body["expires_at"]) == ("2027-01-15T08:00:00Z", "2027-01-15T08:30:00Z")
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-session-id"] == "user-alice-session-1"


@in_world()
async def test_a12_an_empty_body_gets_an_id_of_ours(w):
    """A12, E4: twice different."""
    first, second = await w.start(), await w.start()
    assert first["session_id"] != second["session_id"]
    assert re.fullmatch(r"a[a-z2-7]{11}\.[A-Za-z0-9_-]{43}", first["session_id"])
    assert re.fullmatch(r"s-[a-z2-7]{8}", first["ref"])


@in_world()
async def test_a10_a11_the_body_is_json_whatever_its_content_type(w):
    """A10, A11: curl's -d sends a form type."""
    answer = await w.ask(
        "POST", "/session/start", "alice", content=b'{"session_id": "s"}', status=201,
        headers={"content-type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert answer.json()["user_id"] == "alice"
    assert (await w.start("bob", {"session_id": None, "metadata": None, "ttl": None}))["user_id"] == "bob"


@in_world()
async def test_a_field_that_nobody_knows_makes_no_session(w):
    for field, problem in (
        ("sessionid", "`sessionid` is no field here: did you mean `session_id`? known are session_id, metadata, ttl"),
        ("data", "`data` is no field here: did you mean `metadata`? known are session_id, metadata, ttl"),
        ("color", "`color` is no field here: known are session_id, metadata, ttl"),
    ):
        for method, path in (("POST", "/session/start"), ("PUT", "/session/work")):
            body = (await w.ask(method, path, "alice", json={field: "work"}, status=400)).json()
            assert (body["code"], body["error"]) == ("invalid_value", problem)
    assert (await w.ask("GET", "/sessions", "alice", status=200)).json()["sessions"] == []
    for content in (b"", b" ", b"{}"):
        await w.ask("POST", "/session/start", "alice", content=content, status=201)


@in_world()
async def test_a3_a43_of_fifty_starts_of_one_name_one_is_a_201(w):
    """A3, A43."""
    answers = await asyncio.gather(
        *[w.ask("POST", "/session/start", "alice", json={"session_id": "x"}) for _ in range(50)]
    )
    refused = [each for each in answers if each.status_code == 409]
    assert len(refused) == 49
    body = refused[0].json()
    assert (body["error"], body["session_id"], body["code"]) == ("Session already exists", "x", "session_exists")


@in_world()
async def test_a_put_is_safe_to_retry(w):
    """A28."""
    first = await w.ask("PUT", "/session/work", "alice", json={"metadata": {"a": 1}}, status=201)
    again = await w.ask("PUT", "/session/work", "alice", status=200)
    assert again.json() == first.json() | {"status": "active"}
    assert "x-session-id" not in again.headers
    for name in ("current", "s-abc", first.json()["ref"], "a b", "x" * 129):
        await w.ask("PUT", f"/session/{name}", "alice", status=400)
    await w.ask("PUT", "/session/work", "alice", json={"session_id": "other"}, status=400)
    await w.ask("PUT", "/session/work", status=401)


@in_world()
async def test_a17_a_ping_says_when_it_came_and_when_the_session_would_end(w):
    """A17."""
    await w.start("alice", {"session_id": "work"})
    w.clock.advance(61_500)
    assert await w.post("/session/work/ping", "alice") == {
        "session_id": "work",
        "status": "active",
        "last_ping": "2027-01-15T08:01:01.500Z",
        "expires_at": "2027-01-15T08:31:01.500Z",
    }
    await w.post("/session/nothing/ping", "alice", status=404)


@in_world()
async def test_a18_a_close_says_how_long_it_was_and_the_next_call_is_a_404(w):
    """A18, B10, C4."""
    await w.start("alice", {"session_id": "work"})
    w.clock.advance(1_799_999)
    await w.post("/session/work/ping", "alice")
    w.clock.advance(15_001)
    assert await w.post("/session/work/close", "alice") == {
        "session_id": "work",
        "status": "closed",
        "duration": "30m15s",
        "duration_seconds": 1815,
        "total_requests": 1,
    }
    assert (await w.post("/session/work/close", "alice", status=404))["reason"] == "ended"
    await w.start("alice", {"session_id": "work"})
    assert (await w.ask("DELETE", "/session/work", "alice", status=200)).json()["duration"] == "0s"


@in_world()
async def test_a42_every_way_to_be_gone_is_the_same_404(w):
    """A42, B9: never there, closed, expired."""
    await w.start("alice", {"session_id": "closed"})
    await w.post("/session/closed/close", "alice")
    await w.start("alice", {"session_id": "expired", "ttl": 2})
    w.clock.advance(2_000)
    for name in ("never", "closed", "expired"):
        body = (await w.ask("GET", f"/session/{name}/status", "alice", status=404)).json()
        assert (body["error"], body["session_id"], body["code"]) == ("Session not found", name, "session_not_found")


@in_world()
async def test_a4_a16_a44_another_owners_id_is_a_403_on_every_verb(w):
    """A4, A16, A44."""
    made = (await w.start("alice"))["session_id"]
    for method, path, body in (
        ("POST", "ping", None), ("POST", "close", None), ("GET", "status", None), ("GET", "usage", None),
        ("GET", "context", None), ("POST", "context", {"a": 1}), ("GET", "metrics", None), ("GET", "health", None),
        ("GET", "pending", None), ("POST", "interrupt", None), ("PUT", "ttl", {"ttl": 5}),
    ):  # fmt: skip
        answer = await w.ask(method, f"/session/{made}/{path}", "bob", json=body, status=403)
        assert answer.json()["error"] == "Permission denied"
    await w.ask("PATCH", f"/session/{made}", "bob", json={}, status=403)
    await w.ask("DELETE", f"/session/{made}", "bob", status=403)


@in_world()
async def test_a44_a_bad_token_is_a_401_that_says_so(w):
    """A44, A23."""
    answer = await w.ask("GET", "/sessions", headers={"authorization": "Bearer bad"}, status=401)
    assert answer.json()["error"] == "Permission denied"
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@in_world()
async def test_a31_d4_d17_a_status_says_all_of_a_session_and_keeps_nothing_alive(w):
    """A31, D4, D17."""
    made = await w.start("alice", {"session_id": "work", "metadata": {"a": [1]}}, headers={"x-test-org": "acme"})
    w.clock.advance(1_000)
    answer = await w.ask("GET", "/session/work/status", "alice", status=200, headers={"x-test-org": "acme"})
    assert answer.json() == {
        "session_id": "work",
        "ref": made["ref"],
        "state": "active",
        "user_id": "alice",
        "org_id": "acme",
        "name": "work",
        "created_at": "2027-01-15T08:00:00Z",
        "last_activity": "2027-01-15T08:00:00Z",
        "expires_at": "2027-01-15T08:30:00Z",
        "total_requests": 0,
        "links": [],
        "metadata": {"a": [1]},
    }
    assert answer.headers["etag"] == '"1"'


@in_world()
async def test_current_is_the_presented_session(w):
    made = await w.start()
    found = await w.get("/session/current/status", session=made["session_id"])
    assert found["session_id"] == made["session_id"]
    answer = await w.ask("GET", "/session/current/status", status=401)
    assert answer.json()["error"] == "No session ID provided"
    await w.start("alice", {"session_id": "default"})
    assert (await w.get("/session/current/status", "alice"))["name"] == "default"


@in_world()
async def test_a_handle_stands_wherever_an_id_does(w):
    made = await w.start("alice")
    [row] = (await w.get("/sessions", "alice"))["sessions"]
    assert (await w.get(f"/session/{row['handle']}/status", "alice"))["ref"] == made["ref"]
    assert (await w.get(f"/sessions/{row['handle']}", "root"))["ref"] == made["ref"]
    await w.ask("DELETE", f"/sessions/{row['handle']}", "bob", status=403)
    await w.ask("DELETE", f"/sessions/{row['handle']}", "alice", status=200)
    await w.ask("GET", f"/sessions/{row['handle']}", "alice", status=404)
    await w.ask("GET", "/sessions/s-nonsense", "alice", status=400)


@in_world()
async def test_c3_metadata_is_merged_and_if_match_guards_it(w):
    """C3: RFC 7396, RFC 9110 13.1.1."""
    await w.start("alice", {"session_id": "work", "metadata": {"a": {"x": 1, "y": 2}, "b": 1}})
    answer = await w.ask(
        "PATCH", "/session/work", "alice", json={"a": {"x": None, "z": 3}, "b": [2]},
        headers={"if-match": '"1"', "content-type": "application/merge-patch+json"}, status=200,
    )  # fmt: skip
    assert answer.json()["metadata"] == {"a": {"y": 2, "z": 3}, "b": [2]}
    assert answer.headers["etag"] == '"2"'
    stale = await w.ask("PATCH", "/session/work", "alice", json={"c": 1}, headers={"if-match": '"1"'}, status=412)
    assert (stale.json()["code"], stale.json()["revision"]) == ("conflict", 2)
    await w.ask("PATCH", "/session/work", "alice", json={"c": 1}, headers={"if-match": "W/x"}, status=400)
    await w.ask("PATCH", "/session/work", "alice", json={"c": 1}, headers={"if-match": "*"}, status=200)
    wrapped = await w.ask("PATCH", "/session/work", "alice", json={"metadata": {"a": None}}, status=200)
    assert wrapped.json()["metadata"] == {"b": [2], "c": 1}


@in_world()
async def test_c6_c7_a_ttl_over_http(w):
    """C6, C7."""
    await w.start("alice", {"session_id": "work", "ttl": 1})
    found = (await w.ask("PUT", "/session/work/ttl", "alice", json={"ttl": 3600}, status=200)).json()
    assert found["expires_at"] == "2027-01-15T09:00:00Z"
    await w.ask("PUT", "/session/work/ttl", "alice", json={"ttl": None}, status=403)
    handle = (await w.get("/sessions", "alice"))["sessions"][0]["handle"]
    lifted = (await w.ask("PUT", f"/session/{handle}/ttl", "root", json={"ttl": None}, status=200)).json()
    assert lifted["expires_at"] == "2027-01-16T08:00:00Z"  # the absolute age stays
    wrong: list[object] = [-1, 0, "5", True, [], 10**9, 86_401]
    for ttl in wrong:
        await w.ask("PUT", "/session/work/ttl", "alice", json={"ttl": ttl}, status=400)
        await w.ask("POST", "/session/start", "alice", json={"ttl": ttl}, status=400)
    await w.ask("PUT", "/session/work/ttl", "alice", json={}, status=400)


@in_world()
async def test_b26_a_token_comes_with_the_start_and_must_come_with_everything_else(w):
    """B26, B27."""
    w.use(session_token=True)
    made = await w.start()
    path = f"/session/{made['session_id']}/ping"
    await w.post(path, session=made["session_id"], status=401)
    await w.post(path, session=made["session_id"], headers={"x-session-token": made["token"]})


@in_world()
async def test_d20_of_ten_closes_one_is_a_200_and_nine_are_404(w):
    """D20."""
    await w.start("alice", {"session_id": "work"})
    answers = await asyncio.gather(*[w.ask("POST", "/session/work/close", "alice") for _ in range(10)])
    assert sorted(each.status_code for each in answers) == [200] + [404] * 9


@in_world()
async def test_a_ticket_is_for_the_presented_session(w):
    """E8."""
    made = await w.start()
    body = await w.post("/session/ticket", session=made["session_id"])
    assert body["expires_in"] == 30
    assert made["session_id"] not in body["ticket"]
    assert (await w.post("/session/ticket", status=401))["code"] == "session_required"


@in_world(limits="", create_limit="2/minute per user")
async def test_making_too_many_sessions_is_a_429_that_says_when(w):
    """SES-16."""
    for _ in range(2):
        await w.start("alice")
    answer = await w.ask("POST", "/session/start", "alice", status=429)
    body = answer.json()
    assert (body["error"], body["code"], body["limit"], body["allowance"]) == (
        "Rate limit exceeded", "rate_limited", "create", 2,
    )  # fmt: skip
    assert int(answer.headers["retry-after"]) >= 1
    assert "ratelimit" in answer.headers


@in_world(max_sessions_per_user=1, on_user_full="refuse", max_sessions=2)
async def test_d9_full_is_429_with_refs_for_a_user_and_503_for_all(w):
    """D9."""
    made = await w.start("alice")
    body = await w.post("/session/start", "alice", status=429)
    assert (body["code"], body["refs"]) == ("too_many_sessions", [made["ref"]])
    await w.start("bob")
    answer = await w.ask("POST", "/session/start", "carol", status=503)
    assert answer.json()["error"] == "maximum concurrent sessions reached"
    assert "retry-after" in answer.headers


@in_world()
async def test_b8_the_evicted_session_says_so(w):
    """B8, weak spot 24."""
    for number in range(6):
        await w.start("alice", {"session_id": f"n{number}"})
        w.clock.advance(1)
    assert (await w.ask("GET", "/session/n0/status", "alice", status=404)).json()["reason"] == "evicted"


@pytest.mark.parametrize("name", ["../x", "", "x" * 129, "a b", "a\0b", "s-x", "current", 5, ["a"], {}])
def test_a28_what_is_no_name_is_a_400(name):
    """A28."""

    @in_world()
    async def story(w):
        body = (await w.ask("POST", "/session/start", "alice", json={"session_id": name}, status=400)).json()
        assert body["code"] in {"invalid_session_id", "invalid_value"}

    story()
