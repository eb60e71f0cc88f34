"""The only place that names what can go wrong between us and an upstream, typed by whether a retry is safe."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final

from sessionware.errors import SessionwareError, UpstreamUnavailable


class Reason(StrEnum):
    """What happened; a label for metrics and logs."""

    CONNECT_REFUSED = "connect_refused"
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    CIRCUIT_OPEN = "circuit_open"
    NO_UPSTREAM = "no_upstream"
    TLS_FAILED = "tls_failed"
    NO_FREE_CONNECTION = "no_free_connection"
    WIRE_CLOSED = "wire_closed"
    CLOSED_UNANSWERED = "closed_unanswered"
    WRITE_TIMEOUT = "write_timeout"
    HEAD_TIMEOUT = "head_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"


TIMEOUTS: Final = frozenset({Reason.CONNECT_TIMEOUT, Reason.WRITE_TIMEOUT, Reason.HEAD_TIMEOUT, Reason.IDLE_TIMEOUT})


class WireFault(UpstreamUnavailable):
    """An exchange with one upstream failed. Match on the subclass: it says whether the request may be sent again."""

    def __init__(self, address: object, reason: Reason, detail: str) -> None:
        super().__init__(f"upstream {address}: {detail}")
        self.reason = reason

    @property
    def is_timeout(self) -> bool:
        """Whether the upstream was too slow, rather than wrong or gone: 504 instead of 502."""
        return self.reason in TIMEOUTS


class NotDelivered(WireFault):
    """Nothing of the request reached the upstream: any other upstream may be asked."""


class MayBeDelivered(WireFault):
    """The upstream may have received and done the work; not a byte of an answer came."""


class BadAnswer(WireFault):
    """An answer began or came whole, and it is broken, cut short, or stopped flowing."""


class UnwritableRequest(SessionwareError):
    """The request cannot be written without changing its meaning; it never left this process."""

    code: ClassVar[str] = "unwritable_request"
    status_hint: ClassVar[int] = 400
