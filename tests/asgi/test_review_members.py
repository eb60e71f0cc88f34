"""Who may not come to the app may not come to the session API either."""

import pytest

from tests.asgi.test_guard import scenario
from tests.asgi.test_review_strangers import CLOSED, FORGED
from tests.asgi.world import World


@pytest.mark.parametrize("closed", CLOSED, ids=str)
def test_a_made_up_users_id_starts_no_session(closed):
    """The id is not looked up to start a session, so it must not stand for a proof."""

    @scenario(api="/auth", **closed)
    async def run(there: World) -> None:
        for sid in ["", FORGED]:
            answer = await there.ask("POST", "/auth/session/start", sid=sid)
            assert (answer.status_code, answer.json()["code"]) == (401, "identity_required")
        assert await there.total() == 0

    run()


@scenario(api="/auth", required_groups="pro")
async def test_a_login_without_the_membership_opens_neither_the_app_nor_the_api(there):
    sessions = there.sessionware.sessions
    outside = await sessions.start(by=sessions.user("bob", iss="login:"))
    for method, path in [("GET", "/"), ("GET", "/auth/session/current/status"), ("GET", "/auth/sessions")]:
        assert (await there.ask(method, path, sid=outside.id)).status_code == 403
