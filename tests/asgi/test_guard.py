"""One http request through the guard: who asks, one admission, the app, what is saved and sent."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from sessionware.core.ids import MintedId, parse_presented
from sessionware.core.store import Query
from sessionware.errors import StoreUnavailable
from tests.asgi.world import World, world


async def count(request: Request) -> JSONResponse:
    """A handler that counts its turns in the session, nested as apps do."""
    session = request.state.session
    if session is None:
        return JSONResponse({"session": None})
    session.data.setdefault("nested", {"turns": 0})["turns"] += 1
    return JSONResponse(
        {"id": session.id, "new": session.is_new, "turns": session.data["nested"]["turns"], "user": session.user_id}
    )


async def broken(request: Request) -> PlainTextResponse:
    request.state.session.data["lost"] = 1
    return PlainTextResponse("no", status_code=500)


async def peek(request: Request) -> JSONResponse:
    return JSONResponse(dict(request.state.session.data))


async def stream(request: Request) -> StreamingResponse:
    session = request.state.session

    async def parts():
        for number in range(3):
            session.data["part"] = number
            yield f"data: {number}\n\n"

    return StreamingResponse(parts(), media_type="text/event-stream")


async def burn(request: Request) -> JSONResponse:
    await request.state.session.spend(tokens=int(request.query_params["tokens"]))
    return JSONResponse({"left": True})


def in_a_thread(request: Request) -> JSONResponse:
    session = request.state.session
    session.sync.update(lambda data: data.update(thread=True))
    return JSONResponse(dict(session.data))


async def keep(request: Request) -> JSONResponse:
    await request.state.session.spend(storage_mb=int(request.query_params["mb"]))
    return JSONResponse({})


async def drop(request: Request) -> JSONResponse:
    return JSONResponse({"told": await request.state.session.release(storage_mb=int(request.query_params["mb"]))})


ROUTES = [
    Route("/", count, methods=["GET", "POST"]), Route("/health", count), Route("/broken", broken), Route("/peek", peek),
    Route("/stream", stream), Route("/burn", burn), Route("/thread", in_a_thread), Route("/keep", keep),
    Route("/drop", drop),
]  # fmt: skip


def scenario_of(routes: Any) -> Callable[..., Callable[[Callable[[World], Awaitable[None]]], Callable[[], None]]]:
    """`@scenario(...)` for these routes: turns `async def test(there)` into a plain test in a world of its own."""

    def scenario(**how: Any) -> Callable[[Callable[[World], Awaitable[None]]], Callable[[], None]]:
        def decorate(test: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
            def run() -> None:
                async def live() -> None:
                    async with world(routes, **how) as there:
                        await test(there)

                asyncio.run(live())

            run.__name__, run.__doc__ = test.__name__, test.__doc__
            return run

        return decorate

    return scenario


scenario = scenario_of(ROUTES)


@scenario()
async def test_a_stranger_gets_an_id_once_and_keeps_the_session_with_it(there):
    """E4: the generated id is returned, and the second call with it finds the same session."""
    first = await there.get()
    sid = first.headers["x-session-id"]
    assert isinstance(parse_presented(sid), MintedId)
    assert first.headers["cache-control"] == "private, no-store"
    second = await there.get(sid=sid)
    assert (first.json()["turns"], second.json()["turns"], second.json()["id"]) == (1, 2, sid)
    assert "x-session-id" not in second.headers
    assert "cache-control" not in second.headers


@scenario()
async def test_strangers_never_share_a_session(there):
    """20 anonymous requests -> 20 live sessions."""
    ids = {(await there.get()).headers["x-session-id"] for _ in range(20)}
    assert len(ids) == 20
    assert (await there.store.list(Query(limit=0), now=there.clock.now())).total == 20


@scenario()
async def test_an_id_that_we_never_made_becomes_no_session(there):
    """SES-02, B39: no adoption; nothing is stored under it."""
    answer = await there.get(sid="aaaaaaaaaaaa." + "x" * 43)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["error"] == "Invalid session"
    assert answer.json()["code"] == "session_invalid"
    assert answer.headers["www-authenticate"] == "Session"
    assert (await there.store.list(Query(limit=0), now=there.clock.now())).total == 0


@scenario()
async def test_a_token_selects_its_owners_default_session(there):
    """A10, A16: two users never meet."""
    assert [(await there.get(user=user)).json()["turns"] for user in ("alice", "alice", "bob")] == [1, 2, 1]
    assert (await there.get(user="alice")).json()["user"] == "alice"
    assert "x-session-id" not in (await there.get(user="alice")).headers


@scenario()
async def test_a_name_belongs_to_its_owner(there):
    """A16, A28: bob asking for alice's name gets a session of his own."""
    await there.get(user="alice", sid="work")
    assert (await there.get(user="alice", sid="work")).json()["turns"] == 2
    assert (await there.get(user="bob", sid="work")).json()["turns"] == 1


