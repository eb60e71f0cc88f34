"""The endpoints over many sessions: the caller's own, and what administrators see and do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from msgspec.structs import replace

from sessionware.api import shapes
from sessionware.api.calls import Answer, Call, object_field, seconds_field, text_field
from sessionware.core.times import LATEST_MS, read_rfc3339, rfc3339
from sessionware.errors import InvalidValue
from sessionware.service import Actor
from sessionware.service.finding import presented_key

PAGE: Final = 100


async def list_sessions(call: Call) -> Answer:
    """GET /sessions: the caller's own; `?user=` or all for administrators, who get all unless they say whose."""
    by = await call.actor()
    whose, everyone = await _whose(call, by)
    current = presented_key(call.sessions.runtime, by)
    if call.flag("count"):
        return Answer({"count": await call.sessions.count(by=whose, everyone=everyone)})
    limit = call.number("limit")
    page = await call.sessions.list(
        by=whose, everyone=everyone, cursor=call.query("cursor") or "", limit=PAGE if limit is None else limit
    )
    rows = [shapes.listed(each, current, with_owner=by.is_admin) for each in page.sessions]
    return Answer({"sessions": rows, "cursor": page.cursor or None})


async def close_sessions(call: Call) -> Answer:
    """DELETE /sessions: ends the caller's own (`?user=`: that user's), with `?except=current` all but this one."""
    by = await call.actor()
    kept = call.query("except")
    if kept not in {None, "current"}:
        raise InvalidValue("except can only be current")
    whose = await _user(call, by)
    handles = await call.sessions.close_all(by=by if whose is None else whose, except_current=kept is not None)
    return Answer({"closed": len(handles), "handles": handles})


async def cleanup(call: Call) -> Answer:
    """POST /cleanup."""
    by, body = await call.actor(), await call.body()
    handles = await call.sessions.cleanup(by=by, idle_seconds=seconds_field(body, "idle_seconds"))
    return Answer({"removed": len(handles), "handles": handles})


async def revoke_token(call: Call) -> Answer:
    """POST /tokens/revoke: the token's text, or its `iss` and `jti`."""
    by, body = await call.actor(), await call.body()
    token, jti, iss = (text_field(body, name) for name in ("token", "jti", "iss"))
    handles = await call.sessions.revoke(token=token, jti=jti, iss=iss, exp=seconds_field(body, "exp"), by=by)
    return Answer({"status": "revoked", "ended": len(handles), "handles": handles})


async def revoke_user(call: Call) -> Answer:
    """POST /users/{user}/revoke."""
    by, user = await call.actor(), call.part("user")
    handles = await call.sessions.revoke(user=user, iss=call.query("iss"), by=by)
    return Answer({"status": "revoked", "user_id": user, "ended": len(handles), "handles": handles})


async def set_user_limits(call: Call) -> Answer:
    """PUT /users/{user}/limits: other allowances for named limits; null takes one back."""
    by, body, user = await call.actor(), await call.body(), call.part("user")
    limits, until = object_field(body, "limits"), _until(body)
    await call.sessions.set_limits(limits, user=user, iss=call.query("iss"), until=until, by=by)
    return Answer({"user_id": user, "limits": limits, "until": body.get("until")})


async def alerts(call: Call) -> Answer:
    """GET /alerts: the newest, oldest first, as far as this worker has seen them."""
    await call.sessions.admin("alerts", await call.actor())
    found = call.sessions.runtime.health.alerts
    rows: list[dict[str, Any]] = [
        {
            "type": alert.type,
            "session_id": alert.session_id,
            "error_count": alert.error_count,
            "timestamp": rfc3339(alert.timestamp),
        }
        for alert in found
    ]
    return Answer({"alerts": rows})


async def _whose(call: Call, by: Actor) -> tuple[Actor, bool]:
    """On whose behalf to list, and whether it is about everybody."""
    user = await _user(call, by)
    if user is not None:
        return user, False
    return by, by.is_admin or call.flag("all")


async def _user(call: Call, by: Actor) -> Actor | None:
    """The user that the query names: one's own may be named by anybody, another's by administrators."""
    user = call.query("user")
    if user is None:
        return None
    if by.identity is not None and by.identity.user_id == user and call.query("iss") in {None, by.identity.issuer}:
        return replace(by, is_admin=False)
    await call.sessions.admin("list", by)
    return replace(call.sessions.user(user, iss=call.query("iss")), presented=None)


def _until(body: dict[str, Any]) -> datetime | None:
    """Until when: RFC 3339, or seconds since 1970. Raises InvalidValue."""
    until = body.get("until")
    if until is None:
        return None
    if isinstance(until, int | float) and not isinstance(until, bool) and 0 <= until <= LATEST_MS // 1000:
        return datetime.fromtimestamp(until, UTC)
    if not isinstance(until, str):
        raise InvalidValue("until must be an instant: RFC 3339, or seconds since 1970")
    try:
        return datetime.fromtimestamp(read_rfc3339(until) / 1000, UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidValue(f"until must be an instant, for example 2027-01-15T10:00:00Z: {error}") from error
