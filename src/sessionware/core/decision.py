"""The only place that judges a store's answer: allowed, or refused with what the caller should know."""

from __future__ import annotations

from typing import Final, NamedTuple, assert_never

from msgspec import Struct

from sessionware.core.admission import Admission, Admitted, Outcome
from sessionware.core.limits import REQUESTS
from sessionware.core.policy import Policy
from sessionware.core.session import EndReason
from sessionware.core.standing import CONCURRENT_RETRY_MS, Glance, Standing, glances, glances_of, standings

FULL_OWNER: Final = "owner"  # what `Admitted.full` says when the owner has too many sessions
LEVEL_CLIENT: Final = "client"  # the level of MAX_SESSIONS_PER_CLIENT
LEVEL_ALL: Final = "all"  # the level of MAX_SESSIONS
_ADMITTED: Final = Outcome.ADMITTED  # asked on every request: a member of an enum costs ten times a global


class Allowed(Struct, frozen=True):
    """The request may run. How its limits stand is worked out each time it is read: most requests never do."""

    answer: Admitted
    ask: Admission
    policy: Policy

    @property
    def glances(self) -> tuple[Glance, ...]:
        """The limits that bind, as response headers show them."""
        return glances(self.ask, self.answer)

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How every limit of the admission stands."""
        return standings(self.ask, self.answer, self.policy)

    @property
    def shadows(self) -> tuple[Standing, ...]:
        """The limits in shadow that would have refused."""
        return _unfit_shadows(self.standings)


class Refused(Struct, frozen=True, kw_only=True):
    """The request may not run.

    `code` and `message` are stable and safe to send; `limit` is the limit that refused, the one with the
    longest wait if there are several; `reason` tells the proved owner how the session ended. `status_hint` is
    advice: an unknown session is 401 to a middleware and 404 to a REST or MCP path.
    """

    code: str
    status_hint: int
    message: str
    answer: Admitted
    standings: tuple[Standing, ...] = ()
    limit: Standing | None = None
    reason: EndReason | None = None

    @property
    def glances(self) -> tuple[Glance, ...]:
        """The limits that bind, as response headers show them."""
        return glances_of(self.standings)

    @property
    def shadows(self) -> tuple[Standing, ...]:
        return _unfit_shadows(self.standings)

    @property
    def retry_after_ms(self) -> int | None:
        """How long to wait; None when waiting does not help."""
        if self.limit is not None:
            return self.limit.retry_after_ms
        return CONCURRENT_RETRY_MS if self.code == "rate_limited" else None

    @property
    def retry_after(self) -> int | None:
        """Whole seconds, at least 1, as the Retry-After header wants them."""
        return None if self.retry_after_ms is None else max(1, -(-self.retry_after_ms // 1000))

    @property
    def should_retry(self) -> bool:
        """False sends `x-should-retry: false`: the quota is exhausted for longer than a client should wait."""
        return self.limit is None or self.limit.should_retry


Decision = Allowed | Refused


class _Answer(NamedTuple):
    code: str
    status: int
    message: str


_UNKNOWN: Final = _Answer("session_invalid", 401, "Invalid session")
_FOREIGN: Final = _Answer("permission_denied", 403, "Permission denied")
_REVOKED: Final = _Answer("invalid_token", 401, "Permission denied")
_RATE: Final = _Answer("rate_limited", 429, "Rate limit exceeded")
_FULL: Final = {
    FULL_OWNER: _Answer("too_many_sessions", 429, "Too many sessions"),
    LEVEL_CLIENT: _Answer("too_many_sessions", 429, "Too many sessions from this client"),
}
_FULL_ALL: Final = _Answer("sessions_full", 503, "maximum concurrent sessions reached")


def judge(ask: Admission, answer: Admitted, policy: Policy, *, named: bool = False) -> Decision:
    """What the store's answer means. `named`: the caller chose the costs, so one above an allowance is a mistake."""
    if answer.outcome is _ADMITTED:
        return Allowed(answer, ask, policy)
    match answer.outcome:
        case Outcome.LIMITED:
            return _limited(answer, standings(ask, answer, policy), named=named)
        case Outcome.UNKNOWN:
            return _refused(_UNKNOWN, answer)
        case Outcome.FOREIGN:
            return _refused(_FOREIGN, answer)
        case Outcome.REVOKED:
            return _refused(_REVOKED, answer)
        case Outcome.FULL:
            return _refused(_FULL.get(answer.full, _FULL_ALL), answer)
        case _:
            assert_never(answer.outcome)


def _limited(answer: Admitted, found: tuple[Standing, ...], *, named: bool) -> Refused:
    refusing = [standing for standing in found if standing.binding and not standing.fits]
    if not refusing:  # a store that says LIMITED without saying by what is still obeyed
        return _refused(_RATE, answer, found)
    if named:
        for standing in refusing:
            if standing.cost > standing.allowance > 0:
                return _refused(_too_much(standing), answer, found, standing)
    longest = max(refusing, key=lambda standing: standing.retry_after_ms)
    return _refused(_over(longest), answer, found, longest)


def _over(standing: Standing) -> _Answer:
    if standing.resource == REQUESTS:
        return _RATE
    said = f"Quota exceeded for {standing.resource}: {standing.attempted}/{standing.allowance}"
    return _Answer("quota_exceeded", 429, said)


def _too_much(standing: Standing) -> _Answer:
    said = f"Amount of {standing.resource} must be at most {standing.allowance}, got {standing.cost}"
    return _Answer("invalid_amount", 400, f"{said} (limit '{standing.name}')")


def _refused(
    said: _Answer, answer: Admitted, found: tuple[Standing, ...] = (), limit: Standing | None = None
) -> Refused:
    return Refused(
        code=said.code,
        status_hint=said.status,
        message=said.message,
        answer=answer,
        standings=found,
        limit=limit,
        reason=answer.reason,
    )


def _unfit_shadows(found: tuple[Standing, ...]) -> tuple[Standing, ...]:
    return tuple(standing for standing in found if not (standing.binding or standing.fits))
