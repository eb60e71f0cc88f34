"""What is known of credentials holds while the store is away, whatever becomes of limits."""

import asyncio

import pytest

from sessionware.testing import Fault, FaultyStore
from tests.asgi.test_guard import scenario
from tests.asgi.world import World, token


@pytest.mark.parametrize("limits", ["local", "open"])
def test_what_was_revoked_stays_refused_while_the_store_is_away(limits):
    """Section 4: a revocation that this worker has heard of fails closed, whatever becomes of limits."""

    @scenario(store=FaultyStore, on_store_down_sessions="anonymous", on_store_down_limits=limits)
    async def run(there: World) -> None:
        assert (await there.get(user="alice")).status_code == 200
        await there.sessionware.sessions.revoke(token=token("alice"))
        assert (await there.get(user="alice")).status_code == 401
        await asyncio.sleep(0.05)
        there.store.always("admit", Fault.REFUSED)
        assert (await there.get(user="alice")).status_code == 401
        assert (await there.get(user="bob")).status_code == 200

    run()


@scenario(store=FaultyStore, on_store_down_sessions="anonymous", anonymous="off", api="/auth")
async def test_a_ticket_is_not_used_twice_because_the_store_is_away(there):
    await there.get(user="alice")
    ticket = (await there.ask("POST", "/auth/session/ticket", user="alice")).json()["ticket"]
    stream = [("Accept", "text/event-stream")]
    assert (await there.get(f"/?ticket={ticket}", headers=stream)).status_code == 200
    there.store.always("admit", Fault.REFUSED)
    assert (await there.get(f"/?ticket={ticket}", headers=stream)).status_code == 503
