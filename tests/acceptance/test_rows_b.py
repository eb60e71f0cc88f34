"""Rows B1..B44 of the acceptance list, from outside: over HTTP, with real tokens."""

import asyncio
import json

import pytest

from sessionware.core.session import EndReason
from sessionware.telemetry import Observer
from tests.acceptance.outside import Outside, from_outside, outside, said, sid


@from_outside(limits="10/minute per user; 50 tokens/hour per user")
async def test_b1_beside_a_noisy_user_the_answers_of_others_stay_right(there):
    """Data, resources, context, security and limits of one user are no other's."""
    answers = await asyncio.gather(
        *[who.get("/turn") for _ in range(10) for who in (*[there.alice] * 10, there.bob)],
    )
    of_bob = [each.json() for each in answers if each.status_code == 200 and each.json()["user"] == "bob"]
    assert sorted(each["turns"] for each in of_bob) == list(range(1, 11))
    assert sorted(each.status_code for each in answers).count(429) == 90
    assert (await there.nobody.as_user("carol").post("/spend?tokens=50")).status_code == 200


@from_outside()
async def test_b2_an_app_finds_all_of_a_session_on_its_request(there):
    carol = there.nobody.as_user("carol", org="acme", groups=["pro"])
    started = await there.start(carol, "work", metadata={"agent": "x"})
    found = (await carol.get("/dump", headers=sid("work"))).json()
    assert found == {
        "id": "work", "ref": started["ref"], "user_id": "carol", "org_id": "acme", "groups": ["pro"], "name": "work",
        "is_new": False, "created_at": "2027-01-15T08:00:00+00:00", "last_activity": "2027-01-15T08:00:00+00:00",
        "expires_at": "2027-01-15T08:30:00+00:00", "total_requests": 1, "hits": 1, "metadata": {"agent": "x"},
        "data": {}, "context": [],
    }  # fmt: skip


@from_outside()
async def test_b3_every_request_is_activity(there):
    await there.start(there.alice, "work")
    there.clock.advance(2_000)
    await there.alice.get("/turn", headers=sid("work"))
    assert (await there.alice.get("/session/work/status")).json()["last_activity"] == "2027-01-15T08:00:02Z"


@from_outside(max_context=3)
async def test_b4_b5_b44_a_conversation_keeps_its_newest_messages(there):
    for number in range(4):
        told = (await there.alice.post("/say", json={"n": number}, headers=sid("chat"))).json()
        assert told == {"n": number, "timestamp": "2027-01-15T08:00:00Z"}

    async def last(count: str) -> list[int]:
        found = await there.alice.get("/session/chat/context", params={"last_n": count})
        return [each["n"] for each in found.json()["context"]]

    assert [await last(count) for count in ("2", "10", "0")] == [[2, 3], [1, 2, 3], []]
    assert (await there.alice.get("/session/chat/context", params={"last_n": "-1"})).status_code == 400
    assert [each["n"] for each in (await there.alice.get("/heard", headers=sid("chat"))).json()] == [1, 2, 3]
    assert (await there.alice.post("/session/chat/context", json={"text": "x" * 70_000})).status_code == 413


@from_outside()
async def test_b6_b8_a_user_has_five_sessions_of_thirty_minutes_and_the_oldest_makes_room(there):
    for number in range(6):
        started = await there.start(there.alice, f"n{number}")
        assert started["expires_at"].startswith("2027-01-15T08:30:")
        there.clock.advance(1)
    gone = (await there.alice.get("/session/n0/status")).json()
    assert (gone["error"], gone["reason"]) == ("Session not found", "evicted")
    assert len((await there.alice.get("/sessions")).json()["sessions"]) == 5
    await asyncio.gather(*[there.alice.post("/session/start") for _ in range(20)])
    assert len((await there.alice.get("/sessions")).json()["sessions"]) == 5


@from_outside()
async def test_b7_metadata_is_kept(there):
    await there.start(there.alice, "work", metadata={"device": {"os": "linux"}})
    assert (await there.alice.get("/session/work/status")).json()["metadata"] == {"device": {"os": "linux"}}


@from_outside()
async def test_b9_b10_an_unknown_session_is_said_and_a_second_close_is_a_404(there):
    await there.start(there.alice, "work")
    assert [(await there.alice.delete("/session/work")).status_code for _ in range(2)] == [200, 404]
    assert said(await there.alice.get("/session/unknown/status")) == (404, "Session not found")


