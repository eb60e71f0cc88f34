"""Cookie apps: a session exists only once something is written to it, and nobody's id is shown to a script or cache."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.asgi.test_guard import scenario_of
from tests.asgi.world import World


async def look(request: Request) -> JSONResponse:
    session = request.state.session
    return JSONResponse({"data": dict(session.data), "new": session.is_new, "stored": session.is_stored})


async def plain(_: Request) -> Response:
    return Response("no session was looked at")


async def put(request: Request) -> JSONResponse:
    request.state.session.data["cart"] = ["book"]
    return JSONResponse({})


async def note(request: Request) -> JSONResponse:
    session = request.state.session
    await session.context.append({"role": "user"})
    return JSONResponse({"messages": len(await session.context.last())})


async def leave(request: Request) -> JSONResponse:
    await request.state.session.logout()
    return JSONResponse({})


async def broken(request: Request) -> JSONResponse:
    request.state.session.data["cart"] = ["lost"]
    return JSONResponse({}, status_code=500)


async def authlib(request: Request) -> JSONResponse:
    request.session["state"] = request.session.get("state", 0) + 1
    return JSONResponse({"state": request.session["state"]})


ROUTES = [
    Route("/", look), Route("/plain", plain), Route("/put", put, methods=["GET", "POST"]), Route("/note", note),
    Route("/leave", leave), Route("/broken", broken), Route("/authlib", authlib),
]  # fmt: skip
COOKIES: dict[str, Any] = {"session_cookie": "on"}
scenario = scenario_of(ROUTES)


def cookie_of(answer: Any) -> list[tuple[str, str]]:
    return [("Cookie", answer.headers["set-cookie"].partition(";")[0])]


@scenario(**COOKIES)
async def test_a_visitor_who_writes_nothing_gets_no_cookie_and_no_session(there: World) -> None:
    """ON_MISSING auto is lazy for cookies; what depended on the cookie's absence says so to caches."""
    answer = await there.get()
    assert answer.json() == {"data": {}, "new": True, "stored": False}
    assert "set-cookie" not in answer.headers
    assert answer.headers["vary"] == "Cookie"
    assert "vary" not in (await there.get("/plain")).headers
    assert await there.total() == 0


@scenario(**COOKIES)
async def test_the_first_write_makes_the_session_and_hands_out_its_cookie(there: World) -> None:
    answer = await there.get("/put")
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["set-cookie"].startswith("session=a")
    assert answer.headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Lax")
    assert "x-session-id" not in answer.headers
    again = await there.get(headers=cookie_of(answer))
    assert again.json() == {"data": {"cart": ["book"]}, "new": False, "stored": True}
    assert "set-cookie" not in again.headers
    assert await there.total() == 1


@scenario(**COOKIES)
async def test_over_https_the_cookie_is_bound_to_its_host(there: World) -> None:
    """SES-14: `__Host-` and Secure where the connection allows it; the plain name means nothing there."""
    there.client.base_url = "https://app.test"
    answer = await there.get("/put")
    assert answer.headers["set-cookie"].startswith("__Host-session=a")
    assert answer.headers["set-cookie"].endswith("; Path=/; HttpOnly; Secure; SameSite=Lax")
    name, _, sid = answer.headers["set-cookie"].partition(";")[0].partition("=")
    assert (await there.get(headers=[("Cookie", f"{name}={sid}")])).json()["stored"] is True
    assert (await there.get(headers=[("Cookie", f"session={sid}")])).json()["stored"] is False


@scenario(**COOKIES)
async def test_a_handler_that_fails_makes_no_session(there: World) -> None:
    assert (await there.get("/broken")).status_code == 500
    assert await there.total() == 0


@scenario(**COOKIES)
async def test_the_conversation_of_a_visitor_begins_with_the_first_message(there: World) -> None:
    answer = await there.get("/note")
    assert answer.json() == {"messages": 1}
    assert (await there.get("/note", headers=cookie_of(answer))).json() == {"messages": 2}


@scenario(**COOKIES)
async def test_logging_out_takes_the_cookie_back(there: World) -> None:
    own = cookie_of(await there.get("/put"))
    answer = await there.get("/leave", headers=own)
    assert answer.headers["set-cookie"] == "session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    assert await there.total() == 0
    assert (await there.get(headers=own)).json() == {"data": {}, "new": True, "stored": False}


@scenario(**COOKIES)
async def test_an_expired_cookie_begins_anew_without_an_error(there: World) -> None:
    """ON_UNKNOWN auto; and only when something is written, under an id that was never sent."""
    own = cookie_of(await there.get("/put"))
    there.clock.advance(1_800_000)
    assert (await there.get(headers=own)).json() == {"data": {}, "new": True, "stored": False}
    fresh = cookie_of(await there.get("/put", headers=own))
    assert fresh != own
    assert (await there.get(headers=fresh)).json()["data"] == {"cart": ["book"]}


@scenario(**COOKIES, on_missing="reject")
async def test_where_a_session_is_required_an_expired_cookie_makes_none(there: World) -> None:
    answer = await there.get(headers=[("Cookie", "session=aaaaaaaaaaaa." + "x" * 43)])
    assert (answer.status_code, answer.json()["code"]) == (401, "session_invalid")


@scenario(**COOKIES, create_limit="1/minute per client")
async def test_a_write_over_the_budget_for_sessions_is_429_and_makes_none(there: World) -> None:
    """SES-16."""
    assert (await there.get("/put")).status_code == 200
    answer = await there.get("/put")
    assert (answer.status_code, answer.json()["error"]) == (429, "Rate limit exceeded")
    assert "set-cookie" not in answer.headers
    assert await there.total() == 1


@scenario(**COOKIES)
async def test_an_unsafe_request_of_another_site_is_refused_only_where_the_cookie_counts(there: World) -> None:
    own = cookie_of(await there.get("/put"))
    foreign = ("Sec-Fetch-Site", "cross-site")
    refused = await there.ask("POST", "/put", headers=[*own, foreign])
    assert (refused.status_code, refused.json()["code"]) == (403, "cross_site")
    assert (await there.ask("POST", "/put", headers=[foreign])).status_code == 200


@scenario(**COOKIES, scope_session=True)
async def test_libraries_that_want_a_scope_session_find_one_that_is_saved(there: World) -> None:
    """SCOPE_SESSION: Authlib keeps its state in `request.session`."""
    answer = await there.get("/authlib")
    assert answer.json() == {"state": 1}
    assert (await there.get("/authlib", headers=cookie_of(answer))).json() == {"state": 2}


@scenario(**COOKIES)
async def test_a_cookie_that_is_there_twice_is_refused(there: World) -> None:
    """A sibling domain's planted cookie must not win silently."""
    own = cookie_of(await there.get("/put"))[0][1]
    answer = await there.get(headers=[("Cookie", f"{own}; session=aaaaaaaaaaaa.{'x' * 43}")])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_session_id")
