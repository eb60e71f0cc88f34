"""The exam that every store sits: each law of the contract as one test, put together by inheritance.

    class TestMyStore(StoreContract):
        def open(self, clock: ManualClock) -> AbstractAsyncContextManager[Store]:
            return MyStore(clock=clock)

The laws are plain functions: pytest runs them without any plugin, `check_store` without pytest.
"""

from __future__ import annotations

from sessionware.testing.contract.admissions import Admissions
from sessionware.testing.contract.caps import LevelCaps, OwnerCaps
from sessionware.testing.contract.ends import Ends, Reaping
from sessionware.testing.contract.facts import Facts
from sessionware.testing.contract.leases import Leases
from sessionware.testing.contract.limits import Limits
from sessionware.testing.contract.links import Bindings, Links
from sessionware.testing.contract.listing import Listing
from sessionware.testing.contract.lives import Lives
from sessionware.testing.contract.logs import Logs
from sessionware.testing.contract.moving import Moving
from sessionware.testing.contract.records import Records
from sessionware.testing.contract.revocations import Revocations
from sessionware.testing.contract.watching import Watching

__all__ = ["StoreContract"]


class StoreContract(
    Records,
    Lives,
    Admissions,
    Limits,
    Leases,
    OwnerCaps,
    LevelCaps,
    Ends,
    Reaping,
    Links,
    Bindings,
    Moving,
    Facts,
    Revocations,
    Logs,
    Listing,
    Watching,
):
    """All laws. A subclass says in `open` how to make a new, empty store; nothing else."""
