"""Rows A4..A48 of the acceptance list, from outside: over HTTP, with real tokens."""

import asyncio
import re
from typing import Any

import pytest

from sessionware.testing import client
from tests.acceptance.outside import app_of, from_outside, said, sid
from tests.selection import is_selected

DURATION = re.compile(r"(\d+h)?(\d+m)?\d+s")


@from_outside()
async def test_a4_a16_a_session_is_tied_to_its_user(there):
    own = (await there.start(there.alice))["session_id"]
    for method, path in (("GET", "status"), ("POST", "ping"), ("POST", "close"), ("GET", "context")):
        assert said(await there.bob.request(method, f"/session/{own}/{path}")) == (403, "Permission denied")
    assert said(await there.bob.get("/turn", headers=sid(own))) == (403, "Permission denied")
    await there.start(there.alice, "work")
    assert said(await there.bob.get("/session/work/status")) == (404, "Session not found")


@from_outside()
async def test_a6_two_sessions_of_one_user_remember_apart(there):
    await there.alice.post("/remember", content=b"a", headers=sid("work"))
    assert (await there.alice.get("/recall", headers=sid("work"))).json() == {"memory": "a"}
    assert (await there.alice.get("/recall", headers=sid("personal"))).json() == {"memory": ""}


@from_outside(anonymous="named")
async def test_a9_a_start_without_an_identity_has_no_user(there):
    started = await there.start(there.nobody, "user-alice-session-1")
    assert (started["session_id"], started["status"], started["user_id"]) == ("user-alice-session-1", "started", None)
    assert started["created_at"] == "2027-01-15T08:00:00Z"


@from_outside()
async def test_a10_a_start_with_a_token_is_its_users(there):
    assert (await there.start(there.alice))["user_id"] == "alice"


