"""The only place that says what a client is told where there is no request that an app could answer."""

from __future__ import annotations

from typing import Final

from sessionware.proxy.mcp.answers import error_body
from sessionware.standalone.answering import STATUS_LINES
from sessionware.standalone.bounds import Bounds

BAD_REQUEST: Final = 400
TIMEOUT: Final = 408
UNMET: Final = 417
TOO_LARGE: Final = 431
UNAVAILABLE: Final = 503


def too_large(bounds: Bounds) -> tuple[int, str]:
    """The status and what is said of a head over its bounds."""
    limit = f"at most {bounds.head_fields} fields and {bounds.head_bytes} bytes"
    return TOO_LARGE, f"Request header fields too large: {limit}"


def refusal(status: int, message: str, extra: bytes) -> bytes:
    """A whole answer, the last on its connection; `extra` are more lines of its head."""
    body = error_body(status, message)
    return (
        STATUS_LINES[status]
        + b"content-type: application/json\r\ncache-control: no-store\r\ncontent-length: %d\r\n" % len(body)
        + extra
        + b"connection: close\r\n\r\n"
        + body
    )
