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
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE_BYTES: Final = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])  # RFC 9110 5.5


NAME_MAX: Final = 256  # bytes of one header's name
LINE_EXTRA: Final = 4  # colon, blank, CR and LF: what a header's line has beside name and value
NOBODY: Final[frozenset[bytes]] = frozenset()


def nominated(headers: Iterable[Header]) -> frozenset[bytes]:
    """The names that Connection declares to be hop-by-hop as well, in lower case."""
    values = [value for name, value in headers if name == b"connection" or name.lower() == b"connection"]
    if not values or values == [b"keep-alive"]:
        return NOBODY
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


def are_values(values: Iterable[bytes]) -> bool:
    """Whether each value stays one value: without CR, LF, NUL and their like none can split a message."""
    return not b"".join(values).translate(None, _VALUE_BYTES)
