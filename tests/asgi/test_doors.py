"""Other doors: tickets, ids in bodies and URLs, secrets beside ids, what an answer says it took, other origins."""

import asyncio
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from sessionware import SessionMiddleware
from tests.asgi.test_guard import scenario_of
from tests.asgi.world import World, token

EVENTS = [("Accept", "text/event-stream")]


async def who(request: Request) -> JSONResponse:
    session = request.state.session
    session.data["turns"] = session.data.get("turns", 0) + 1
    return JSONResponse({"id": session.id, "user": session.user_id, "turns": session.data["turns"]})


async def echo(request: Request) -> JSONResponse:
    return JSONResponse({"session": request.state.session.id, "body": (await request.body()).decode()})


async def events(request: Request) -> StreamingResponse:
    async def parts() -> Any:
        yield f"data: {request.state.session.user_id}\n\n"

    return StreamingResponse(parts(), media_type="text/event-stream")


async def model(request: Request) -> JSONResponse:
    said = request.query_params.get("said", "tokens=60, compute_seconds=2")
    return JSONResponse({}, headers={"X-Sessionware-Spend": said})


ROUTES = [
    Route("/", who, methods=["GET", "POST"]), Route("/echo", echo, methods=["POST"]), Route("/events", events),
    Route("/model", model),
]  # fmt: skip
scenario = scenario_of(ROUTES)


async def ticket_of(there: World, **how: Any) -> str:
    answer = await there.ask("POST", "/session/ticket", **how)
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in"] == 30
    ticket: str = answer.json()["ticket"]
    return ticket


@scenario(api="/")
async def test_a_ticket_opens_one_event_stream_and_no_second(there):
    """E8: EventSource can send no header; what stands in the URL is worthless after its first use."""
    await there.get(user="alice")
    ticket = await ticket_of(there, user="alice")
    first = await there.get(f"/events?ticket={ticket}", headers=EVENTS)
    assert first.text == "data: alice\n\n"
    second = await there.get(f"/events?ticket={ticket}", headers=EVENTS)
    assert (second.status_code, second.json()["error"]) == (401, "Permission denied")


@scenario(api="/")
async def test_a_ticket_of_a_stranger_opens_the_strangers_session(there):
    sid = (await there.get()).headers["x-session-id"]
    ticket = await ticket_of(there, sid=sid)
    assert sid not in ticket
    assert (await there.get(f"/?ticket={ticket}", headers=EVENTS)).json()["turns"] == 2


@scenario(api="/")
async def test_a_ticket_is_over_after_thirty_seconds(there):
    await there.get(user="alice")
    ticket = await ticket_of(there, user="alice")
    there.clock.advance(30_000)
    assert (await there.get(f"/events?ticket={ticket}", headers=EVENTS)).status_code == 401


@scenario(api="/")
async def test_a_ticket_is_for_event_streams_and_sockets_only(there):
    """Elsewhere it is a query parameter like any other: the request has a session of its own."""
    await there.get(user="alice")
    ticket = await ticket_of(there, user="alice")
    assert (await there.get(f"/?ticket={ticket}")).json()["user"] is None


@scenario(api="/")
async def test_a_ticket_beside_another_credential_is_refused(there):
    await there.get(user="alice")
    ticket = await ticket_of(there, user="alice")
    answer = await there.get(f"/events?ticket={ticket}", user="bob", headers=EVENTS)
    assert (answer.status_code, answer.json()["code"]) == (400, "ambiguous_credentials")


@pytest.mark.parametrize("forged", ["x", "AAAA", "%00", "é", "a" * 5000])
def test_what_is_no_ticket_of_ours_is_401(forged):
    @scenario()
    async def story(there: World) -> None:
        answer = await there.client.get("/events", params={"ticket": forged}, headers=EVENTS)
        assert answer.status_code == 401

    story()


@scenario(session_query="sid")
async def test_an_id_in_the_url_is_for_event_streams_only(there):
    """SES-13, E8."""
    sid = (await there.get()).headers["x-session-id"]
    assert (await there.get(f"/?sid={sid}", headers=EVENTS)).json()["turns"] == 2
    assert (await there.get(f"/?sid={sid}")).json()["turns"] == 1


@scenario(session_body_field="session_id", anonymous="named")
async def test_an_id_may_stand_in_a_json_body_and_the_app_still_reads_it(there):
    """E3: a bounded look; the body is there again, byte for byte."""
    body = b'{"session_id": "work",  "message": "hello"}'
    answer = await there.ask("POST", "/echo", content=body)
    assert answer.json() == {"session": "work", "body": body.decode()}
    both = await there.ask("POST", "/echo", sid="other", content=body)
    assert (both.status_code, both.json()["code"]) == (400, "invalid_session_id")
    for other in (
        b"",
        b"[1]",
        b"not json",
        b'{"session_id": 7}',
        b"[" * 60_000,
        b'{"session_id": "work", "x": "%s"}' % (b"x" * 70_000),
    ):
        answer = await there.ask("POST", "/echo", content=other)
        assert (answer.status_code, answer.json()["body"]) == (200, other.decode())
        assert answer.json()["session"] != "work"
    assert (await there.ask("POST", "/echo", content=b'{"session_id": "../x"}')).status_code == 400


