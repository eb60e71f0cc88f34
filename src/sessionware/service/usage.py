"""The only place that reports what a caller has used, and sets other allowances for one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sessionware.core.admission import Outcome
from sessionware.core.amounts import plan_usage
from sessionware.core.facts import Fact, OrgLimits, SessionLimits, UserLimits
from sessionware.core.identity import Identity
from sessionware.core.ids import SessionKey
from sessionware.core.ledger import CAP
from sessionware.core.policy import Caller
from sessionware.core.request import Facts
from sessionware.core.standing import usage_report
from sessionware.core.times import rfc3339
from sessionware.errors import InvalidValue, SessionNotFound
from sessionware.service.amounts import Stand, about_amounts
from sessionware.service.refusals import raise_unfound
from sessionware.service.runtime import Runtime


async def usage(runtime: Runtime, stand: Stand) -> dict[str, Any]:
    """How every limit stands, and per resource the one that is nearest to its allowance. Touches nothing.

    Raises SessionNotFound, PermissionDenied, InvalidToken, StoreUnavailable.
    """
    now = runtime.now()
    spends = plan_usage(runtime.policy, stand.caller, stand.facts, now=now)
    ask = about_amounts(runtime, stand, spends, now=now)
    answer = await runtime.store.admit(ask)
    if answer.outcome is not Outcome.ADMITTED:
        raise_unfound(answer)
    rows = usage_report(ask, answer, runtime.policy)
    limits = [{**row, "resets_at": _instant(row["resets_at"])} for row in rows]
    return {"limits": limits} | _by_resource(limits)


def stand_without_session(runtime: Runtime, identity: Identity | None, *, client: str) -> Stand:
    """The stand of an identity (or of a mere client) that uses no session right now."""
    if identity is None:
        return Stand(Caller(), Facts(client=client), b"")
    caller = Caller(
        identity, None, identity.tag, runtime.addresses.bucket(identity.tag), runtime.org_limits_of(identity)
    )
    return Stand(caller, Facts(client=client), identity.owner)


def checked_limits(runtime: Runtime, limits: Mapping[str, Any]) -> dict[str, int | None]:
    """Allowances by the name of a limit; None takes an override back. Raises InvalidValue."""
    known = runtime.policy.limits
    if not limits:
        raise InvalidValue("limits is empty: name a limit and its allowance, or null to take an override back")
    checked: dict[str, int | None] = {}
    for name, allowance in limits.items():
        if name not in known:
            raise InvalidValue(f"there is no limit {name!r:.70}: there are {', '.join(sorted(known)) or 'none'}")
        is_whole = isinstance(allowance, int) and not isinstance(allowance, bool) and 0 <= allowance <= CAP
        if allowance is not None and not is_whole:
            raise InvalidValue(f"limit {name!r}: the allowance must be 0..{CAP:_} or null")
        checked[name] = allowance
    return checked


async def limit_session(runtime: Runtime, key: SessionKey, limits: Mapping[str, Any], *, until: int) -> None:
    """Raises SessionNotFound, InvalidValue."""
    if not await _written(runtime, SessionLimits(key, checked_limits(runtime, limits), until)):
        raise SessionNotFound("Session not found")


async def limit_user(runtime: Runtime, identity: Identity, limits: Mapping[str, Any], *, until: int) -> None:
    """Raises InvalidValue."""
    bucket = runtime.addresses.bucket(identity.tag)
    await _written(runtime, UserLimits(bucket, identity.owner, checked_limits(runtime, limits), until))


async def limit_org(runtime: Runtime, issuer: str, org_id: str, limits: Mapping[str, Any], *, until: int) -> None:
    """Every worker knows within a second. Raises InvalidValue."""
    org = runtime.addresses.org(issuer, org_id)
    await _written(runtime, OrgLimits(org, checked_limits(runtime, limits), until))


async def _written(runtime: Runtime, fact: Fact) -> bool:
    return (await runtime.store.record([fact], now=runtime.now()))[0]


def _instant(ms: object) -> str | None:
    return rfc3339(ms) if isinstance(ms, int) else None


def _by_resource(limits: list[dict[str, object]]) -> dict[str, Any]:
    """Per resource {used, limit, percentage, period_seconds}: of its binding limits the fullest."""
    fullest: dict[str, dict[str, object]] = {}
    for row in limits:
        if row["shadow"]:
            continue
        resource = str(row["resource"])
        known = fullest.get(resource)
        if known is None or _fullness(row) > _fullness(known):
            fullest[resource] = row
    wanted = ("used", "limit", "percentage", "period_seconds")
    return {resource: {field: row[field] for field in wanted} for resource, row in fullest.items()}


def _fullness(row: Mapping[str, Any]) -> float:
    return float(row["percentage"])
