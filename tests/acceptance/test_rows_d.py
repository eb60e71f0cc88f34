"""Rows D1..D17 of the acceptance list, from outside: over HTTP, with real tokens."""

import asyncio
import json
import re

import pytest

from sessionware.core.ids import ref
from sessionware.telemetry import Observer
from tests.acceptance.outside import from_outside, outside, said, sid


@from_outside()
async def test_d1_what_many_change_at_once_is_changed_by_each(there):
    answers = await asyncio.gather(*[there.alice.post("/add", headers=sid("work")) for _ in range(50)])
    assert sorted(each.json()["count"] for each in answers) == list(range(1, 51))


@from_outside(create_limit="off", max_sessions_per_client="off")
async def test_d3_e12_no_two_ids_are_alike(there):
    """Ours are 256 random bits and no uuid."""
    started = [await there.start(there.nobody) for _ in range(500)]
    assert len({each["session_id"] for each in started}) == len({each["ref"] for each in started}) == 500


@from_outside()
async def test_d4_d17_a_status_says_who_where_and_since_when(there):
    carol = there.nobody.as_user("carol", org="acme")
    started = await there.start(carol, "work")
    await carol.get("/turn", headers=sid("work"))
    first, second = [(await carol.get("/session/work/status")).json() for _ in range(2)]
    assert first == second
    assert first == {
        "session_id": "work", "ref": started["ref"], "state": "active", "user_id": "carol", "org_id": "acme",
        "name": "work", "created_at": "2027-01-15T08:00:00Z", "last_activity": "2027-01-15T08:00:00Z",
        "expires_at": "2027-01-15T08:30:00Z", "total_requests": 1, "links": [], "metadata": {},
    }  # fmt: skip


def test_d7_a_start_an_end_a_refusal_and_a_foreign_id_are_a_line_each(tmp_path):
    trail = tmp_path / "audit.jsonl"

    async def live() -> tuple[str, str]:
        async with outside(audit=f"file:{trail}", limits="1/minute per session") as there:
            carol = there.nobody.as_user("carol", org="acme")
            started = await there.start(carol)
            own = sid(started["session_id"])
            await carol.get("/turn", headers=own)
            await carol.get("/turn", headers=own)
            await there.bob.get("/turn", headers=own)
            await carol.delete(f"/session/{started['session_id']}")
            return started["session_id"], started["ref"]

    own, name = asyncio.run(live())
    written = trail.read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    found = {line["event"]: line for line in lines}
    assert {"start", "refused", "foreign_id", "end"} <= found.keys()
    assert found["foreign_id"]["user"] == "bob"
    for event in ("start", "refused", "end"):
        line = found[event]
        assert (line["user"], line["org"], line["ref"]) == ("carol", "acme", name), event
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert own not in written


class Listener(Observer):
    def __init__(self) -> None:
        self.heard: list[str] = []

    async def on_start(self, session):
        self.heard.append(f"start {ref(session.key)}")

    async def on_end(self, session, reason):
        self.heard.append(f"end {ref(session.key)} {reason.value}")


def test_d8_an_observer_of_ones_own_is_called():
    listener = Listener()

    async def live() -> str:
        async with outside(observers=(listener,)) as there:
            name = str((await there.start(there.alice, "work"))["ref"])
            await there.alice.delete("/session/work")
            return name

    name = asyncio.run(live())
    assert listener.heard == [f"start {name}", f"end {name} ended"]


@from_outside()
async def test_d10_errors_have_codes_and_a_foul_user_is_none(there):
    gone = (await there.alice.get("/session/never/status")).json()
    assert (gone["code"], gone["error"]) == ("session_not_found", "Session not found")
    for user in ("", "x" * 256, "a\nb"):
        assert (await there.nobody.as_user(user).get("/turn")).status_code == 401
        assert (await there.nobody.as_user(user).post("/session/start")).status_code == 401
    assert (await there.nobody.as_user("dave", org="x" * 256).get("/turn")).status_code == 401
    assert await there.count() == 0


@from_outside(require_org="on")
async def test_d11_where_an_organisation_is_required_nobody_else_gets_in(there):
    assert said(await there.alice.get("/turn")) == (403, "Permission denied")
    assert (await there.alice.post("/session/start")).status_code in {400, 403}
    assert (await there.nobody.get("/turn")).status_code == 401
    assert (await there.nobody.as_user("carol", org="acme").get("/turn")).status_code == 200


