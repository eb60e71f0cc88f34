"""Public aids for testing: the store contract, a manual clock, makers of values, a store that fails on command."""

import sys

if "pytest" in sys.modules:  # a failed law then shows its values; nobody else pays for pytest
    import pytest

    pytest.register_assert_rewrite("sessionware.testing.contract")

from sessionware.testing.build import Maker
from sessionware.testing.check import Report, Result, check_store
from sessionware.testing.clock import ManualClock
from sessionware.testing.contract import StoreContract
from sessionware.testing.faulty import Fault, FaultyStore, Gate

__all__ = ["Fault", "FaultyStore", "Gate", "Maker", "ManualClock", "Report", "Result", "StoreContract", "check_store"]
