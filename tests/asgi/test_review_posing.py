"""What a peer that nobody trusts says of its user reaches no app, whichever way the request goes in."""

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.asgi.test_guard import scenario_of
from tests.asgi.world import World

UNKNOWN = "aaaaaaaaaaaa." + "x" * 43


async def told(request: Request) -> JSONResponse:
    """Which user an app is told of that reads the header itself."""
    return JSONResponse({"told": request.headers.get("x-user-id")})


scenario = scenario_of([Route("/", told), Route("/health", told)])
POSING = ("X-User-Id", "admin")


@pytest.mark.parametrize(
    "how", [{"session_cookie": "session", "cookie_secure": "off"}, {"on_unknown": "create"}], ids=str
)
def test_an_old_id_that_is_replaced_brings_no_user_with_it(how):
    """A15, section 5 row 29."""

    @scenario(**how)
    async def run(there: World) -> None:
        sent = ("Cookie", f"session={UNKNOWN}") if "session_cookie" in how else ("X-Session-ID", UNKNOWN)
        assert (await there.get(headers=[POSING])).json() == {"told": None}
        assert (await there.get(headers=[sent, POSING])).json() == {"told": None}

    run()


@scenario()
async def test_an_exempt_path_is_told_of_no_user(there):
    assert (await there.get("/health", headers=[POSING])).json() == {"told": None}


@scenario(trusted_proxies="127.0.0.1/32")
async def test_an_exempt_path_hears_a_trusted_proxy(there):
    assert (await there.get("/health", headers=[POSING])).json() == {"told": "admin"}


@scenario(api="/auth")
async def test_a_ticket_brings_no_user_but_its_own(there):
    await there.get(user="alice")
    ticket = (await there.ask("POST", "/auth/session/ticket", user="alice")).json()
    answer = await there.get(f"/?ticket={ticket['ticket']}", headers=[POSING, ("Accept", "text/event-stream")])
    assert answer.json() == {"told": None}
