"""The only place that knows how a request is written to an upstream: its line, its headers, its framing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache
from typing import Final

from msgspec import Struct

from sessionware.proxy.wire.faults import UnwritableRequest

Headers = Iterable[tuple[bytes, bytes]]

LAST_CHUNK: Final = b"0\r\n\r\n"
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9112 3.2.1, origin-form alone: no scheme, no authority (a leading // would be one), nothing unprintable.
_TARGET: Final = re.compile(rb"/(?!/)[!\"$-~]*")
_USUAL_METHODS: Final = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})
_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Framing and the connection are ours (RFC 9110 7.6.1; RFC 9112 6): what a client said about its own stops here.
_OURS: Final = frozenset({
    b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"proxy-connection", b"te",
    b"trailer", b"upgrade", b"expect", b"http2-settings",
})  # fmt: skip
# A second one of these lets two readers of one request disagree.
_SINGLE: Final = frozenset({
    b"authorization", b"content-type", b"content-encoding", b"cookie", b"date", b"from", b"last-event-id",
    b"mcp-method", b"mcp-name", b"mcp-protocol-version", b"mcp-session-id", b"origin", b"range", b"referer",
    b"user-agent", b"x-session-id",
})  # fmt: skip
# RFC 9110 9.3: these have no body by themselves, so an empty one is not announced.
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})
# RFC 9110 9.2.2; PUT is left out because it is nothing without its body.
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


class HeaderBlock(Struct, frozen=True, gc=False):
    """Headers as they are written, checked once: for a client that sends the same again and again."""

    lines: bytes


class UpstreamRequest(Struct, frozen=True):
    """What to ask an upstream. `target` is the raw path with its query; headers about framing are ignored.

    A streamed body of known length is sent with `content_length`, else in chunks. A body of bytes knows its length.
    """

    method: str
    target: bytes
    headers: Headers | HeaderBlock = ()
    body: bytes | AsyncIterator[bytes] = b""
    content_length: int | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice equals sending it once, and it can be sent again at all."""
        return self.method in _IDEMPOTENT and self.body == b""


_MAY_REPEAT: Final = b""


def head_of(request: UpstreamRequest, authority: bytes) -> bytes:
    """Write the head. Raises UnwritableRequest when a part of it could be read as something else."""
    method = request.method
    if method not in _USUAL_METHODS and (method == "CONNECT" or not _METHOD.fullmatch(method)):
        raise UnwritableRequest(f"method {method[:32]!r} cannot be forwarded")
    if not _TARGET.fullmatch(request.target):
        raise UnwritableRequest(f"target {request.target[:64]!r} must be a path: one leading /, printable, no fragment")
    headers = request.headers
    block = headers if isinstance(headers, HeaderBlock) else block_of(headers)
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b%b\r\n" % (
        method.encode(), request.target, authority, block.lines, _framing(request)
    )  # fmt: skip


def block_of(headers: Headers) -> HeaderBlock:
    """Write headers, without those that are ours. Raises UnwritableRequest as `head_of`."""
    pieces: list[bytes] = []
    singles: set[bytes] = set()
    for name, value in headers:
        single = _single_name(name)
        if single is None:
            continue
        if single:
            if single in singles:
                raise UnwritableRequest(f"header {single.decode()} must stand once")
            singles.add(single)
        pieces += (name, b": ", value, b"\r\n")
    lines = b"".join(pieces)
    _refuse_broken_lines(lines, len(pieces) // 4, headers)
    return HeaderBlock(lines)


def _framing(request: UpstreamRequest) -> bytes:
    body = request.body
    if isinstance(body, bytes):
        return b"content-length: %d\r\n" % len(body) if body or request.method not in _BODILESS else b""
    if request.content_length is None:
        return b"transfer-encoding: chunked\r\n"
    return b"content-length: %d\r\n" % request.content_length


def _refuse_broken_lines(block: bytes, lines: int, headers: Headers) -> None:
    # One look at all of them instead of one at each value.
    if block.count(b"\n") == block.count(b"\r") == lines and b"\0" not in block:
        return
    guilty = next((name for name, value in headers if re.search(rb"[\r\n\0]", value)), b"?")
    raise UnwritableRequest(f"header {guilty.decode()}: its value holds a line break or NUL")


def chunk(part: bytes) -> bytes:
    """Frame one part of a body of unknown length; an empty part is nothing, for an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(part), part) if part else b""


@lru_cache(maxsize=1024)
def _single_name(name: bytes) -> bytes | None:
    """The name under which a header must stand once, _MAY_REPEAT, or None for what is never copied."""
    if not _TOKEN.fullmatch(name):
        raise UnwritableRequest(f"header name {name[:64]!r} is not a token")
    lowered = name.lower()
    if lowered in _OURS:
        return None
    return lowered if lowered in _SINGLE else _MAY_REPEAT
