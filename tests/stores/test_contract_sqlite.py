"""The SQLite store sits the exam of the contract (E20)."""

from contextlib import AbstractAsyncContextManager

import pytest

from sessionware.core.store import Store
from sessionware.testing import ManualClock, StoreContract
from tests.selection import is_selected
from tests.stores.opening import fresh_store

pytestmark = [pytest.mark.wheel, pytest.mark.skipif(not is_selected("sqlite"), reason="not among STORES")]


class TestSqliteStore(StoreContract):
    def open(self, clock: ManualClock) -> AbstractAsyncContextManager[Store]:
        return fresh_store("sqlite", clock)
