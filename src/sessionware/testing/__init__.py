"""Public aids for testing: a client for apps, the store contract, a manual clock, fakes of issuers and upstreams."""

import sys

if "pytest" in sys.modules:  # a failed law then shows its values; nobody else pays for pytest
    import pytest

    pytest.register_assert_rewrite("sessionware.testing.contract")

from sessionware.testing.app_client import Client, client
from sessionware.testing.build import Maker
from sessionware.testing.check import Report, Result, check_store
from sessionware.testing.clock import ManualClock
from sessionware.testing.contract import StoreContract
from sessionware.testing.faulty import Fault, FaultyStore, Gate
from sessionware.testing.scripted_upstream import Received, ScriptedUpstream
from sessionware.testing.tokens import FakeIssuer, KeyServer, SigningKey

__all__ = [
    "Client", "FakeIssuer", "Fault", "FaultyStore", "Gate", "KeyServer", "Maker", "ManualClock", "Received", "Report",
    "Result", "ScriptedUpstream", "SigningKey", "StoreContract", "check_store", "client",
]  # fmt: skip