@scenario()
async def test_another_owners_minted_id_is_refused(there):
    """SES-03, SES-04, A44."""
    sid = (await there.get()).headers["x-session-id"]
    answer = await there.get(sid=sid, user="bob")
    assert (answer.status_code, answer.json()["error"]) == (403, "Permission denied")


@pytest.mark.parametrize(
    "sid",
    ["../../etc/passwd", "a b", "a,b", "{tag}", "x" * 129, "x" * 10_000, "s-abc", "%00", "start", "uaaaaaaaaaaa.x"],
)
def test_an_id_out_of_grammar_is_refused_before_any_lookup(sid):
    """SES-06, A28: 400, no store call, and the value is not echoed."""

    async def live() -> None:
        async with world(ROUTES, store=Away) as there:
            answer = await there.get(sid=sid, user="alice")
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_session_id")
            assert len(sid) < 20 or sid not in answer.text
            assert there.store.asked == 0

    asyncio.run(live())


@scenario()
async def test_two_session_headers_are_refused(there):
    """SES-05."""
    sid = (await there.get()).headers["x-session-id"]
    answer = await there.get(headers=[("X-Session-ID", sid), ("X-Session-ID", "other")])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_session_id")


@pytest.mark.parametrize("bad", ["", "x", "a.b.c", "Bearer"])
def test_a_bad_token_is_401_and_says_nothing_of_why(bad):
    """JWT-15, A23."""

    async def live() -> None:
        async with world(ROUTES) as there:
            answer = await there.get(headers=[("Authorization", f"Bearer {bad}")])
            assert answer.status_code == 401
            assert answer.json()["error"] == "Permission denied"
            assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'

    asyncio.run(live())


@scenario(limits="3/minute per session")
async def test_the_request_over_the_limit_is_refused_with_all_that_a_client_needs(there):
    """B40, A44: 429, Retry-After, RateLimit; other sessions are unaffected."""
    sid = (await there.get()).headers["x-session-id"]
    allowed = [await there.get(sid=sid) for _ in range(2)]
    assert (
        allowed[-1].headers["ratelimit-policy"] == '"requests-60s-session";q=3;w=60'
        or "ratelimit" in allowed[-1].headers
    )
    answer = await there.get(sid=sid)
    assert (answer.status_code, answer.json()["error"]) == (429, "Rate limit exceeded")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["retry_after_ms"] == int(answer.headers["retry-after-ms"])
    assert ";r=0;" in answer.headers["ratelimit"]
    assert (await there.get()).status_code == 200
    there.clock.advance(answer.json()["retry_after_ms"])
    assert (await there.get(sid=sid)).status_code == 200


@scenario(limits="100 tokens/day per session")
async def test_a_spend_over_the_quota_reaches_the_client_as_429(there):
    """B23, B42: the app did not catch it."""
    sid = (await there.get()).headers["x-session-id"]
    assert (await there.get("/burn?tokens=60", sid=sid)).status_code == 200
    answer = await there.get("/burn?tokens=41", sid=sid)
    assert (answer.status_code, answer.json()["error"]) == (429, "Quota exceeded for tokens: 101/100")
    assert answer.json()["code"] == "quota_exceeded"
    assert answer.headers["ratelimit-policy"] == '"tokens-day-session";q=100;w=86400'
    assert answer.headers["ratelimit"].startswith('"tokens-day-session";r=40;t=')
    assert answer.headers["x-should-retry"] == "false"
    assert (await there.get("/burn?tokens=40", sid=sid)).status_code == 200
    answer = await there.get(sid=sid)
    assert (answer.status_code, answer.json()["error"]) == (429, "Quota exceeded for tokens: 101/100")


@scenario()
async def test_a_handler_that_fails_saves_nothing(there):
    sid = (await there.get()).headers["x-session-id"]
    assert (await there.get("/broken", sid=sid)).status_code == 500
    assert (await there.get("/peek", sid=sid)).json() == {"nested": {"turns": 1}}


@scenario()
async def test_what_a_stream_changes_is_saved_after_it(there):
    sid = (await there.get()).headers["x-session-id"]
    assert (await there.get("/stream", sid=sid)).text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert (await there.get("/peek", sid=sid)).json()["part"] == 2


@scenario()
async def test_a_handler_in_a_thread_uses_the_same_session(there):
    sid = (await there.get()).headers["x-session-id"]
    assert (await there.get("/thread", sid=sid)).json()["thread"] is True
    assert (await there.get("/peek", sid=sid)).json()["thread"] is True