@from_outside(trusted_proxies="127.0.0.1")
async def test_a11_a15_a_user_header_of_a_trusted_proxy_and_a_form_type(there):
    answer = await there.nobody.post(
        "/session/start", content=b'{"session_id":"s"}',
        headers={"X-User-Id": "alice", "Content-Type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert (answer.status_code, answer.json()["user_id"], answer.json()["session_id"]) == (201, "alice", "s")
    assert (await there.nobody.get("/turn", headers={"X-User-Id": "alice"})).json()["user"] == "alice"


@from_outside()
async def test_a15_a_user_header_of_anybody_else_proves_nothing(there):
    answer = await there.nobody.get("/turn", headers={"X-User-Id": "alice"})
    assert answer.json()["user"] is None


@from_outside()
async def test_a12_a_start_without_an_id_gets_a_new_one_each_time(there):
    first, second = await there.start(there.nobody), await there.start(there.nobody)
    assert first["session_id"] != second["session_id"]
    assert len(first["session_id"]) >= 32


@from_outside()
async def test_a17_a_ping_moves_the_end_and_is_the_owners(there):
    own = (await there.start(there.alice))["session_id"]
    there.clock.advance(300_000)
    answer = await there.alice.post(f"/session/{own}/ping")
    assert answer.json() == {
        "session_id": own, "status": "active", "last_ping": "2027-01-15T08:05:00Z",
        "expires_at": "2027-01-15T08:35:00Z",
    }  # fmt: skip
    assert said(await there.bob.post(f"/session/{own}/ping")) == (403, "Permission denied")
    assert said(await there.alice.post("/session/nothing/ping")) == (404, "Session not found")


@from_outside()
async def test_a18_a_close_says_how_long_it_lasted(there):
    await there.alice.get("/turn", headers=sid("work"))
    there.clock.advance(61_000)
    closed = (await there.alice.post("/session/work/close")).json()
    assert DURATION.fullmatch(closed["duration"])
    assert (closed["status"], closed["duration"], closed["total_requests"]) == ("closed", "1m1s", 1)
    assert said(await there.alice.post("/session/work/close")) == (404, "Session not found")


@from_outside(session_ttl=2)
async def test_a20_an_idle_session_is_gone_at_once_without_any_sweep(there):
    own = (await there.start(there.nobody))["session_id"]
    there.clock.advance(2_000)
    assert said(await there.nobody.get("/turn", headers=sid(own))) == (401, "Invalid session")
    assert said(await there.nobody.get(f"/session/{own}/status")) == (404, "Session not found")


@from_outside()
async def test_a21_a24_a_user_has_several_sessions_and_a_closed_one_is_not_listed(there):
    await there.start(there.alice, "alice-work")
    await there.start(there.alice, "alice-personal")
    listed = (await there.alice.get("/sessions")).json()["sessions"]
    assert {each["name"] for each in listed} == {"alice-work", "alice-personal"}
    await there.alice.delete("/session/alice-work")
    assert [each["name"] for each in (await there.alice.get("/sessions")).json()["sessions"]] == ["alice-personal"]


@from_outside()
async def test_a22_a_revoked_token_is_refused_and_its_sessions_end(there):
    own = (await there.start(there.alice, "work"))["session_id"]
    await there.bob.get("/turn")
    answer = await there.admin.post("/tokens/revoke", json={"token": there.alice.token})
    assert (answer.status_code, answer.json()["ended"]) == (200, 1)
    assert said(await there.alice.get("/turn")) == (401, "Permission denied")
    again = there.nobody.as_user("alice", jti="a new one")
    assert said(await again.get(f"/session/{own}/status")) == (404, "Session not found")
    assert (await there.bob.get("/turn")).json()["turns"] == 2
    assert (await there.bob.post("/tokens/revoke", json={"token": there.alice.token})).status_code == 403


@from_outside()
async def test_a23_a_token_out_of_its_time_is_refused_with_a_challenge(there):
    now = there.clock.now() // 1000
    for claims in ({"exp": now - 60}, {"nbf": now + 600}):
        answer = await there.nobody.as_user("alice", **claims).get("/turn")
        assert said(answer) == (401, "Permission denied")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@from_outside()
async def test_a28_a_name_may_say_much_but_is_never_a_path(there):
    assert (await there.start(there.alice, "user-alice-x-1"))["session_id"] == "user-alice-x-1"
    for name in ("../x", "", "x" * 129, "a b", "a\0b"):
        answer = await there.alice.post("/session/start", json={"session_id": name})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_session_id")


@from_outside()
async def test_a31_a_look_at_a_session_is_its_owners_and_keeps_nothing_alive(there):
    own = (await there.start(there.alice))["session_id"]
    there.clock.advance(1_799_000)
    for who in (there.alice, there.admin):
        [row] = (await there.alice.get("/sessions")).json()["sessions"]
        found = await who.get(f"/sessions/{row['handle']}")
        assert (found.status_code, found.json()["state"]) == (200, "active")
    assert (await there.bob.get(f"/session/{own}/status")).status_code == 403
    there.clock.advance(1_000)
    assert (await there.alice.get(f"/session/{own}/status")).status_code == 404


@from_outside()
async def test_a32_all_sessions_are_listed_for_administrators_alone(there):
    await there.start(there.alice)
    await there.start(there.bob)
    listed = await there.admin.get("/sessions")
    assert {each["user_id"] for each in listed.json()["sessions"]} == {"alice", "bob"}
    assert (await there.alice.get("/sessions", params={"all": "true"})).status_code == 403
    assert (await there.nobody.get("/sessions")).status_code == 401


def test_a33_a38_what_outlives_a_restart_and_what_does_not(tmp_path):
    async def turns(**settings: Any) -> list[int]:
        async with client(app_of(**settings), "alice") as alice:
            return [(await alice.get("/turn")).json()["turns"]]

    on_disk: dict[str, Any] = {"store": f"sqlite:///{tmp_path}/sessions.db"}
    assert [asyncio.run(turns()) for _ in range(2)] == [[1], [1]]
    assert [asyncio.run(turns(**on_disk)) for _ in range(2)] == [[1], [2]]


@pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")
def test_a36_a_session_started_at_one_instance_is_used_at_another(redis_url):
    settings: dict[str, Any] = {
        "store": f"{redis_url}?prefix=a36:",
        "store_timeout": "5s",  # the machine tests much else beside
        "jwt_secret": "a secret of more than thirty-two bytes",
    }

    async def live() -> None:
        async with client(app_of(**settings), "alice") as one, client(app_of(**settings), "alice") as two:
            assert (await one.post("/session/start", json={"session_id": "work"})).status_code == 201
            assert (await two.post("/session/work/ping")).status_code == 200
            answers = await asyncio.gather(
                *[who.post("/add", headers=sid("work")) for who in (one, two) for _ in range(20)]
            )
            assert sorted(each.json()["count"] for each in answers) == list(range(1, 41))

    asyncio.run(live())


@from_outside()
async def test_a42_gone_is_gone_whatever_the_cause(there):
    await there.start(there.alice, "closed")
    await there.alice.post("/session/closed/close")
    await there.start(there.alice, "idle", ttl=2)
    there.clock.advance(2_000)
    for name in ("never", "closed", "idle"):
        body = (await there.alice.get(f"/session/{name}/status")).json()
        assert (body["error"], body["session_id"]) == ("Session not found", name)


@from_outside()
async def test_a3_a43_d1_of_fifty_starts_of_one_name_one_succeeds(there):
    answers = await asyncio.gather(*[there.alice.post("/session/start", json={"session_id": "x"}) for _ in range(50)])
    assert sorted(each.status_code for each in answers) == [201] + [409] * 49
    refused = next(each for each in answers if each.status_code == 409).json()
    assert (refused["error"], refused["session_id"]) == ("Session already exists", "x")


@from_outside()
async def test_a44_denied_is_403_for_a_stranger_and_401_for_a_bad_token(there):
    own = (await there.start(there.alice))["session_id"]
    assert said(await there.bob.get("/turn", headers=sid(own))) == (403, "Permission denied")
    bad = await there.nobody.get("/turn", headers={"Authorization": "Bearer x.y.z"})
    assert said(bad) == (401, "Permission denied")


@from_outside(api="/auth")
async def test_a45_metrics_count_sessions_and_name_nobody(there):
    for name in ("one", "two", "three"):
        await there.alice.post("/auth/session/start", json={"session_id": name})
    await there.alice.post("/auth/session/one/close")
    text = (await there.nobody.get("/auth/metrics")).text
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(samples["sessionware_sessions_active"]) == 2
    assert float(samples["sessionware_sessions_created_total"]) == 3
    assert float(samples['sessionware_sessions_ended_total{reason="ended"}']) == 1
    assert "alice" not in text


@from_outside()
async def test_a46_every_error_has_one_shape(there):
    await there.start(there.alice, "work")
    refused = [
        (400, await there.alice.post("/session/start", json={"session_id": "a b"})),
        (400, await there.alice.post("/session/start", content=b"{")),
        (401, await there.nobody.get("/sessions")),
        (403, await there.alice.post("/cleanup")),
        (404, await there.alice.get("/session/never/status")),
        (404, await there.alice.get("/session/work/nothing-like-it/x")),
        (405, await there.alice.get("/session/start")),
        (409, await there.alice.post("/session/start", json={"session_id": "work"})),
        (413, await there.alice.post("/session/start", json={"metadata": {"x": "x" * 70_000}})),
        (401, await there.nobody.get("/turn", headers=sid("a" * 12 + "." + "x" * 43))),
    ]
    for status, answer in refused[:5] + refused[6:]:
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        body = answer.json()
        assert body["status"] == status
        assert body["error"]
        assert body["code"]
        assert answer.headers["cache-control"] == "no-store"
    assert refused[5][1].status_code == 404  # the app's own


@from_outside(api="/auth")
async def test_a47_health_and_readiness_under_a_base_path(there):
    assert (await there.nobody.get("/auth/health")).json() == {"status": "ok"}
    assert (await there.nobody.get("/auth/ready")).json() == {"status": "ready"}
    assert (await there.nobody.get("/ready")).status_code == 404  # the app's own


@from_outside(session_cookie="sid", session_query="session", session_header="X-Chat")
async def test_a48_the_id_is_found_in_header_cookie_or_query_by_names_of_ones_own(there):
    async def turns(**how: object) -> object:
        answer = await there.alice.get("/turn", **how)
        return answer.json()["turns"] if answer.status_code == 200 else said(answer)

    event_stream = {"Accept": "text/event-stream"}
    assert await turns(headers={"X-Chat": "work"}) == 1
    assert await turns(headers={"Cookie": "sid=work"}) == 2
    assert await turns(params={"session": "work"}, headers=event_stream) == 3
    assert await turns(headers={"X-Chat": "work", "Cookie": "sid=work"}) == 4
    assert await turns(headers={"X-Chat": "work", "Cookie": "sid=other"}) == (
        400, "the header and the cookie name different sessions: send one of them",
    )  # fmt: skip
