"""The only place that decides which headers of an upstream's answer a client gets to see."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from sessionware.proxy.addresses import UpstreamAddress, own_place
from sessionware.proxy.headers import NAMES_KEPT, SESSION_ID
from sessionware.proxy.hop_by_hop import (
    HOP_BY_HOP,
    LINE_EXTRA,
    NAME_MAX,
    Header,
    are_values,
    is_name,
    must_be_kept,
    nominated,
    plain_name,
)

BLOCK_MAX: Final = 64 << 10  # bytes of an upstream's header block
USUAL_KEPT: Final = 512  # answers that are remembered by their headers,
USUAL_MAX: Final = 2 << 10  # whose values are no longer than this
SPEND: Final = b"x-sessionware-spend"  # for the middleware around us, which takes it off
EVENT_STREAM: Final = b"text/event-stream"
# Server and Date are our own server's to say; the others tell who stands behind us, or speak in our name.
_HIDDEN: Final = frozenset(
    {
        b"server", b"date", b"via", b"x-powered-by", b"alt-svc", b"set-cookie", b"set-cookie2", b"x-served-by",
        b"x-backend-server", b"x-upstream", b"x-aspnet-version", b"x-runtime", b"clear-site-data", b"refresh",
        b"content-location", b"content-length", b"forwarded", b"x-real-ip", b"host", SESSION_ID,
    }
)  # fmt: skip
_HIDDEN_PREFIXES: Final = (b"x-session", b"x-forwarded", b"x-envoy-", b"x-upstream-", b"x-amzn-trace")
_CORS: Final = b"access-control-"
_SINGLE: Final = frozenset({b"content-type", b"content-encoding", b"location", b"retry-after", b"etag", b"age"})
_METADATA: Final = re.compile(rb'(\bresource_metadata\s*=\s*)(?:"[^"]*"|[^\s,"]+)', re.IGNORECASE)
_METADATA_ITEM: Final = re.compile(_METADATA.pattern + rb"\s*,?\s*", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_SESSION_ID: Final = re.compile(rb"[\x21-\x7e]{1,1024}")  # visible ASCII, as every version of MCP demands


class Guise(Struct, frozen=True, kw_only=True):
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


def to_client(headers: Sequence[Header], guise: Guise) -> list[Header] | BadAnswer:
    """The headers of the answer to the client. A Content-Length stays when it is the only framing there is."""
    usual = _usual(headers) if guise.session_id is None and guise.hides_cors else None
    return _to_client(headers, guise) if usual is None else usual


def _usual(headers: Sequence[Header]) -> list[Header] | None:
    """The same for an answer like many before, which only its date and its length tell from them; else None."""
    length, key, size = b"", list[Header](), 0
    for pair in headers:
        if pair[0] == b"content-length":
            if length or not _LENGTH.fullmatch(pair[1]):
                return None
            length = pair[1]
        elif pair[0] != b"date":  # ours stands in its place
            key.append(pair)
            size += len(pair[1])
    if size > USUAL_MAX:
        return None
    told = _told_before(tuple(key))
    if told is None or not length:
        return None if told is None else list(told)
    return [(b"content-length", length), *told]


@lru_cache(USUAL_KEPT)
def _told_before(headers: tuple[Header, ...]) -> tuple[Header, ...] | None:
    """What is left of headers that say the same to everybody; None: they are looked at each time."""
    for name, _ in headers:
        if _traits(name).is_rewritten or name == b"transfer-encoding":
            return None
    passed = _to_client(headers, _NOWHERE)
    return None if isinstance(passed, BadAnswer) else tuple(passed)


def _to_client(headers: Sequence[Header], guise: Guise) -> list[Header] | BadAnswer:
    reason = _fault(headers)
    if reason is not None:
        return BadAnswer(reason)
    dropped = nominated(headers)
    passed: list[Header] = _length(headers)
    for name, value in headers:
        traits = _traits(name)
        if traits.is_hidden or (traits.is_cors and guise.hides_cors):
            continue
        if traits.lower in dropped and traits.may_be_dropped:
            continue
        told = value.strip(b" \t")
        if traits.is_rewritten:
            rewritten = _rewritten(traits.lower, told, guise)
            if rewritten is None:
                return BadAnswer("Location leads to another place than the upstream")
            told = rewritten
        passed.append((traits.lower, told))
    if guise.session_id is not None:
        passed.append((SESSION_ID, guise.session_id))
    return _unbuffered(passed) if is_event_stream(passed) else passed


_NOWHERE: Final = Guise(upstream=UpstreamAddress(name="", scheme="http", host="", port=0))


class _Traits(Struct, frozen=True, gc=False):
    """What a header's name says, whoever sends it."""

    lower: bytes
    is_name: bool
    is_single: bool
    is_hidden: bool
    is_cors: bool
    is_rewritten: bool
    may_be_dropped: bool


