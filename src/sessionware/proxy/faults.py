"""The only place that says what a client is told when an upstream fails it."""

from __future__ import annotations

from typing import Final

from sessionware.asgi.problems import Problem, problem, retry_headers
from sessionware.proxy.health import RETRY_MS
from sessionware.proxy.wire import NotDelivered, WireFault

UNAVAILABLE: Final = "upstream_unavailable"
TIMEOUT: Final = "upstream_timeout"


def fault_problem(fault: WireFault) -> Problem:
    """503 where nothing was delivered and another attempt may help, 504 for one that was too slow, else 502.

    The fault's own words name the upstream: they are for the log.
    """
    if isinstance(fault, NotDelivered):
        return unavailable()
    if fault.is_timeout:
        return problem(504, "The upstream did not answer in time", TIMEOUT)
    return problem(502, "The upstream's answer was lost", UNAVAILABLE)


def unavailable() -> Problem:
    extra = {"retry_after_ms": RETRY_MS}
    return problem(503, "The upstream cannot be reached", UNAVAILABLE, extra=extra, headers=retry_headers(RETRY_MS))


def unusable() -> Problem:
    """An answer came, and it cannot be passed on."""
    return problem(502, "The upstream's answer cannot be passed on", UNAVAILABLE)
