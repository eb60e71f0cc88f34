"""The only place that knows, on the client's side, what the session API is sent and what its answers mean.

The session is named by its header, as `current`: an id in a URL would end up in logs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from sessionware.errors import (
    InvalidSessionId,
    InvalidToken,
    LimitExceeded,
    PayloadTooLarge,
    PermissionDenied,
    SessionExists,
    SessionNotFound,
    SessionwareError,
    StoreUnavailable,
    TooManySessions,
)

START: Final = "/session/start"
PING: Final = "/session/current/ping"
CLOSE: Final = "/session/current/close"
STATUS: Final = "/session/current/status"
KEEP_ALIVE_SECONDS: Final = 300.0  # a sixth of the default idle time
TIMEOUT_SECONDS: Final = 30.0
FAILED_FROM: Final = 400

_ERRORS: Final[dict[str, type[SessionwareError]]] = {
    error.code: error
    for error in (
        InvalidSessionId, InvalidToken, PayloadTooLarge, PermissionDenied, SessionExists, SessionNotFound,
        StoreUnavailable, TooManySessions,
    )
}  # fmt: skip


class Wanted(Struct, frozen=True, kw_only=True):
    """The session to start, and who starts it."""

    url: str
    token: str | None = None
    headers: Mapping[str, str] = {}
    session_id: str | None = None
    metadata: Mapping[str, Any] = {}
    ttl: float | None = None

    @property
    def base_url(self) -> str:
        return self.url.rstrip("/")

    @property
    def credentials(self) -> dict[str, str]:
        given = dict(self.headers)
        return given if self.token is None else given | {"Authorization": f"Bearer {self.token}"}

    @property
    def body(self) -> dict[str, Any]:
        wanted = {"session_id": self.session_id, "metadata": dict(self.metadata), "ttl": self.ttl}
        return {name: value for name, value in wanted.items() if value}


class Opened(Struct, frozen=True):
    """What `start` has answered. `session_id` and `token` are secrets."""

    session_id: str
    ref: str
    created_at: datetime
    user_id: str | None = None
    expires_at: datetime | None = None
    token: str | None = None

    def __repr__(self) -> str:
        return f"<opened {self.ref}>"

    def names_itself(self) -> dict[str, str]:
        """The headers that every further request carries."""
        headers = {"X-Session-ID": self.session_id}
        return headers if self.token is None else headers | {"X-Session-Token": self.token}


def opened(status: int, body: bytes) -> Opened:
    """Read the answer to a start. Raises what `check` raises."""
    check(status, body)
    try:
        return msgspec.json.decode(body, type=Opened)
    except msgspec.MsgspecError as error:
        raise SessionwareError(f"this is no session API: it answered {status} with something else") from error


def check(status: int, body: bytes) -> None:
    """Raise the error that an answer stands for; does nothing when it is no error."""
    if status < FAILED_FROM:
        return
    said = _problem(body)
    text, code = str(said.get("error", f"HTTP {status}")), str(said.get("code", ""))
    if code in {"rate_limited", "quota_exceeded"}:
        raise LimitExceeded(
            str(said.get("limit", "")),
            used=_whole(said.get("used")),
            allowance=_whole(said.get("allowance")),
            retry_after_ms=_whole(said.get("retry_after_ms")),
        )
    raise _ERRORS.get(code, _BY_STATUS.get(status, SessionwareError))(text)


def is_final(error: SessionwareError) -> bool:
    """Whether another ping would get the same answer: the session is gone, or no longer ours."""
    return isinstance(error, SessionNotFound | PermissionDenied | InvalidToken)


_BY_STATUS: Final[dict[int, type[SessionwareError]]] = {
    401: InvalidToken,
    403: PermissionDenied,
    404: SessionNotFound,
    503: StoreUnavailable,
}


def _problem(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        return {}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