@lru_cache(NAMES_KEPT)
def _traits(name: bytes) -> _Traits:
    lower, plain = name.lower(), plain_name(name)
    is_hidden = plain in HOP_BY_HOP or plain in _HIDDEN or plain.startswith(_HIDDEN_PREFIXES)
    return _Traits(
        lower=lower,
        is_name=is_name(name),
        is_single=lower in _SINGLE,
        is_hidden=is_hidden and lower != SPEND,
        is_cors=plain.startswith(_CORS),
        is_rewritten=lower in {b"location", b"www-authenticate"},
        may_be_dropped=not must_be_kept(lower),
    )


def upstream_session_id(headers: Sequence[Header]) -> bytes | None:
    """The legacy session that an answer to `initialize` names; None: the upstream has none, or names two."""
    found = [value.strip(b" \t") for name, value in headers if name.lower() == SESSION_ID]
    return found[0] if len(found) == 1 and _SESSION_ID.fullmatch(found[0]) else None


def is_event_stream(headers: Sequence[Header]) -> bool:
    return any(_is_events(value) for name, value in headers if name.lower() == b"content-type")


def is_json(headers: Sequence[Header]) -> bool:
    """Whether the answer is one JSON text."""
    kinds = [value for name, value in headers if name.lower() == b"content-type"]
    return any(kind.partition(b";")[0].strip(b" \t").lower() == b"application/json" for kind in kinds)


def is_encoded(headers: Sequence[Header]) -> bool:
    """Whether the body is compressed; nobody here looks into that."""
    return any(name.lower() == b"content-encoding" and value.lower() != b"identity" for name, value in headers)


def location(value: bytes, guise: Guise) -> bytes | None:
    """Where a redirect of the upstream leads, as our clients reach it; None: to another place than the upstream.

    It is resolved against nothing but the upstream's root, and what comes out is a path of ours, so that the
    upstream's address never leaves.
    """
    parts = own_place(guise.upstream, value.decode("ascii")) if value.isascii() else None
    if parts is None or not parts.path.startswith("/") or parts.path.startswith("//"):
        return None
    base = guise.upstream.path.rstrip("/")
    path = parts.path
    if guise.prefix and base and (path == base or path.startswith(base + "/")):
        path = path[len(base) :] or "/"
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return f"{guise.prefix}{path}{query}{fragment}".encode()


def _fault(headers: Sequence[Header]) -> str | None:
    size, seen, is_named = 0, set[bytes](), True
    lengths: set[bytes] = set()
    for name, value in headers:
        size += len(name) + len(value) + LINE_EXTRA
        if len(name) > NAME_MAX or size > BLOCK_MAX:
            return f"a header is too long, or all are over {BLOCK_MAX} bytes"
        traits = _traits(name)
        is_named = is_named and traits.is_name
        if traits.lower == b"content-length":
            lengths.add(value.strip(b" \t"))
        elif traits.is_single and traits.lower in seen:
            return f"the header {traits.lower.decode()} is there twice"
        seen.add(traits.lower)
    if not is_named or not are_values([value for _, value in headers]):
        return "a header is malformed"
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        return "the length of the body is not clear"
    return None


def _length(headers: Sequence[Header]) -> list[Header]:
    """RFC 9112 6.3: Transfer-Encoding overrides a Content-Length, which must not go on then."""
    names = {name.lower(): value.strip(b" \t") for name, value in headers}
    length = names.get(b"content-length")
    return [] if length is None or b"transfer-encoding" in names else [(b"content-length", length)]


def _rewritten(lower: bytes, value: bytes, guise: Guise) -> bytes | None:
    if lower == b"location":
        return location(value, guise)
    if guise.metadata_url is None:  # it would tell where the upstream stands
        return _METADATA_ITEM.sub(b"", value).rstrip(b", \t")
    replacement = b'"' + guise.metadata_url + b'"'
    return _METADATA.sub(lambda found: found[1] + replacement, value)


def _is_events(value: bytes) -> bool:
    return value.partition(b";")[0].strip(b" \t").lower() == EVENT_STREAM


def _unbuffered(headers: list[Header]) -> list[Header]:
    """Nobody between us and the client may gather events or change them."""
    kept = [header for header in headers if header[0] not in {b"x-accel-buffering", b"cache-control"}]
    return [*kept, (b"cache-control", b"no-cache, no-transform"), (b"x-accel-buffering", b"no")]
