"""The only place that decides which headers of an upstream's answer a client gets to see."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urljoin, urlsplit

from msgspec import Struct

from sessionware.proxy.addresses import UpstreamAddress
from sessionware.proxy.headers import SESSION_ID
from sessionware.proxy.hop_by_hop import (
    HOP_BY_HOP,
    Header,
    block_size,
    is_name,
    is_value,
    must_be_kept,
    nominated,
    plain_name,
)

BLOCK_MAX: Final = 64 << 10  # bytes of an upstream's header block
SPEND: Final = b"x-sessionware-spend"  # for the middleware around us, which takes it off
EVENT_STREAM: Final = b"text/event-stream"
# Server and Date are our own server's to say; the others tell who stands behind us, or speak in our name.
_HIDDEN: Final = frozenset(
    {
        b"server", b"date", b"via", b"x-powered-by", b"alt-svc", b"set-cookie", b"set-cookie2", b"x-served-by",
        b"x-backend-server", b"x-upstream", b"x-aspnet-version", b"x-runtime", b"clear-site-data", b"refresh",
        b"content-location", b"forwarded", b"x-real-ip", b"host", SESSION_ID,
    }
)  # fmt: skip
_HIDDEN_PREFIXES: Final = (b"x-session", b"x-forwarded", b"x-envoy-", b"x-upstream-", b"x-amzn-trace")
_CORS: Final = b"access-control-"
_SINGLE: Final = frozenset({b"content-type", b"content-encoding", b"location", b"retry-after", b"etag", b"age"})
_METADATA: Final = re.compile(rb'(\bresource_metadata\s*=\s*)(?:"[^"]*"|[^\s,"]+)', re.IGNORECASE)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_SESSION_ID: Final = re.compile(rb"[\x21-\x7e]{1,1024}")  # visible ASCII, as every version of MCP demands


class Passage(Struct, frozen=True, kw_only=True):
    """What stands in an answer in the place of what the upstream says of itself.

    `session_id` is our id for the legacy session that the upstream has just named. `prefix` leads to the pool.
    `metadata_url` stands for the upstream's own where it authenticates. With `hides_cors` the middleware
    around us says which origins may read the answer.
    """

    upstream: UpstreamAddress
    prefix: str = ""
    session_id: bytes | None = None
    metadata_url: bytes | None = None
    hides_cors: bool = True


class BadAnswer(Struct, frozen=True):
    """Why an upstream's answer is not passed on: a 502, and this sentence for the log."""

    reason: str


def to_client(headers: Sequence[Header], passage: Passage) -> list[Header] | BadAnswer:
    """The headers of the answer to the client. A Content-Length stays when it is the only framing there is."""
    reason = _fault(headers)
    if reason is not None:
        return BadAnswer(reason)
    dropped = frozenset(name for name in nominated(headers) if not must_be_kept(name) and name != SPEND)
    passed: list[Header] = _length(headers)
    for name, value in headers:
        lower = name.lower()
        if lower in dropped or _is_hidden(lower, passage):
            continue
        told = _told(lower, value.strip(b" \t"), passage)
        if told is None:
            return BadAnswer("Location leads to another place than the upstream")
        passed.append((lower, told))
    if passage.session_id is not None:
        passed.append((SESSION_ID, passage.session_id))
    return _unbuffered(passed) if is_event_stream(passed) else passed


def upstream_session_id(headers: Sequence[Header]) -> bytes | None:
    """The legacy session that an answer to `initialize` names; None: the upstream has none, or names two."""
    found = [value.strip(b" \t") for name, value in headers if name.lower() == SESSION_ID]
    return found[0] if len(found) == 1 and _SESSION_ID.fullmatch(found[0]) else None


def is_event_stream(headers: Sequence[Header]) -> bool:
    values = [value for name, value in headers if name.lower() == b"content-type"]
    return any(value.partition(b";")[0].strip(b" \t").lower() == EVENT_STREAM for value in values)


def location(value: bytes, passage: Passage) -> bytes | None:
    """Where a redirect of the upstream leads, as our clients reach it; None: to another place than the upstream.

    It is resolved against nothing but the upstream's root, and what comes out is a path of ours, so that the
    upstream's address never leaves.
    """
    own = passage.upstream.origin
    try:
        parts = urlsplit(urljoin(own + "/", value.decode("ascii")))
        # Compared as text: `http://a:80@evil` and `//evil` do not start with our origin and a slash.
        is_own = f"{parts.scheme}://{parts.netloc}".lower() == own.lower()
    except ValueError:  # no ASCII, or an address that is none
        return None
    if not is_own or b"\\" in value or not parts.path.startswith("/") or parts.path.startswith("//"):
        return None
    base = passage.upstream.path.rstrip("/")
    path = parts.path
    if passage.prefix and base and (path == base or path.startswith(base + "/")):
        path = path[len(base) :] or "/"
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return f"{passage.prefix}{path}{query}{fragment}".encode()


def _fault(headers: Sequence[Header]) -> str | None:
    if block_size(headers) > BLOCK_MAX:
        return f"the header block is over {BLOCK_MAX} bytes"
    seen: set[bytes] = set()
    for name, value in headers:
        lower = name.lower()
        if not is_name(name) or not is_value(value):
            return "a header is malformed"
        if lower in _SINGLE and lower in seen:
            return f"the header {lower.decode()} is there twice"
        seen.add(lower)
    lengths = {value.strip(b" \t") for name, value in headers if name.lower() == b"content-length"}
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        return "the length of the body is not clear"
    return None


def _length(headers: Sequence[Header]) -> list[Header]:
    """RFC 9112 6.3: Transfer-Encoding overrides a Content-Length, which must not go on then."""
    names = {name.lower(): value.strip(b" \t") for name, value in headers}
    length = names.get(b"content-length")
    return [] if length is None or b"transfer-encoding" in names else [(b"content-length", length)]


def _is_hidden(lower: bytes, passage: Passage) -> bool:
    plain = plain_name(lower)
    if plain == SPEND:
        return lower != SPEND
    if plain in HOP_BY_HOP or plain in _HIDDEN or plain == b"content-length" or plain.startswith(_HIDDEN_PREFIXES):
        return True
    return passage.hides_cors and plain.startswith(_CORS)


def _told(lower: bytes, value: bytes, passage: Passage) -> bytes | None:
    if lower == b"location":
        return location(value, passage)
    if lower == b"www-authenticate" and passage.metadata_url is not None:
        replacement = b'"' + passage.metadata_url + b'"'
        return _METADATA.sub(lambda found: found[1] + replacement, value)
    return value


def _unbuffered(headers: list[Header]) -> list[Header]:
    """Nobody between us and the client may gather events or change them."""
    kept = [header for header in headers if header[0] not in {b"x-accel-buffering", b"cache-control"}]
    return [*kept, (b"cache-control", b"no-cache, no-transform"), (b"x-accel-buffering", b"no")]
