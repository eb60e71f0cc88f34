"""The only place that turns refusals and errors into responses: problem+json with our stable codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct

from sessionware.asgi.limit_headers import Header, Style, limit_headers
from sessionware.core.admission import Outcome
from sessionware.core.decision import Refused
from sessionware.core.standing import Glance
from sessionware.core.times import rfc3339_ms
from sessionware.errors import InvalidToken, LimitExceeded, NotAMember, OwnerFull, SessionwareError, TooManySessions
from sessionware.service.refusals import OverLimit, SessionDead

PROBLEM_JSON: Final = b"application/problem+json"
NOT_A_MEMBER: Final = "not_a_member"
FAILED: Final = 500  # the status of what nobody foresaw: the app's fault, or ours
STORE_RETRY_S: Final = 1  # what is said when nobody knows better
FULL_RETRY_S: Final = 60  # sessions end when they expire: seldom sooner
RETRY_S: Final = {"keys_unavailable": 5}  # an issuer that is away is asked again sooner than that
_TITLES: Final = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict",
    413: "Content Too Large", 429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway",
    503: "Service Unavailable",
}  # fmt: skip
# Texts that tell a credential nothing about itself, nor about where we look.
_TEXTS: Final = {
    "invalid_token": "Permission denied", "permission_denied": "Permission denied",
    "keys_unavailable": "The keys of the token's issuer cannot be had: try again",
    "store_unavailable": "Store unavailable", "session_not_found": "Session not found",
    "payload_unreadable": "Internal error", "config_error": "Internal error", "sessionware_error": "Internal error",
}  # fmt: skip


class Problem(Struct, frozen=True):
    """One complete response."""

    status: int
    headers: list[Header]
    body: bytes


def problem(
    status: int, error: str, code: str, *, extra: dict[str, Any] | None = None, headers: list[Header] | None = None
) -> Problem:
    """An RFC 9457 problem with `error` and `code` beside its own members; never cached."""
    body = msgspec.json.encode(
        {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status, "error": error, "code": code}
        | (extra or {})
    )
    return Problem(
        status,
        [
            (b"content-type", PROBLEM_JSON),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *(headers or []),
        ],
        body,
    )


def refused(refusal: Refused, *, style: Style, status: int | None = None, met: Iterable[Glance] = ()) -> Problem:
    """What a refused request is told. `status` stands for the hint where a path knows better (404 on REST).

    `met` are the limits that it had passed before.
    """
    extra: dict[str, Any] = {}
    asked = {glance[0] for glance in refusal.glances}
    before = [glance for glance in met if glance[0] not in asked]
    headers = limit_headers((*before, *refusal.glances), style=style)
    if refusal.reason is not None:
        extra["reason"] = refusal.reason.value
    elif refusal.code == "session_invalid":
        extra["reason"] = "unknown"
    standing = refusal.limit
    if standing is not None:
        extra |= {
            "limit": standing.name,
            "scope": standing.scope,
            "used": standing.used,
            "allowance": standing.allowance,
            "resets_at": rfc3339_ms(standing.resets_at),
        }
    wait_ms = refusal.retry_after_ms
    if wait_ms is None and refusal.answer.outcome is Outcome.FULL:
        wait_ms = FULL_RETRY_S * 1000
    if wait_ms is not None:
        extra["retry_after_ms"] = wait_ms
        headers += retry_headers(wait_ms)
    if not refusal.should_retry:
        headers.append((b"x-should-retry", b"false"))
    headers += _challenge(refusal.code)
    return problem(status or refusal.status_hint, refusal.message, refusal.code, extra=extra, headers=headers)


def failed(error: SessionwareError, *, style: Style = "draft", met: Iterable[Glance] = ()) -> Problem:
    """What an error of ours says to the client; nothing of what it says to the log that could be a secret.

    `met` are the limits that the request had passed before one refused it.
    """
    if isinstance(error, OverLimit):
        return refused(error.refused, style=style, met=met)
    extra: dict[str, Any] = {}
    headers = _challenge(error.code)
    text = _TEXTS.get(error.code) or str(error)
    if isinstance(error, LimitExceeded):
        extra = {"limit": error.name, "used": error.used, "allowance": error.allowance}
        extra["retry_after_ms"] = error.retry_after_ms
        headers += retry_headers(error.retry_after_ms)
    elif isinstance(error, TooManySessions):
        extra = {"refs": error.refs} if isinstance(error, OwnerFull) and error.refs else {}
        headers += retry_headers(FULL_RETRY_S * 1000)
    elif error.status_hint == 503:  # noqa: PLR2004  # a dependency of ours: soon again
        headers += retry_headers(RETRY_S.get(error.code, STORE_RETRY_S) * 1000)
    elif isinstance(error, NotAMember):
        extra = {"reason": NOT_A_MEMBER}
    elif isinstance(error, SessionDead) and error.reason is not None:
        extra = {"reason": error.reason.value}
    return problem(error.status_hint, text, error.code, extra=extra, headers=headers)


def retry_headers(milliseconds: int) -> list[Header]:
    """How long to wait, in the seconds that HTTP has and to the millisecond."""
    seconds = max(1, -(-milliseconds // 1000))
    return [(b"retry-after", str(seconds).encode()), (b"retry-after-ms", str(milliseconds).encode())]


def _challenge(code: str) -> list[Header]:
    """RFC 9110 11.6.1: a 401 says what would help. Only a token's fault is a Bearer's."""
    if code == InvalidToken.code:
        return [(b"www-authenticate", b'Bearer error="invalid_token"')]
    if code in {"session_invalid", "session_required"}:
        return [(b"www-authenticate", b"Session")]
    if code == "identity_required":
        return [(b"www-authenticate", b"Bearer")]
    return []
