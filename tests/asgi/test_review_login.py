"""What one user has left is never shown to the next: data, conversation, and the mapping in `scope["session"]`."""

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.asgi.test_guard import scenario_of


async def login(request: Request) -> JSONResponse:
    """Log in, and tell what is there to be seen of whoever was there before."""
    session = request.state.session
    await session.login(request.query_params["user"], keep_data="wiped" not in request.query_params)
    return await told(request)


async def note(request: Request) -> JSONResponse:
    session = request.state.session
    session.data["secret"] = "of " + request.query_params["by"]
    await session.context.append({"role": "user", "content": "of " + request.query_params["by"]})
    return await told(request)


async def told(request: Request) -> JSONResponse:
    session = request.state.session
    said = [message["content"] for message in await session.context.last()]
    return JSONResponse({"user": session.user_id, "data": dict(session.data), "said": said, "hits": session.hits})


async def mapped(request: Request) -> JSONResponse:
    """An app that knows only `request.session`."""
    request.session["secret"] = "of alice"
    await request.state.session.login("alice")
    await request.state.session.login("bob")
    seen = dict(request.session)
    request.session["user"] = "bob"
    return JSONResponse(seen)


async def edited(request: Request) -> JSONResponse:
    await request.state.session.update(lambda data: {**data, "by": "update"})
    request.session["beside"] = True
    return JSONResponse(dict(request.session))


ROUTES = [
    Route("/", told), Route("/login", login), Route("/note", note), Route("/mapped", mapped),
    Route("/edited", edited),
]  # fmt: skip
scenario = scenario_of(ROUTES)


@scenario()
async def test_the_next_user_does_not_read_the_conversation_of_the_one_before(there):
    """SES-11."""
    first = await there.get("/login?user=alice")
    await there.get("/note?by=alice", sid=first.headers["x-session-id"])
    second = await there.get("/login?user=bob", sid=first.headers["x-session-id"])
    seen = second.json()
    assert (seen["user"], seen["data"], seen["said"]) == ("bob", {}, [])
    assert (await there.get(sid=second.headers["x-session-id"])).json()["said"] == []
    assert (await there.get(sid=first.headers["x-session-id"])).status_code == 401
    assert await there.total() == 1


@scenario()
async def test_what_a_stranger_said_goes_on_unless_the_app_says_no(there):
    stranger = (await there.get("/note?by=nobody")).headers["x-session-id"]
    kept = await there.get("/login?user=alice", sid=stranger)
    assert (kept.json()["data"], kept.json()["said"]) == ({"secret": "of nobody"}, ["of nobody"])
    wiped = await there.get("/login?user=alice&wiped", sid=kept.headers["x-session-id"])
    assert (wiped.json()["data"], wiped.json()["said"]) == ({}, [])


@pytest.mark.parametrize("wiped", ["", "&wiped"])
def test_who_is_full_may_still_log_in_again(wiped):
    @scenario(max_sessions_per_user=1)
    async def run(there):
        first = await there.get("/login?user=alice")
        again = await there.get(f"/login?user=alice{wiped}", sid=first.headers["x-session-id"])
        assert (again.status_code, again.json()["user"]) == (200, "alice")
        assert await there.total() == 1

    run()


@scenario(session_token=True, api="/auth")
async def test_a_sessions_secret_is_asked_for_whatever_is_wiped(there):
    """SESSION_TOKEN: `start` returns it once; a login does not make it needless."""
    started = (await there.ask("POST", "/auth/session/start")).json()
    secret = [("X-Session-Token", started["token"])]
    answer = await there.get("/login?user=bob&wiped", sid=started["session_id"], headers=secret)
    new = answer.headers["x-session-id"]
    assert (await there.get(sid=new)).status_code == 401
    assert (await there.get(sid=new, headers=secret)).json()["user"] == "bob"


@scenario(scope_session=True)
async def test_the_mapping_in_the_scope_is_the_session_as_it_is_now(there):
    """SCOPE_SESSION: after a login of somebody else, and after an update."""
    answer = await there.get("/mapped")
    assert answer.json() == {}
    seen = (await there.get(sid=answer.headers["x-session-id"])).json()
    assert (seen["user"], seen["data"]) == ("bob", {"user": "bob"})
    answer = await there.get("/edited")
    assert answer.json() == {"by": "update", "beside": True}
    assert (await there.get(sid=answer.headers["x-session-id"])).json()["data"] == {"by": "update", "beside": True}


async def after(request: Request) -> JSONResponse:
    session = request.state.session
    await session.update(lambda data: {**data, "by": "update"})
    session.data["later"] = True
    return JSONResponse({})


@scenario_of([Route("/after", after), Route("/", told)])()
async def test_what_is_written_after_an_update_is_saved_too(there):
    answer = await there.get("/after")
    assert (await there.get(sid=answer.headers["x-session-id"])).json()["data"] == {"by": "update", "later": True}
