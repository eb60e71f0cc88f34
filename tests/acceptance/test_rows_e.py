"""Rows E3..E23 of the acceptance list, from outside: over HTTP, with real tokens."""

import asyncio

import httpx2

from sessionware.core.session import EndReason
from sessionware.telemetry import Observer
from tests.acceptance.outside import from_outside, outside, said, sid

ANYWHERE = {"session_cookie": "sid", "session_query": "session_id", "session_body_field": "session_id"}


@from_outside(**ANYWHERE)
async def test_e3_e14_an_id_is_found_in_header_cookie_query_and_body(there):
    own = (await there.start(there.nobody))["session_id"]
    there.nobody.cookies.clear()
    stream = await there.nobody.get("/events", params={"session_id": own}, headers={"Accept": "text/event-stream"})
    assert stream.text == f"data: {own}\n\n"
    found = [
        await there.nobody.post("/turn", headers=sid(own)),
        await there.nobody.post("/turn", headers={"Cookie": f"sid={own}"}),
        *[
            await there.nobody.post(path, json={"session_id": own, "text": "hi"})
            for path in ("/send", "/interrupt", "/network", "/result")
        ],
    ]
    assert [(each.json()["id"], each.json()["turns"]) for each in found] == [(own, turn) for turn in range(1, 7)]


@from_outside()
async def test_e4_an_id_that_we_made_is_told_once_and_then_works(there):
    first = await there.nobody.get("/turn")
    second = await there.nobody.get("/turn", headers=sid(first.headers["x-session-id"]))
    assert (first.json()["turns"], second.json()["turns"]) == (1, 2)
    assert "x-session-id" not in second.headers


@from_outside(session_cookie="on")
async def test_e5_a_client_that_knows_only_cookies_keeps_its_session(there):
    turns = [(await there.nobody.get("/turn")).json()["turns"] for _ in range(3)]
    other = there.nobody.as_user(None)
    assert (turns, (await other.get("/turn")).json()["turns"]) == ([1, 2, 3], 1)


@from_outside()
async def test_e7_a_look_at_an_unknown_session_makes_none(there):
    assert said(await there.alice.get("/session/never/status")) == (404, "Session not found")
    assert await there.count() == 0


@from_outside()
async def test_e10_a_system_message_stays_in_its_session(there):
    for name in ("one", "two"):
        await there.alice.post("/say", json={"role": "system", "text": name}, headers=sid(name))
    heard = [(await there.alice.get("/heard", headers=sid(name))).json() for name in ("one", "two")]
    assert [[each["text"] for each in one] for one in heard] == [["one"], ["two"]]


@from_outside(allowed_origins="https://chat.example")
async def test_e13_a_page_of_another_origin_may_read_the_id(there):
    origin = {"Origin": "https://chat.example"}
    asked = await there.nobody.options(
        "/turn",
        headers={
            **origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-session-id",
        },
    )  # fmt: skip
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, "https://chat.example")
    first = await there.nobody.get("/turn", headers=origin)
    assert "X-Session-ID" in first.headers["access-control-expose-headers"]
    own = sid(first.headers["x-session-id"])
    assert (await there.nobody.post("/turn", headers=own | origin)).json()["turns"] == 2
    refused = await there.nobody.get("/turn", headers=sid("a b") | origin)  # a page can read why, too
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (400, "https://chat.example")
    foreign = await there.nobody.get("/turn", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


@from_outside()
async def test_e15_three_sessions_are_counted_as_three(there):
    for _ in range(3):
        await there.start(there.nobody)
    assert await there.count() == 3


# E23, the tests of the source, by the name that selects them: pytest -k system_e


@from_outside()
async def test_system_e_e23_creation(there):
    first = await there.nobody.get("/turn")
    assert (first.status_code, first.json()["turns"], await there.count()) == (200, 1, 1)
    assert first.headers["x-session-id"] == first.json()["id"]


@from_outside()
async def test_system_e_e23_isolation(there):
    one, two = [sid((await there.start(there.nobody))["session_id"]) for _ in range(2)]
    await there.nobody.post("/remember", content=b"secret", headers=one)
    heard = [(await there.nobody.get("/recall", headers=own)).json()["memory"] for own in (one, two)]
    assert heard == ["secret", ""]


@from_outside()
async def test_system_e_e23_reuse(there):
    own = sid((await there.start(there.nobody))["session_id"])
    assert [(await there.nobody.get("/turn", headers=own)).json()["turns"] for _ in range(3)] == [1, 2, 3]
    assert await there.count() == 1


@from_outside()
async def test_system_e_e23_many_at_once(there):
    answers: list[httpx2.Response] = await asyncio.gather(*[there.nobody.get("/turn") for _ in range(50)])
    ids = [each.headers["x-session-id"] for each in answers]
    assert (len(set(ids)), await there.count()) == (50, 50)
    again = await asyncio.gather(*[there.nobody.get("/turn", headers=sid(own)) for own in ids])
    assert [each.json()["turns"] for each in again] == [2] * 50


class Cleaned(Observer):
    """Waits until so many sessions have expired."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.all = asyncio.Event()

    async def on_end(self, session, reason):
        self._left -= reason is EndReason.EXPIRED
        if not self._left:
            self.all.set()


def test_system_e_e23_cleanup_by_time_alone():
    """What the source's own test does by hand: nobody asks, and they are gone."""

    async def live() -> None:
        cleaned = Cleaned(3)
        async with outside(session_ttl=2, cleanup_interval=0.1, observers=(cleaned,)) as there:
            for _ in range(3):
                await there.start(there.nobody)
            there.clock.advance(2_000)
            async with asyncio.timeout(10):
                await cleaned.all.wait()
            assert await there.count() == 0

    asyncio.run(live())


@from_outside(create_limit="off")
async def test_system_e_e23_uniqueness(there):
    started = await asyncio.gather(*[there.start(there.nobody) for _ in range(100)])
    assert len({each["session_id"] for each in started}) == 100
