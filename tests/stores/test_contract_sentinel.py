"""The store behind Redis Sentinel sits the exam of the contract (E20)."""

from contextlib import AbstractAsyncContextManager

import pytest

from sessionware.core.store import Store
from sessionware.testing import ManualClock, StoreContract
from tests.selection import is_selected
from tests.stores.opening import fresh_store

pytestmark = [pytest.mark.wheel, pytest.mark.skipif(not is_selected("sentinel"), reason="not among STORES")]


class TestSentinelStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, redis_sentinel_url: str) -> None:
        self.url = redis_sentinel_url

    def open(self, clock: ManualClock) -> AbstractAsyncContextManager[Store]:
        return fresh_store("sentinel", clock, server=self.url)
