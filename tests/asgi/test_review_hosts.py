"""ALLOWED_HOSTS holds on the session API's paths as on all others."""

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from sessionware.assembly.api_at import session_api
from sessionware.integrations.litestar import SessionwarePlugin
from tests.asgi.test_guard import scenario
from tests.asgi.world import World, world

STRANGE = ("Host", "evil.test")
PATHS = [("POST", "/session/start"), ("GET", "/sessions"), ("GET", "/metrics"), ("GET", "/health")]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_a_page_that_rebound_its_name_reaches_no_path_of_the_api(method, path):
    """Section 5 row 30: DNS rebinding."""

    @scenario(api="/auth", allowed_hosts="app.test")
    async def run(there: World) -> None:
        answer = await there.ask(method, f"/auth{path}", headers=[STRANGE])
        assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")
        assert await there.total() == 0
        assert (await there.ask("POST", "/auth/session/start")).status_code == 201

    run()


@scenario(allowed_hosts="app.test")
async def test_the_api_by_itself_and_in_litestar_asks_for_its_host_too(there):
    async with world(session_api(there.sessionware)) as alone:  # another installation in front of it lets all in
        assert (await alone.ask("POST", "/session/start", headers=[STRANGE])).status_code == 421
    app = Litestar([], plugins=[SessionwarePlugin(api="/auth", allowed_hosts="app.test")])
    async with AsyncTestClient(app, base_url="http://evil.test") as client:
        assert (await client.post("/auth/session/start")).status_code == 421
        assert (await client.get("/health")).status_code in {404, 421}
