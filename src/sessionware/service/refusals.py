"""The only place that turns what the store refused into the errors that callers of the service catch.

Each is one of `sessionware.errors` and says a little more, for whoever writes the answer.
"""

from __future__ import annotations

from typing import Final, NoReturn

from sessionware.core.admission import Admitted, Outcome
from sessionware.core.decision import Refused
from sessionware.core.session import EndReason
from sessionware.errors import (
    AllFull,
    InvalidAmount,
    InvalidToken,
    LimitExceeded,
    OwnerFull,
    PermissionDenied,
    SessionNotFound,
    StoreUnavailable,
)

SHOWN_MAX: Final = 40


def shown(value: object) -> str:
    """A refused value, short: integers beyond all bounds are not even printable."""
    try:
        return repr(value)[:SHOWN_MAX]
    except ValueError:
        return "a number beyond all bounds"


class SessionDead(SessionNotFound):
    """There was a session, and this is how it ended. Only its own owner is told."""

    def __init__(self, reason: EndReason | None) -> None:
        super().__init__("Session not found")
        self.reason = reason


class OverLimit(LimitExceeded):
    """A limit refused; `refused` is the whole answer, with every limit's standing."""

    def __init__(self, refused: Refused) -> None:
        limit = refused.limit
        super().__init__(
            "" if limit is None else limit.name,
            used=0 if limit is None else limit.used,
            allowance=0 if limit is None else limit.allowance,
            retry_after_ms=refused.retry_after_ms or 0,
            resource="requests" if limit is None else limit.resource,
        )
        self.args = (refused.message,)
        self.refused = refused


def raise_refused(refused: Refused) -> NoReturn:
    """Raise the error that a refusal stands for."""
    match refused.code:
        case "invalid_amount":
            raise InvalidAmount(refused.message)
        case "sessions_full":
            raise AllFull(refused.message)
        case "too_many_sessions":
            raise OwnerFull(refused.message)
        case "store_unavailable":
            raise StoreUnavailable(refused.message)
        case "rate_limited" | "quota_exceeded":
            raise OverLimit(refused)
        case _:
            raise_unfound(refused.answer)


def raise_unfound(answer: Admitted) -> NoReturn:
    """Raise the error of an answer that found no session for this caller."""
    match answer.outcome:
        case Outcome.FOREIGN:
            raise PermissionDenied("Permission denied")
        case Outcome.REVOKED:
            raise InvalidToken("Permission denied")
        case _:
            raise SessionDead(answer.reason)
