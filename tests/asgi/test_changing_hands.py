"""Login, logout, rotation: who owns a session, and that the id of before is dead."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sessionware.core.session import EndReason
from sessionware.telemetry import Observer
from tests.asgi.test_guard import scenario_of
from tests.asgi.world import World


async def look(request: Request) -> JSONResponse:
    session = request.state.session
    return JSONResponse({"id": session.id, "user": session.user_id, "org": session.org_id, "data": dict(session.data)})


async def write(request: Request) -> JSONResponse:
    request.state.session.data["cart"] = 1
    return JSONResponse({})


async def login(request: Request) -> JSONResponse:
    session, query = request.state.session, request.query_params
    session.data["before"] = "kept"
    await session.login(query["user"], org_id=query.get("org"), groups=["pro"], keep_data=query.get("keep") != "no")
    session.data["after"] = session.user_id
    return JSONResponse({"groups": session.groups, "identity": session.identity.user_id})


async def rotate(request: Request) -> JSONResponse:
    session = request.state.session
    session.data["rotated"] = True
    await session.rotate()
    return JSONResponse({"id": session.id})


async def logout(request: Request) -> JSONResponse:
    await request.state.session.logout()
    return JSONResponse({})


async def everywhere(request: Request) -> JSONResponse:
    keep = request.query_params.get("all") is None
    return JSONResponse({"ended": await request.state.session.logout_everywhere(except_current=keep)})


ROUTES = [
    Route("/", look), Route("/write", write), Route("/login", login), Route("/rotate", rotate),
    Route("/logout", logout), Route("/everywhere", everywhere),
]  # fmt: skip
scenario = scenario_of(ROUTES)


async def logged_in(there: World, user: str = "alice", **how: Any) -> str:
    sid = (await there.get("/write")).headers["x-session-id"]
    answer = await there.get(f"/login?user={user}", sid=sid, **how)
    assert answer.status_code == 200, answer.text
    new: str = answer.headers["x-session-id"]
    return new


@scenario()
async def test_login_gives_the_session_to_the_user_under_a_new_id(there):
    """SES-11: the id that was known before the login is worthless after it."""
    old = (await there.get("/write")).headers["x-session-id"]
    answer = await there.get("/login?user=alice&org=acme", sid=old)
    assert answer.json() == {"groups": ["pro"], "identity": "alice"}
    assert answer.headers["cache-control"] == "private, no-store"
    new = answer.headers["x-session-id"]
    found = (await there.get(sid=new)).json()
    assert found == {
        "id": new, "user": "alice", "org": "acme", "data": {"cart": 1, "before": "kept", "after": "alice"}
    }  # fmt: skip
    dead = await there.get(sid=old)
    assert (dead.status_code, dead.json()["code"]) == (401, "session_invalid")
    assert await there.total() == 1


@scenario()
async def test_login_can_leave_the_data_of_before_behind(there):
    sid = (await there.get("/write")).headers["x-session-id"]
    new = (await there.get("/login?user=alice&keep=no", sid=sid)).headers["x-session-id"]
    assert (await there.get(sid=new)).json()["data"] == {"after": "alice"}


@scenario()
async def test_the_next_user_never_sees_what_the_last_one_left(there):
    alices = await logged_in(there)
    bobs = (await there.get("/login?user=bob", sid=alices)).headers["x-session-id"]
    assert (await there.get(sid=bobs)).json()["data"] == {"after": "bob"}


@scenario()
async def test_a_login_without_a_session_makes_one(there):
    answer = await there.get("/login?user=alice")
    assert (await there.get(sid=answer.headers["x-session-id"])).json()["user"] == "alice"
    assert await there.total() == 1


@scenario()
async def test_a_session_that_a_token_owns_cannot_be_logged_in_as_somebody_else(there):
    answer = await there.get("/login?user=bob", user="alice")
    assert (answer.status_code, answer.json()["error"]) == (403, "Permission denied")


@scenario(require_org=True)
async def test_where_an_org_is_required_a_login_without_one_is_refused(there):
    """D11: strangers do not even get that far."""
    assert (await there.get("/login?user=alice")).status_code == 401


@scenario()
async def test_rotation_keeps_everything_but_the_id(there):
    old = (await there.get("/write")).headers["x-session-id"]
    answer = await there.get("/rotate", sid=old)
    new = answer.headers["x-session-id"]
    assert answer.json() == {"id": new}
    assert new.partition(".")[0] == old.partition(".")[0]
    assert (await there.get(sid=new)).json()["data"] == {"cart": 1, "rotated": True}
    assert (await there.get(sid=old)).status_code == 401


@scenario()
async def test_a_name_is_no_secret_and_stays(there):
    answer = await there.get("/rotate", user="alice", sid="work")
    assert answer.json() == {"id": "work"}
    assert "x-session-id" not in answer.headers


@scenario()
async def test_logging_out_ends_this_session_alone(there):
    first, second = await logged_in(there), await logged_in(there)
    assert (await there.get("/logout", sid=first)).status_code == 200
    assert (await there.get(sid=first)).status_code == 401
    assert (await there.get(sid=second)).status_code == 200


@scenario()
async def test_logging_out_everywhere_else_ends_the_others_of_this_user_alone(there):
    one, two, three = await logged_in(there), await logged_in(there), await logged_in(there)
    bobs = await logged_in(there, "bob")
    ended = (await there.get("/everywhere", sid=two)).json()["ended"]
    assert len(ended) == 2
    assert [(await there.get(sid=sid)).status_code for sid in (one, two, three, bobs)] == [401, 200, 401, 200]
    assert len((await there.get("/everywhere?all=1", sid=two)).json()["ended"]) == 1
    assert [(await there.get(sid=sid)).status_code for sid in (two, bobs)] == [401, 200]


class Heard(Observer):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def on_start(self, session):
        self.told.append(f"start {session.birth.user_id}")

    async def on_end(self, session, reason: EndReason):
        self.told.append(f"end {reason.value}")

    async def on_refused(self, refused):
        self.told.append(f"refused {refused.code}")


def test_a_session_that_goes_on_under_another_id_did_not_end():
    heard = Heard()

    async def story(there: World) -> None:
        sid = await logged_in(there)
        await there.get("/logout", sid=sid)
        await there.get(sid=sid)
        await there.engine.runtime.observers.settled()
        assert heard.told == ["start None", "end ended", "refused session_invalid"]

    scenario(observers=(heard,))(story)()


@scenario(max_sessions_per_user=2)
async def test_a_user_who_logs_in_too_often_loses_the_oldest_session(there):
    """B8, store.md 16: and is told why."""
    one = await logged_in(there)
    there.clock.advance(10)
    two = await logged_in(there)
    there.clock.advance(10)
    three = await logged_in(there)
    answers = [await there.get(sid=sid) for sid in (one, two, three)]
    assert [answer.status_code for answer in answers] == [401, 200, 200]
    assert answers[0].json()["reason"] == "evicted"


@scenario()
async def test_two_logins_at_once_leave_one_session(there):
    sid = (await there.get("/write")).headers["x-session-id"]
    answers = await asyncio.gather(*[there.get("/login?user=alice", sid=sid) for _ in range(2)])
    assert min(answer.status_code for answer in answers) == 200
    assert await there.total() == sum(answer.status_code == 200 for answer in answers)


@scenario(api="/auth")
async def test_a_session_was_never_active_before_it_was_made(there):
    """It counts as made when its user logged in, a little after it was last seen."""
    sid = (await there.get("/write")).headers["x-session-id"]
    there.clock.advance(5_000)
    await there.sessionware.sessions.ping(sid)
    there.clock.advance(2)
    moved = await there.sessionware.sessions.adopt(sid, by=there.sessionware.sessions.user("alice"))
    assert moved.last_activity == moved.created_at
