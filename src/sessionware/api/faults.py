"""The only place that turns an error of the service into the API's answer to it."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from sessionware.asgi.limit_headers import Style
from sessionware.asgi.problems import Problem, failed, problem
from sessionware.errors import Conflict, SessionExists, SessionNotFound, SessionwareError


class ChangedMeanwhile(Conflict):
    """If-Match named a revision that is no more (RFC 9110 13.1.1)."""

    status_hint: ClassVar[int] = 412


def fault(error: SessionwareError, *, about: str | None, style: Style) -> Problem:
    """The problem to answer with; `about` is the session id that the caller asked for."""
    answer = failed(error, style=style)
    extra = _extra(error, about)
    if not extra:
        return answer
    body = msgspec.json.encode(msgspec.json.decode(answer.body, type=dict[str, Any]) | extra)
    headers = [(name, value) for name, value in answer.headers if name != b"content-length"]
    return Problem(answer.status, [*headers, (b"content-length", str(len(body)).encode())], body)


def not_found() -> Problem:
    return problem(404, "Not found", "not_found")


def not_allowed(allowed: str) -> Problem:
    return problem(
        405, "Method not allowed", "method_not_allowed",
        extra={"title": "Method Not Allowed"}, headers=[(b"allow", allowed.encode())],
    )  # fmt: skip


def _extra(error: SessionwareError, about: str | None) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if isinstance(error, ChangedMeanwhile):
        extra |= {"title": "Precondition Failed", "revision": error.revision}
    if isinstance(error, SessionNotFound | SessionExists) and about is not None:
        extra["session_id"] = about
    return extra
