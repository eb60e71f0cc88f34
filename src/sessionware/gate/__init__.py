"""Where a request meets shared state: plan -> admit -> judge, and what happens when the store does not answer."""

from sessionware.gate.facts import FactQueue
from sessionware.gate.failure import FailurePolicy, Unavailable
from sessionware.gate.gate import Gate
from sessionware.gate.leases import LeaseKeeper, Running

__all__ = ["FactQueue", "FailurePolicy", "Gate", "LeaseKeeper", "Running", "Unavailable"]
