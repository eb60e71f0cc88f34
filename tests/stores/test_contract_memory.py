"""The memory store sits the exam of the contract (E20)."""

from contextlib import AbstractAsyncContextManager

import pytest

from sessionware.core.store import Store
from sessionware.stores.memory import MemoryStore
from sessionware.testing import ManualClock, StoreContract
from tests.selection import is_selected

pytestmark = [pytest.mark.wheel, pytest.mark.skipif(not is_selected("memory"), reason="not among STORES")]


class TestMemoryStore(StoreContract):
    def open(self, clock: ManualClock) -> AbstractAsyncContextManager[Store]:
        return MemoryStore(clock=clock)
