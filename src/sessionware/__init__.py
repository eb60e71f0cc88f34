"""Real multi-user sessions for every ASGI app and every MCP server."""

from sessionware.assembly import SessionMiddleware, Sessionware
from sessionware.errors import (
    ConfigError,
    Conflict,
    InvalidAmount,
    InvalidSessionId,
    InvalidToken,
    LimitExceeded,
    PayloadTooLarge,
    PayloadUnreadable,
    PermissionDenied,
    SessionExists,
    SessionNotFound,
    SessionwareError,
    StoreUnavailable,
    TooManySessions,
    UpstreamUnavailable,
)
from sessionware.telemetry import Observer

__all__ = [
    "ConfigError",
    "Conflict",
    "InvalidAmount",
    "InvalidSessionId",
    "InvalidToken",
    "LimitExceeded",
    "Observer",
    "PayloadTooLarge",
    "PayloadUnreadable",
    "PermissionDenied",
    "SessionExists",
    "SessionMiddleware",
    "SessionNotFound",
    "Sessionware",
    "SessionwareError",
    "StoreUnavailable",
    "TooManySessions",
    "UpstreamUnavailable",
]