@scenario()
async def test_an_exempt_path_has_no_session_and_counts_nothing(there):
    """ASGI-01: and only that very path."""
    assert (await there.get("/health")).json() == {"session": None}
    assert (await there.store.list(Query(limit=0), now=there.clock.now())).total == 0
    assert (await there.get("/health/", sid="../x", user="a")).status_code == 400


@scenario(on_missing="reject")
async def test_where_a_session_is_required_its_absence_is_401(there):
    """B39."""
    answer = await there.get()
    assert (answer.status_code, answer.json()["error"]) == (401, "No session ID provided")


@scenario(on_missing="anonymous")
async def test_a_request_may_go_on_without_a_session(there):
    assert (await there.get()).json() == {"session": None}


@scenario(anonymous="off")
async def test_where_strangers_may_not_come_an_identity_is_asked_for(there):
    answer = await there.get()
    assert (answer.status_code, answer.json()["code"]) == (401, "identity_required")
    assert (await there.get(user="alice")).status_code == 200


COOKIES: dict[str, Any] = {"session_cookie": "session", "cookie_secure": "on", "on_missing": "create"}


@scenario(**COOKIES)
async def test_a_cookie_carries_the_session_and_is_guarded_against_other_sites(there):
    """SES-14, E5."""
    first = await there.get()
    assert first.headers["set-cookie"].endswith("; Path=/; HttpOnly; Secure; SameSite=Lax")
    assert "x-session-id" not in first.headers  # no script shall see it
    own = [("Cookie", first.headers["set-cookie"].partition(";")[0])]
    second = await there.get(headers=own)
    assert (second.json()["turns"], second.headers["vary"]) == (2, "Cookie")
    for foreign in [("Origin", "https://evil.test"), ("Sec-Fetch-Site", "cross-site"), ("Origin", "null")]:
        answer = await there.ask("POST", "/", headers=[*own, foreign])
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    for good in [("Origin", "http://app.test"), ("Sec-Fetch-Site", "same-origin"), ("X-Nothing", "")]:
        assert (await there.ask("POST", "/", headers=[*own, good])).status_code == 200


@scenario(**COOKIES)
async def test_an_old_cookie_gets_a_new_session(there):
    """ON_UNKNOWN auto: and a new id, never the one that was sent."""
    old = "aaaaaaaaaaaa." + "x" * 43
    answer = await there.get(headers=[("Cookie", f"session={old}")])
    assert answer.status_code == 200
    assert old not in answer.headers["set-cookie"]


def test_without_a_store_a_session_is_503_and_never_429():
    """C35: fail closed, and say when to try again."""

    async def live() -> None:
        async with world(ROUTES, store=Away) as there:
            answer = await there.get(user="alice")
            assert (answer.status_code, answer.json()["error"]) == (503, "Store unavailable")
            assert 1 <= int(answer.headers["retry-after"]) <= 5

    asyncio.run(live())


class Away:
    """A store that never answers an admission."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def __aenter__(self) -> Any:
        await self._store.__aenter__()
        return self

    async def __aexit__(self, *how: object) -> None:
        await self._store.__aexit__(*how)

    async def admit(self, ask: Any) -> Any:
        self.asked += 1
        raise StoreUnavailable("the store is away")


@scenario(limits="1 concurrent per global", required_groups="pro", anonymous="minted")
async def test_who_is_turned_away_after_the_admission_takes_no_slot_with_them(there):
    """A session that its id alone proves is judged by its record: its lease is given back."""
    started = await there.sessionware.sessions.start(by=there.sessionware.sessions.user("alice", iss="login:"))
    for _ in range(3):
        answer = await there.get(sid=started.id)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
        assert there.engine.gate.leases.running == 0
        while there.engine.gate.facts.waiting:
            await asyncio.sleep(0)


@scenario(limits="5 storage_mb total per user; 9 storage_mb/day per user")
async def test_a_full_level_refuses_what_would_add_to_it_and_lets_the_rest_in(there):
    """A user who has used up their storage may still look, and delete; what is deleted is room again."""
    assert (await there.get("/keep?mb=5", user="alice")).status_code == 200
    over = await there.get("/keep?mb=1", user="alice")
    assert (over.status_code, over.json()["error"]) == (429, "Quota exceeded for storage_mb: 6/5")
    assert (await there.get(user="alice")).status_code == 200
    assert (await there.get("/drop?mb=2", user="alice")).json() == {"told": True}
    assert (await there.get("/keep?mb=2", user="alice")).status_code == 200
    used = await there.sessionware.sessions.usage("default", by=there.sessionware.sessions.user("alice"))
    assert [(each["name"], each["used"]) for each in used["limits"]] == [
        ("storage_mb-total-user", 5), ("storage_mb-day-user", 7)
    ]  # fmt: skip
