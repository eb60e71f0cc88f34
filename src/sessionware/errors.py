"""The only place that defines what can go wrong: each error has a stable code and a status hint.

The hint is advice for an HTTP edge; nothing below the edge speaks HTTP.
"""

from __future__ import annotations

from typing import ClassVar


class SessionwareError(Exception):
    """Root of every error that this package raises on purpose."""

    code: ClassVar[str] = "sessionware_error"
    status_hint: ClassVar[int] = 500


class ConfigError(SessionwareError):
    """A setting cannot work; the message names the setting, the value and the way out."""

    code = "config_error"


class InvalidSessionId(SessionwareError):
    """The presented text is neither a minted id nor a name; it was never looked up."""

    code = "invalid_session_id"
    status_hint = 400


class SessionNotFound(SessionwareError):
    """No live session stands under this key (never made, expired or ended: indistinguishable)."""

    code = "session_not_found"
    status_hint = 404


class SessionExists(SessionwareError):
    """A live session of the same owner already stands under this name."""

    code = "session_exists"
    status_hint = 409


class PermissionDenied(SessionwareError):
    """The caller is not the owner and not an administrator."""

    code = "permission_denied"
    status_hint = 403


class NotAMember(PermissionDenied):
    """The caller is known, and in none of the groups (or in no organisation) that are asked for."""


class CrossSite(SessionwareError):
    """Another site's page sent this in its visitor's name."""

    code = "cross_site"
    status_hint = 403


class AmbiguousCredentials(SessionwareError):
    """The request presents two credentials where one is expected, and which one counts is not ours to guess."""

    code = "ambiguous_credentials"
    status_hint = 400


class IdentityRequired(SessionwareError):
    """What is asked for belongs to somebody, and the request proves nobody."""

    code = "identity_required"
    status_hint = 401


class NoSessionId(IdentityRequired):
    """A session is required, and the request neither names one nor proves anybody who would have one."""

    code = "session_required"


class InvalidToken(SessionwareError):
    """A credential was presented and is not valid."""

    code = "invalid_token"
    status_hint = 401


class KeysUnavailable(SessionwareError):
    """The issuer's keys cannot be had: the token may be good, so this is our trouble and not the client's."""

    code = "keys_unavailable"
    status_hint = 503


class LimitExceeded(SessionwareError):
    """A limit refused the work; says which one and when it will fit again."""

    code = "rate_limited"
    status_hint = 429

    def __init__(
        self, name: str, *, used: int, allowance: int, retry_after_ms: int, resource: str = "requests"
    ) -> None:
        is_rate = resource == "requests"
        super().__init__("Rate limit exceeded" if is_rate else f"Quota exceeded for {resource}: {used}/{allowance}")
        self.name = name
        self.resource = resource
        self.used = used
        self.allowance = allowance
        self.retry_after_ms = retry_after_ms

    @property
    def retry_after(self) -> int:
        """Whole seconds to wait, at least 1, as the Retry-After header wants them."""
        return max(1, -(-self.retry_after_ms // 1000))


class InvalidValue(SessionwareError, ValueError):
    """An argument that can never work; the message names it, its value and the way out."""

    code = "invalid_value"
    status_hint = 400


class InvalidAmount(SessionwareError):
    """A caller named an amount that can never be taken: not a whole number above zero, or more than the allowance."""

    code = "invalid_amount"
    status_hint = 400


class TooManySessions(SessionwareError):
    """A cap on live sessions is reached and nothing may be evicted."""

    code = "too_many_sessions"
    status_hint = 429


class OwnerFull(TooManySessions):
    """The owner, or the client, has as many sessions as may be. `refs` are the owner's live ones, oldest first."""

    def __init__(self, message: str, refs: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.refs = refs


class AllFull(TooManySessions):
    """The whole installation has as many sessions as may be."""

    code = "sessions_full"
    status_hint = 503


class Conflict(SessionwareError):
    """The record changed since it was read; carries the revision that stands now."""

    code = "conflict"
    status_hint = 409

    def __init__(self, message: str, *, revision: int) -> None:
        super().__init__(message)
        self.revision = revision


class PayloadTooLarge(SessionwareError):
    """Data, metadata or a log item is over its size or depth cap; nothing was truncated or stored."""

    code = "payload_too_large"
    status_hint = 413


class PayloadUnreadable(SessionwareError):
    """A stored payload cannot be opened: wrong or missing key, moved or altered bytes. Never treated as empty."""

    code = "payload_unreadable"


class StoreUnavailable(SessionwareError):
    """The store did not answer in time or refused; the work may or may not have been applied."""

    code = "store_unavailable"
    status_hint = 503


class UpstreamUnavailable(SessionwareError):
    """No upstream of the pool could take the request."""

    code = "upstream_unavailable"
    status_hint = 502
