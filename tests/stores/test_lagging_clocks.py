"""A worker whose clock stood still for hours, as that of a suspended machine does, makes a session on a server."""

import asyncio
from collections.abc import Callable

import pytest

from sessionware.clock import StoreClock, monotonic_ms
from sessionware.core.admission import Caps
from sessionware.core.session import Session
from sessionware.core.store import Store
from sessionware.stores.open import open_store
from sessionware.testing.build import Maker
from tests.conftest import SERVERS
from tests.selection import selected_stores
from tests.stores.opening import TIMEOUT_MS, some_place_on

HOUR_MS = 3_600_000
LEVELS = ((), ("MAX_SESSIONS",))


@pytest.fixture(params=[kind for kind in selected_stores() if kind in SERVERS])
def url(request: pytest.FixtureRequest, server_of: Callable[[str], str]) -> str:
    return some_place_on(server_of(request.param))


@pytest.mark.parametrize("levels", LEVELS, ids=["without levels", "within a level"])
def test_a_session_that_is_made_by_a_clock_that_lags_lives_from_now_on(url: str, levels: tuple[str, ...]) -> None:
    """Store.md 7: at the server's time the question is asked anew, the new session's life included."""

    async def story() -> None:
        async with open_store(url, timeout_ms=TIMEOUT_MS) as store:
            lag(store, 5 * HOUR_MS)
            make = Maker.of(store)
            caps = Caps(levels=tuple([make.level(name, allowance=5) for name in levels]))
            work = make.session("work", idle=HOUR_MS)
            created = await store.create(make.new(work, caps), operation=make.operation(), now=make.now)
            found = await store.get(work.key, now=make.now)
            assert created.session is not None
            assert found is not None
            assert life(created.session) == life(found)
            assert abs(found.expires_at - make.now - HOUR_MS) < HOUR_MS / 4

    asyncio.run(story())


def lag(store: Store, ms: int) -> None:
    assert isinstance(store.clock, StoreClock)
    at = monotonic_ms()
    store.clock.calibrate([(at, store.clock.now() - ms, at)])


def life(session: Session) -> tuple[int, ...]:
    return session.birth.created_at, session.seen_at, session.expires_at, session.absolute_at
