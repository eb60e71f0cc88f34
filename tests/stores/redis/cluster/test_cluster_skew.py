"""A worker whose clock stood still, as that of a suspended machine does, asks for what counts in other buckets."""

import asyncio

import pytest

from sessionware.clock import StoreClock, monotonic_ms
from sessionware.core.admission import Outcome
from sessionware.core.ledger import Scope
from sessionware.core.store import Store
from sessionware.core.windows import Sliding
from sessionware.stores.open import open_store
from sessionware.testing.build import Maker
from tests.selection import is_selected
from tests.stores.opening import some_place_on

pytestmark = pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES")

TIMEOUT_MS = 20_000
DAYS_MS = 86_400_000
TEN_DAYS = Sliding(10 * DAYS_MS)


def test_a_clock_that_lags_forgives_nothing_that_counts_in_other_buckets(redis_cluster_url):
    """Store.md 7, B23: SKEW means that nothing was written; the window is that of the server's time, everywhere."""

    async def story() -> None:
        url = some_place_on(redis_cluster_url)
        async with (
            open_store(url, timeout_ms=TIMEOUT_MS) as right,
            open_store(url, timeout_ms=TIMEOUT_MS) as lagging,
        ):
            for _ in range(3):
                assert (await asks_for_one_of_three(right)) is Outcome.ADMITTED
            assert isinstance(lagging.clock, StoreClock)
            at, now = monotonic_ms(), right.clock.now()
            lagging.clock.calibrate([(at, now - 100 * DAYS_MS, at)])
            assert (await asks_for_one_of_three(lagging)) is Outcome.LIMITED
            assert (await asks_for_one_of_three(right)) is Outcome.LIMITED
            assert abs(lagging.clock.now() - right.clock.now()) < 60_000

    asyncio.run(story())


async def asks_for_one_of_three(store: Store) -> Outcome:
    make = Maker.of(store)
    spend = make.spend(scope=Scope.GLOBAL, allowance=3, span=TEN_DAYS)
    return (await store.admit(make.ask(spends=(spend,)))).outcome
