"""The only place that says what a request gets when the store does not answer it."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import Admission, Admitted, Outcome
from sessionware.core.decision import Refused
from sessionware.core.ledger import Lease, Scope, Spend
from sessionware.core.limits import REQUESTS
from sessionware.core.policy import Policy

REVOCATION_STALE_MS: Final = 30_000  # how long a credential passes without a look at what was revoked meanwhile


class FailurePolicy(Struct, frozen=True, kw_only=True):
    """ON_STORE_DOWN_SESSIONS and _LIMITS, WORKERS_HINT, STORE_TIMEOUT.

    `deadline_ms` 0 leaves the deadline to the store: right for one that never waits.
    """

    sessions: Literal["closed", "anonymous"] = "closed"
    limits: Literal["local", "closed", "open"] = "local"
    workers_hint: int = 4
    deadline_ms: int = 250
    revocation_stale_ms: int = REVOCATION_STALE_MS


class Unavailable(Refused, frozen=True, kw_only=True):
    """The store did not answer, and this request cannot be served without it: 503, never 429."""

    wait_ms: int

    @property
    def retry_after_ms(self) -> int:
        return self.wait_ms


def unavailable(ask: Admission, *, wait_ms: int) -> Unavailable:
    """The refusal of a request whose store is down; try again in `wait_ms`."""
    return Unavailable(
        code="store_unavailable",
        status_hint=503,
        message="Store unavailable",
        answer=Admitted(Outcome.UNKNOWN, ask.now),
        wait_ms=wait_ms,
    )


def local_share(ask: Admission, policy: Policy, *, workers: int) -> Admission | None:
    """The part of a request without a session that one of `workers` may decide by itself.

    Requests and concurrency get their share of the allowance, at least 1 unless nothing is allowed at all.
    None when a binding spend is of another resource, which stands for money and is decided by the store alone,
    or is counted inside a session.
    """
    spends = [spend for spend in ask.spends if _is_ours(spend, policy)]
    if any(spend.binding for spend in ask.spends if spend not in spends):
        return None
    return replace(
        only_credential(ask),
        spends=tuple([replace(spend, allowance=_share(spend, workers)) for spend in spends]),
        leases=tuple([replace(lease, allowance=_share(lease, workers)) for lease in ask.leases]),
    )


def only_credential(ask: Admission) -> Admission:
    """The part of a request that is about neither a session nor a limit: whether its credential was revoked."""
    return replace(ask, key=None, link=None, new=None, candidate=None, opens=False, spends=(), leases=())


def _is_ours(spend: Spend, policy: Policy) -> bool:
    limit = policy.limits.get(spend.limit)
    return spend.scope is not Scope.SESSION and (limit is None or limit.resource == REQUESTS)


def _share(counted: Spend | Lease, workers: int) -> int:
    return max(counted.allowance // workers, 1) if counted.allowance > 0 else counted.allowance