class Ends(Observer):
    """Writes down each end; the one beside it fails every time."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    async def on_end(self, session, reason):
        self.seen.append((session.birth.name, reason.value))


class Failing(Observer):
    async def on_end(self, session, reason):
        raise RuntimeError("this one fails")


def test_b11_a_close_an_eviction_and_an_expiry_are_each_told_once_whoever_else_fails():
    ends = Ends()

    async def live() -> None:
        async with outside(observers=(Failing(), ends), max_sessions_per_user=2) as there:
            await _three_ends(there)

    asyncio.run(live())
    assert sorted(ends.seen) == [
        ("closed", EndReason.ENDED.value), ("evicted", EndReason.EVICTED.value), ("expired", EndReason.EXPIRED.value),
    ]  # fmt: skip


async def _three_ends(there: Outside) -> None:
    await there.start(there.alice, "closed")
    await there.alice.delete("/session/closed")
    for name in ("evicted", "expired", "newest"):
        await there.start(there.alice, name, ttl=2 if name == "expired" else 60)
        there.clock.advance(1)
    there.clock.advance(2_000)
    assert (await there.admin.post("/cleanup")).json()["removed"] == 1


QUOTAS = (
    "1000 api_calls/3600s per user; 100 tokens/hour per user; 5 storage_mb total per user; "
    "9 compute_seconds/2s per user"
)


@from_outside(limits=QUOTAS)
async def test_b19_b20_b24_four_resources_each_by_its_own_window(there):
    for taken in ("tokens=5", "storage_mb=4", "compute_seconds=8"):
        assert (await there.alice.post(f"/spend?{taken}")).status_code == 200
    assert said(await there.alice.post("/spend?storage_mb=2")) == (429, "Quota exceeded for storage_mb: 6/5")
    assert said(await there.alice.post("/spend?compute_seconds=2")) == (429, "Quota exceeded for compute_seconds: 10/9")
    there.clock.advance(4_000)
    assert (await there.alice.post("/spend?compute_seconds=8")).status_code == 200
    report = {each["resource"]: each for each in (await there.alice.get("/usage")).json()["limits"]}
    assert (report["tokens"]["period_seconds"], report["requests"]["used"], report["storage_mb"]["used"]) == (
        3600,
        6,
        4,
    )


@from_outside(limits="daily=100 tokens/day per user")
async def test_b21_another_quota_for_one_user_holds_at_once_and_is_reported(there):
    await there.alice.get("/turn")
    assert (await there.admin.put("/users/alice/limits", json={"limits": {"daily": 10}})).status_code == 200
    assert (await there.alice.get("/usage")).json()["tokens"]["limit"] == 10
    assert (await there.bob.get("/usage")).json()["tokens"]["limit"] == 100
    assert [(await there.alice.post("/spend?tokens=6")).status_code for _ in range(2)] == [200, 429]
    assert (await there.bob.post("/spend?tokens=11")).status_code == 200
    assert (await there.alice.put("/users/alice/limits", json={"limits": {"daily": 10**6}})).status_code == 403


@from_outside(limits="100 tokens/hour per user")
async def test_b22_b23_of_many_at_once_exactly_the_allowance_passes(there):
    for amount in (-1, 0, 101):
        assert (await there.alice.post(f"/spend?tokens={amount}")).status_code == 400
    answers = await asyncio.gather(*[there.alice.post("/spend?tokens=1") for _ in range(120)])
    assert sorted(each.status_code for each in answers) == [200] * 100 + [429] * 20
    refused = next(each for each in answers if each.status_code == 429)
    assert said(refused) == (429, "Quota exceeded for tokens: 101/100")
    assert int(refused.headers["retry-after"]) >= 1


@from_outside(limits="100 tokens/hour per user; 0 images/hour per user for group barred")
async def test_b25_a_usage_report_says_how_much_of_what_and_zero_refuses_everything(there):
    await there.alice.post("/spend?tokens=25")
    report = (await there.alice.get("/usage")).json()
    assert report["tokens"] == {"used": 25, "limit": 100, "percentage": 25.0, "period_seconds": 3600}
    barred = there.nobody.as_user("mallory", groups=["barred"])
    assert (await barred.get("/usage")).json()["images"]["percentage"] == 0
    assert (await barred.get("/turn")).status_code == 429


@from_outside(session_token="on")
async def test_b26_b27_b29_a_session_token_is_a_second_secret(there):
    started = await there.start(there.nobody)
    own, secret = sid(started["session_id"]), {"X-Session-Token": started["token"]}
    assert (await there.nobody.get("/turn", headers=own | secret)).status_code == 200
    assert (await there.nobody.get("/turn", headers=own | {"X-Session-Token": "wrong"})).status_code == 401
    assert (await there.nobody.get("/turn", headers=own)).status_code == 401
    path = f"/session/{started['session_id']}"
    assert (await there.nobody.delete(path, headers=own | secret)).status_code == 200
    assert (await there.nobody.get("/turn", headers=own | secret)).status_code == 401
    assert (await there.nobody.get(f"{path}/status", headers=own | secret)).status_code == 404


@from_outside(limits="1000 tokens/hour per user")
async def test_b34_b35_metrics_count_calls_errors_messages_and_tokens(there):
    chat = sid("chat")
    await there.alice.post("/used", params={"is": "tokens=532"}, headers=chat)
    await there.alice.post("/say", json={"n": 1}, headers=chat)
    assert (await there.alice.get("/broken", headers=chat)).status_code == 500
    found = (await there.alice.get("/session/chat/metrics")).json()
    assert (found["api_calls"], found["error_count"], found["last_error"]) == (3, 1, "status 500")
    assert (found["message_count"], found["tokens_used"], found["total_requests"]) == (1, 532, 3)


@from_outside()
async def test_b36_six_errors_raise_one_alert(there):
    for _ in range(7):
        await there.alice.get("/broken")
    [alert] = (await there.admin.get("/alerts")).json()["alerts"]
    assert (alert["type"], alert["error_count"], alert["timestamp"]) == ("high_error_rate", 6, "2027-01-15T08:00:00Z")
    assert (await there.alice.get("/alerts")).status_code == 403


@from_outside()
async def test_b37_two_errors_in_ten_calls_are_a_score_of_70_which_is_unhealthy(there):
    await there.start(there.alice, "work")
    assert (await there.alice.get("/session/work/health")).json()["status"] == "unknown"
    for number in range(10):
        await there.alice.get("/broken" if number < 2 else "/turn", headers=sid("work"))
    found = (await there.alice.get("/session/work/health")).json()
    assert (found["status"], found["score"], found["metrics"]["error_rate"]) == ("unhealthy", 70, 0.2)


@from_outside()
async def test_b38_at_the_boundary_a_session_is_over(there):
    own = sid((await there.start(there.nobody))["session_id"])
    there.clock.advance(1_799_999)
    assert (await there.nobody.get("/turn", headers=own)).status_code == 200
    there.clock.advance(1_800_000)
    assert said(await there.nobody.get("/turn", headers=own)) == (401, "Invalid session")


@from_outside(on_missing="reject")
async def test_b39_a_missing_and_an_unknown_session_are_two_refusals(there):
    assert said(await there.nobody.get("/turn")) == (401, "No session ID provided")
    assert said(await there.nobody.get("/turn", headers=sid("a" * 12 + "." + "x" * 43))) == (401, "Invalid session")
    own = (await there.start(there.nobody))["session_id"]
    assert (await there.nobody.get("/turn", headers=sid(own))).json()["id"] == own


@from_outside()
async def test_b40_the_hundred_and_first_request_of_a_minute_is_refused(there):
    own, other = [sid((await there.start(there.nobody))["session_id"]) for _ in range(2)]
    answers = await asyncio.gather(*[there.nobody.get("/turn", headers=own) for _ in range(101)])
    assert sorted(each.status_code for each in answers) == [200] * 100 + [429]
    refused = next(each for each in answers if each.status_code == 429)
    assert refused.json()["error"] == "Rate limit exceeded"
    assert int(refused.headers["retry-after"]) >= 1
    assert {"ratelimit", "ratelimit-policy"} <= set(refused.headers)
    assert (await there.nobody.get("/turn", headers=other)).status_code == 200


# The three tests of the source, by the name that selects them: pytest -k system_b


@from_outside(create_limit="off")
async def test_system_b_b41_ten_sessions_of_three_users_are_unique_and_within_their_limit(there):
    users = [there.nobody.as_user(name) for name in ("u0", "u1", "u2")]
    answers = await asyncio.gather(*[users[number % 3].post("/session/start") for number in range(10)])
    assert len({each.json()["session_id"] for each in answers}) == 10
    counts = [len((await user.get("/sessions")).json()["sessions"]) for user in users]
    assert (counts, await there.count()) == ([4, 3, 3], 10)


@from_outside(limits="100 api_calls/hour per user")
async def test_system_b_b42_a_hundred_calls_pass_and_the_next_is_refused(there):
    answers = [await there.alice.get("/turn") for _ in range(101)]
    assert [each.status_code for each in answers] == [200] * 100 + [429]
    assert (await there.bob.get("/turn")).status_code == 200


@from_outside(limits="100 tokens/hour per user")
async def test_system_b_b42_a_quota_of_a_hundred_says_that_it_is_exceeded(there):
    for _ in range(4):
        assert (await there.alice.post("/spend?tokens=25")).status_code == 200
    assert said(await there.alice.post("/spend?tokens=1")) == (429, "Quota exceeded for tokens: 101/100")


@pytest.mark.parametrize("name", ["chat", None])
def test_system_b_b43_the_conversations_of_two_users_are_apart(name):
    async def live() -> None:
        async with outside() as there:
            headers = {} if name is None else sid(name)
            for who, secret in ((there.alice, "alice's"), (there.bob, "bob's")):
                await who.post("/say", json={"text": secret}, headers=headers)
            heard = [(await who.get("/heard", headers=headers)).json() for who in (there.alice, there.bob)]
            assert [[each["text"] for each in one] for one in heard] == [["alice's"], ["bob's"]]
            assert "bob" not in json.dumps(heard[0])

    asyncio.run(live())