@from_outside()
async def test_d15_everybody_lists_their_own_and_administrators_anybodys(there):
    await there.start(there.alice, "hers")
    await there.start(there.bob, "his")
    names = [each["name"] for each in (await there.alice.get("/sessions")).json()["sessions"]]
    assert names == ["hers"]
    assert (await there.alice.get("/sessions", params={"user": "bob"})).status_code == 403
    of_bob = (await there.admin.get("/sessions", params={"user": "bob"})).json()["sessions"]
    assert [each["name"] for each in of_bob] == ["his"]


# D19, what the source's own tests promise, by the name that selects them: pytest -k system_d


@from_outside()
async def test_system_d_d19_a_session_is_made_and_deleted(there):
    await there.start(there.alice, "work")
    assert await there.count() == 1
    assert (await there.alice.delete("/session/work")).status_code == 200
    assert await there.count() == 0


@from_outside(create_limit="off", max_sessions_per_user="off")
async def test_system_d_d19_sessions_are_made_at_once_by_many(there):
    users = [there.nobody.as_user(f"u{number}") for number in range(10)]
    await asyncio.gather(*[user.post("/session/start") for user in users for _ in range(5)])
    assert await there.count() == 50


@from_outside()
async def test_system_d_d19_d20_of_ten_closes_at_once_one_succeeds(there):
    await there.start(there.alice, "work")
    answers = await asyncio.gather(*[there.alice.post("/session/work/close") for _ in range(10)])
    assert sorted(each.status_code for each in answers) == [200] + [404] * 9


@from_outside()
async def test_system_d_d19_errors_are_typed(there):
    await there.start(there.alice, "work")
    codes = [
        (await there.alice.post("/session/start", json={"session_id": "work"})).json()["code"],
        (await there.alice.get("/session/never/status")).json()["code"],
        (await there.alice.post("/cleanup")).json()["code"],
        (await there.nobody.get("/session/current/status")).json()["code"],
    ]
    assert codes == ["session_exists", "session_not_found", "permission_denied", "session_required"]


@pytest.mark.parametrize(("most", "made"), [(3, 3), ("off", 20)])
def test_system_d_d19_d9_no_more_sessions_than_the_global_limit(most, made):
    async def live() -> None:
        async with outside(max_sessions=most, create_limit="off") as there:
            answers = await asyncio.gather(*[there.nobody.post("/session/start") for _ in range(20)])
            refused = [each for each in answers if each.status_code != 201]
            assert (len(refused), await there.count()) == (20 - made, made)
            assert {said(each) for each in refused} <= {(503, "maximum concurrent sessions reached")}

    asyncio.run(live())


@from_outside(session_ttl="off", session_max_age="off", session_max_ttl="off")
async def test_system_d_d19_d16_the_inactive_ones_are_removed_and_named(there):
    await there.start(there.alice, "idle")
    there.clock.advance(86_400_000)
    await there.start(there.alice, "busy")
    [idle] = [each for each in (await there.alice.get("/sessions")).json()["sessions"] if each["name"] == "idle"]
    removed = (await there.admin.post("/cleanup", json={"idle_seconds": 86_400})).json()
    assert removed == {"removed": 1, "handles": [idle["handle"]]}
    assert [each["name"] for each in (await there.alice.get("/sessions")).json()["sessions"]] == ["busy"]


@from_outside()
async def test_system_d_d19_d14_sessions_are_counted_per_user_and_in_all(there):
    for who, name in ((there.alice, "a"), (there.alice, "b"), (there.bob, "c")):
        await there.start(who, name)
    counted = [await there.admin.get("/sessions", params={"user": user, "count": "true"}) for user in ("alice", "bob")]
    assert ([each.json()["count"] for each in counted], await there.count()) == ([2, 1], 3)


@pytest.mark.parametrize("text", ["text", "json"])
def test_system_d_d19_e16_a_removal_is_logged_with_its_reason(text, caplog):
    caplog.set_level("INFO", logger="sessionware")

    async def live() -> tuple[str, str]:
        async with outside(session_ttl=2, log_format=text) as there:
            started = await there.start(there.nobody)
            there.clock.advance(2_000)
            await there.admin.post("/cleanup")
            return f"session {started['ref']} ended: expired", started["session_id"]

    line, own = asyncio.run(live())
    assert line in caplog.text
    assert not re.search(re.escape(own), caplog.text)