@scenario(session_token=True, api="/")
async def test_where_a_secret_was_handed_out_the_id_alone_is_not_enough(there):
    """B26, B27: only its hash is stored, and the comparison takes constant time."""
    started = (await there.ask("POST", "/session/start")).json()
    sid, secret = started["session_id"], started["token"]
    assert (await there.get(sid=sid, headers=[("X-Session-Token", secret)])).status_code == 200
    for wrong in ([], [("X-Session-Token", "x" * 43)], [("X-Session-Token", secret), ("X-Session-Token", secret)]):
        answer = await there.get(sid=sid, headers=wrong)
        assert (answer.status_code, answer.json()["error"]) == (401, "Permission denied")


@scenario(limits="100 tokens/day per user; 10 compute_seconds/day per user")
async def test_an_answer_may_say_what_it_took_and_the_client_never_sees_it(there):
    """X-Sessionware-Spend: booked after the answer, so the next one may be refused."""
    answer = await there.get("/model", user="alice")
    assert "x-sessionware-spend" not in answer.headers
    assert (await there.get("/model", user="alice")).status_code == 200
    over = await there.get("/model", user="alice")
    assert (over.status_code, over.json()["error"]) == (429, "Quota exceeded for tokens: 121/100")
    assert (await there.get("/model", user="bob")).status_code == 200


@pytest.mark.parametrize("said", ["tokens", "tokens=-1", "tokens=1e9", "=5", "tokens=5;x", "tokens=99999999999", ""])
def test_what_is_no_amount_is_left_out(said):
    @scenario(limits="100 tokens/day per user")
    async def story(there: World) -> None:
        for _ in range(2):
            answer = await there.client.get(
                "/model", params={"said": said}, headers={"Authorization": f"Bearer {token('alice')}"}
            )
            assert answer.status_code == 200
            assert "x-sessionware-spend" not in answer.headers

    story()


ORIGIN = "https://front.test"


@scenario(allowed_origins=ORIGIN)
async def test_a_page_of_an_allowed_origin_can_read_its_id_and_its_refusals(there):
    """E13: CORS for these origins, with our headers exposed."""
    asked = [
        ("Origin", ORIGIN),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "x-session-id"),
    ]
    preflight = await there.ask("OPTIONS", "/", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert await there.total() == 0
    answer = await there.get(headers=[("Origin", ORIGIN)])
    assert "X-Session-ID" in answer.headers["access-control-expose-headers"]
    refused = await there.get(sid="aaaaaaaaaaaa." + "x" * 43, headers=[("Origin", ORIGIN)])
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)
    other = await there.get(headers=[("Origin", "https://evil.test")])
    assert "access-control-allow-origin" not in other.headers


@scenario(allowed_hosts="app.test,other.test")
async def test_a_host_that_is_not_ours_is_misdirected(there):
    """ASGI-01: a name that was rebound to us gets nothing."""
    assert (await there.get()).status_code == 200
    for host in ("evil.test", "app.test.evil", "app.test:81", ""):
        answer = await there.get(headers=[("Host", host)])
        assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")


@scenario()
async def test_a_preflight_makes_no_session_and_counts_nothing(there):
    asked = [("Origin", ORIGIN), ("Access-Control-Request-Method", "POST")]
    assert (await there.ask("OPTIONS", "/", headers=asked)).status_code == 405
    assert await there.total() == 0


@scenario(api="/auth")
async def test_paths_of_the_session_api_load_no_session_by_themselves(there):
    """Architecture 7: identity-only; and only under its prefix."""
    started = await there.ask("POST", "/auth/session/start")
    assert started.status_code == 201
    assert started.headers["x-session-id"] == started.json()["session_id"]
    assert await there.total() == 1
    status = await there.get("/auth/session/current/status", sid=started.json()["session_id"])
    assert status.json()["total_requests"] == 0
    assert (await there.get("/auth/health")).json() == {"status": "ok"}
    assert (await there.get("/auth/ready")).json() == {"status": "ready"}
    assert "sessionware_sessions_active 1.0" in (await there.get("/auth/metrics")).text
    assert (await there.get("/session/start")).status_code == 404
    assert (await there.get("/health/x")).status_code == 404


def test_one_loop_after_the_other_may_use_the_same_app():
    """Starlette's TestClient gives every request a loop of its own when nobody enters it."""
    app = SessionMiddleware(Starlette(routes=ROUTES))
    sids = []

    async def once(sid: str) -> httpx2.Response:
        headers = {"X-Session-ID": sid} if sid else {}
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://app.test") as client:
            return await client.get("/", headers=headers)

    first = asyncio.run(once(""))
    sids.append(first.headers["x-session-id"])
    assert asyncio.run(once(sids[0])).json()["turns"] == 2
