"""The Redis Cluster store sits the exam of the contract (E20)."""

from contextlib import AbstractAsyncContextManager

import pytest

from sessionware.core.store import Store
from sessionware.testing import ManualClock, StoreContract
from tests.selection import is_selected
from tests.stores.opening import fresh_store

pytestmark = [pytest.mark.wheel, pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES")]


class TestRedisClusterStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _servers(self, redis_cluster_url: str) -> None:
        self.url = redis_cluster_url

    def open(self, clock: ManualClock) -> AbstractAsyncContextManager[Store]:
        return fresh_store("cluster", clock, server=self.url)
