"""Who proves nobody does not come in by an id that was never made, nor because the store is away."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sessionware.testing import Fault, FaultyStore
from tests.asgi.test_guard import scenario_of
from tests.asgi.world import World

FORGED = "uaaaaaaaaaaa." + "x" * 43  # in the form of a user's id, made by nobody
CLOSED: list[dict[str, Any]] = [{"anonymous": "off"}, {"required_groups": "pro"}, {"require_org": True}]
COOKIE: dict[str, Any] = {"session_cookie": "session", "cookie_secure": "off"}
WAYS: list[dict[str, Any]] = [COOKIE, COOKIE | {"on_missing": "create"}, {"on_unknown": "create"}]


async def write(request: Request) -> JSONResponse:
    session = request.state.session
    if session is not None:
        session.data["ran"] = True
    return JSONResponse({"ran": True, "session": session is not None})


scenario = scenario_of([Route("/", write)])


@pytest.mark.parametrize("closed", CLOSED, ids=str)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_made_up_users_id_is_no_way_around_the_identity_that_is_asked_for(closed, way):
    """ASVS 7.2.1, interface.md section 4: an unknown id may be replaced only where strangers may come."""

    @scenario(**closed, **way)
    async def run(there: World) -> None:
        assert (await there.get()).status_code == 401
        sent = ("Cookie", f"session={FORGED}") if "session_cookie" in way else ("X-Session-ID", FORGED)
        answer = await there.get(headers=[sent])
        assert answer.status_code in {401, 403}
        assert "set-cookie" not in answer.headers
        assert await there.total() == 0 or "on_missing" not in way

    run()


@pytest.mark.parametrize("closed", CLOSED, ids=str)
@pytest.mark.parametrize("limits", ["local", "open"])
def test_while_the_store_is_away_an_id_that_nobody_can_check_proves_nobody(closed, limits):
    """Section 4: identity fails closed; 503, for it may be a good id."""

    @scenario(store=FaultyStore, on_store_down_sessions="anonymous", on_store_down_limits=limits, **closed)
    async def run(there: World) -> None:
        there.store.always("admit", Fault.REFUSED)
        assert (await there.get()).status_code == 401
        answer = await there.get(sid=FORGED)
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")

    run()


@scenario(store=FaultyStore, on_store_down_sessions="anonymous")
async def test_where_strangers_may_come_they_go_on_without_the_store(there):
    there.store.always("admit", Fault.REFUSED)
    assert (await there.get(sid=FORGED)).json() == {"ran": True, "session": False}
