"""The PostgreSQL store sits the exam of the contract (E20)."""

from contextlib import AbstractAsyncContextManager

import pytest

from sessionware.core.store import Store
from sessionware.testing import ManualClock, StoreContract
from tests.selection import is_selected
from tests.stores.opening import fresh_store

pytestmark = [pytest.mark.wheel, pytest.mark.skipif(not is_selected("postgres"), reason="not among STORES")]


class TestPostgresStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, postgres_url: str) -> None:
        self.url = postgres_url

    def open(self, clock: ManualClock) -> AbstractAsyncContextManager[Store]:
        return fresh_store("postgres", clock, server=self.url)
