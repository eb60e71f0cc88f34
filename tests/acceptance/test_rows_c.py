"""Rows C19..C31 of the acceptance list, from outside: over HTTP, with real tokens."""

import asyncio

from sessionware.stores.memory import MemoryStore
from sessionware.testing import FaultyStore
from tests.acceptance.outside import from_outside, outside, said, sid


@from_outside(on_missing="anonymous")
async def test_c19_a_good_session_does_not_excuse_an_expired_token(there):
    own = sid((await there.start(there.alice))["session_id"])
    assert (await there.alice.get("/turn", headers=own)).status_code == 200
    late = there.nobody.as_user("alice", exp=there.clock.now() // 1000 - 60)
    assert said(await late.get("/turn", headers=own)) == (401, "Permission denied")


def test_c19_a_request_without_a_session_is_stateless():
    """Nothing is stored, and without limits nobody is even asked."""

    async def live() -> None:
        stores = []

        def watched(clock):
            stores.append(FaultyStore(MemoryStore(clock=clock)))
            return stores[-1]

        async with outside(store=watched, on_missing="anonymous", limits="off") as there:
            for _ in range(2):
                assert (await there.nobody.get("/turn")).json() == {"session": None}
            assert stores[0].calls.total() == 0
            assert await there.count() == 0

    asyncio.run(live())


@from_outside()
async def test_c21_a_session_counts_its_requests_and_its_client_is_no_header(there):
    await there.start(there.alice, "work")
    for _ in range(2):
        spoofed = {**sid("work"), "X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
        await there.alice.get("/turn", headers=spoofed)
    assert (await there.alice.get("/session/work/status")).json()["total_requests"] == 2
    [row] = (await there.alice.get("/sessions")).json()["sessions"]
    assert row["client"] == "127.0.0.1"


@from_outside()
async def test_c24_a_ping_moves_the_activity_and_leaves_the_rest(there):
    await there.start(there.alice, "work", metadata={"a": 1})
    before = (await there.alice.get("/session/work/status")).json()
    there.clock.advance(1_000)
    await there.alice.post("/session/work/ping")
    after = (await there.alice.get("/session/work/status")).json()
    assert {name for name in after if after[name] != before[name]} == {"last_activity", "expires_at", "total_requests"}
    assert after["last_activity"] == "2027-01-15T08:00:01Z"


@from_outside(limits="pace=100/second per session", jwt_claim_limits="limits")
async def test_c25_a_session_of_two_a_second_refuses_the_third(there):
    """By a claim of the token; metadata belongs to the client and changes nothing."""
    slow = there.nobody.as_user("carol", limits={"pace": 2})
    await there.start(slow, "work", metadata={"rate_limit": 1000})
    there.clock.advance(500)  # into a window: at its very edge a sliding one waits a millisecond longer
    answers = [await slow.get("/turn", headers=sid("work")) for _ in range(3)]
    assert [each.status_code for each in answers] == [200, 200, 429]
    refused = answers[-1]
    assert 0 < refused.json()["retry_after_ms"] <= 1000
    assert int(refused.headers["retry-after"]) == 1
    assert all([(await there.alice.get("/turn")).status_code == 200 for _ in range(3)])


@from_outside()
async def test_c26_sessions_are_closed_in_one_call(there):
    """The rest of the row, JSON-RPC batches, is the proxy's."""
    for name in ("one", "two", "three"):
        await there.start(there.alice, name)
    await there.start(there.bob, "other")
    closed = (await there.admin.request("DELETE", "/sessions", params={"user": "alice"})).json()
    assert (closed["closed"], len(set(closed["handles"])), await there.count()) == (3, 3, 1)


@from_outside(preset="dev")
async def test_c30_a_development_preset_is_five_minutes_and_names_for_everybody(there):
    started = await there.start(there.nobody, "mine")
    assert started["expires_at"] == "2027-01-15T08:05:00Z"
    assert (await there.nobody.get("/turn", headers=sid("mine"))).json()["id"] == "mine"


@from_outside(preset="dev", session_ttl=60)
async def test_c30_what_is_said_beside_a_preset_wins(there):
    assert (await there.start(there.nobody))["expires_at"] == "2027-01-15T08:01:00Z"
