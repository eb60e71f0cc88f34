"""The only place that knows which headers end at the next hop, and who may name others (RFC 9110 7.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

Header = tuple[bytes, bytes]

HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings", b"proxy-authentication-info",
    }
)  # fmt: skip
# A message whose framing, meaning or sender rests on one of these must not lose it by its own wish.
_KEPT: Final = frozenset(
    {
        b"authorization", b"cache-control", b"content-encoding", b"content-length", b"content-type", b"cookie",
        b"forwarded", b"host", b"last-event-id", b"location", b"origin", b"set-cookie", b"vary", b"via",
        b"www-authenticate", b"x-api-key", b"x-real-ip", b"retry-after",
    }
)  # fmt: skip
_KEPT_PREFIXES: Final = (b"x-forwarded-", b"x-session", b"mcp-", b"sec-")
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def nominated(headers: Iterable[Header]) -> frozenset[bytes]:
    """The names that Connection declares to be hop-by-hop as well, in lower case."""
    values = [value for name, value in headers if name.lower() == b"connection"]
    return frozenset(part.strip(b" \t").lower() for value in values for part in value.split(b",")) - {b""}


def must_be_kept(name: bytes) -> bool:
    """Whether no sender may take this header away by naming it in Connection: that is how ours would be stripped."""
    plain = plain_name(name)
    return plain in _KEPT or plain.startswith(_KEPT_PREFIXES)


def plain_name(name: bytes) -> bytes:
    """The name as those read it who cannot tell `_` from `-` (CGI, WSGI and their kin)."""
    return name.lower().replace(b"_", b"-")


def is_name(name: bytes) -> bool:
    return _TOKEN.fullmatch(name) is not None


def is_value(value: bytes) -> bool:
    """Whether the value stays one value: without CR, LF, NUL and their like it cannot split a message."""
    return _VALUE.fullmatch(value) is not None


def block_size(headers: Iterable[Header]) -> int:
    """The bytes of a header block as HTTP/1.1 writes it: name, colon, blank, value, CR LF."""
    return sum(len(name) + len(value) + 4 for name, value in headers)
