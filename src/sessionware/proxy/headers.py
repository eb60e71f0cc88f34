"""The only place that decides which headers of a client an upstream gets to see, and what we say of the client.

Nothing that a client sends may look like our word: what we vouch for is stripped, in every spelling, and made anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from msgspec import Struct

from sessionware.config.proxy_settings import Forwarding
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
from sessionware.proxy.mcp.era import Era

HEADERS_MAX: Final = 100  # fields of one request
BLOCK_MAX: Final = 32 << 10  # bytes of all of them
NAMES_KEPT: Final = 1_024  # header names whose meaning is remembered, none longer than NAME_MAX
SENDERS_KEPT: Final = 1_024  # introductions that are remembered
PSEUDONYM: Final = b"sessionware"  # who we are in Via
SESSION_ID: Final = b"mcp-session-id"
_CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key", b"cookie"})
# What we say anew, and what belongs to the connection that it came on. Expect was answered by our server.
_OURS: Final = frozenset(
    {
        b"forwarded", b"via", b"x-real-ip", b"host", b"content-length", b"expect", b"x-session-id", b"x-session-token",
        b"true-client-ip", b"x-client-ip", b"x-cluster-client-ip", b"x-original-url", b"x-rewrite-url",
        b"x-original-host", b"x-http-method-override", SESSION_ID,
    }
)  # fmt: skip
_OUR_PREFIXES: Final = (b"x-forwarded", b"x-sessionware-")
# RFC 9110 5.3: what is no list must not be there twice, for whoever takes the other one sees another request.
_SINGLE: Final = frozenset(
    {
        b"authorization", b"content-type", b"content-length", b"content-encoding", b"host", b"last-event-id",
        b"origin", b"referer", b"user-agent", b"x-api-key", b"if-match", b"range", b"date", b"transfer-encoding",
    }
)  # fmt: skip
_HOST: Final = re.compile(rb"[A-Za-z0-9._\-]{1,255}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")


class Disclosure(Struct, frozen=True, kw_only=True):
    """What a pool's upstreams may see of clients.

    `own_names` are the session header and the user header, by `header_names`; `cookie_names` our cookies. With
    `shows_credentials` the client's own reach the upstream; `authorization` is sent in their place.
    """

    own_names: frozenset[bytes] = frozenset()
    cookie_names: frozenset[bytes] = frozenset()
    shows_credentials: bool = False
    authorization: bytes | None = None


class Sender(Struct, frozen=True, kw_only=True):
    """Who asks, as we know it: the address (behind trusted proxies), the scheme and the Host it asked for.

    `prefix` was cut off the path; `version` is the HTTP version that it spoke.
    """

    address: str
    scheme: str
    host: bytes
    prefix: str = ""
    version: str = "1.1"


class Onward(Struct, frozen=True, kw_only=True):
    """Where a request goes on to. `host` is the upstream's own; `era` None: plain HTTP.

    `session_id` is the upstream's name for the legacy session, which stands for ours.
    """

    host: bytes
    disclosure: Disclosure
    era: Era | None = None
    session_id: bytes | None = None


class BadHead(Struct, frozen=True):
    """Why a request's head is not passed on."""

    status: int
    message: str


def shows_credentials(forwarding: Forwarding, *, verifies: bool) -> bool:
    """FORWARD_AUTHORIZATION: `auto` passes credentials through only where nothing here verifies them."""
    return forwarding == "forward" or (forwarding == "auto" and not verifies)


def head_fault(headers: Sequence[Header]) -> BadHead | None:
    """What is wrong with a request's headers: too many, malformed, twice, or meant to take ours away."""
    if _is_too_large(headers):
        return BadHead(431, f"Request header fields too large: at most {HEADERS_MAX} fields and {BLOCK_MAX} bytes")
    seen, is_named, twice = set[bytes](), True, b""
    for name, _ in headers:
        traits = _traits(name)
        is_named = is_named and traits.is_name
        if traits.is_single:
            twice = traits.lower if traits.lower in seen else twice
            seen.add(traits.lower)
    if not is_named or not are_values([value for _, value in headers]):
        return BadHead(400, "Invalid request: a header is malformed")
    if twice:
        return BadHead(400, f"Invalid request: the header {twice.decode()} is there twice")
    if {b"content-length", b"transfer-encoding"} <= seen:
        return BadHead(400, "Invalid request: Content-Length and Transfer-Encoding together")
    if any(map(must_be_kept, nominated(headers))):
        return BadHead(400, "Invalid request: Connection names a header that must reach us")
    return None


def _is_too_large(headers: Sequence[Header]) -> bool:
    if len(headers) > HEADERS_MAX:
        return True
    lengths = [(len(name), len(value)) for name, value in headers]
    return any(name > NAME_MAX for name, _ in lengths) or sum(map(sum, lengths)) + LINE_EXTRA * len(headers) > BLOCK_MAX


def to_upstream(headers: Sequence[Header], sender: Sender, onward: Onward) -> list[Header]:
    """The headers of the request to an upstream, without those of its framing. They have passed `head_fault`."""
    disclosure = onward.disclosure
    passed = [(b"host", onward.host), *passed_on(headers, onward)]
    if disclosure.authorization is not None:
        passed.append((b"authorization", disclosure.authorization))
    if onward.session_id is not None:
        passed.append((SESSION_ID, onward.session_id))
    passed += _introduction(sender.address, sender.scheme, sender.host, sender.prefix, sender.version)
    return passed


def passed_on(headers: Sequence[Header], onward: Onward) -> list[Header]:
    """What an upstream gets to see of the client's own headers."""
    disclosure, is_modern = onward.disclosure, onward.era is Era.MODERN
    dropped = nominated(headers)
    passed: list[Header] = []
    for name, value in headers:
        traits = _traits(name)
        if traits.is_ours or traits.lower in dropped or traits.plain in disclosure.own_names:
            continue
        if traits.is_credential:
            passed += _credential(traits.lower, value.strip(b" \t"), disclosure)
        elif not (is_modern and traits.resumes):
            # RFC 9110 5.5: blanks around a value are not part of it; not every server takes them off.
            passed.append((traits.lower, value.strip(b" \t")))
    return passed


class _Traits(Struct, frozen=True, gc=False):
    """What a header's name says, whoever sends it. `is_ours`: it ends here. `resumes`: only in the legacy era."""

    lower: bytes
    plain: bytes
    is_name: bool
    is_single: bool
    is_ours: bool
    is_credential: bool
    resumes: bool


@lru_cache(NAMES_KEPT)
def _traits(name: bytes) -> _Traits:
    lower, plain = name.lower(), plain_name(name)
    is_ours = plain in HOP_BY_HOP or plain in _OURS or plain.startswith(_OUR_PREFIXES)
    return _Traits(
        lower=lower,
        plain=plain,
        is_name=is_name(name),
        is_single=_is_single(lower),
        # `mcp_method` beside `mcp-method`: two readers would see two requests.
        is_ours=is_ours or (plain != lower and _is_single(plain)),
        is_credential=plain in _CREDENTIALS,
        resumes=plain == b"last-event-id",
    )


def _is_single(lower: bytes) -> bool:
    return lower in _SINGLE or lower.startswith(b"mcp-")


def _credential(lower: bytes, value: bytes, disclosure: Disclosure) -> list[Header]:
    """A client's own credential, as far as the upstream may see it."""
    if not disclosure.shows_credentials or (lower == b"authorization" and disclosure.authorization is not None):
        return []
    if lower == b"cookie":
        value = _foreign_cookies(value, disclosure.cookie_names)
    return [(lower, value)] if value else []


def _foreign_cookies(value: bytes, ours: frozenset[bytes]) -> bytes:
    pairs = [pair.strip(b" \t") for pair in value.split(b";")]
    return b"; ".join(pair for pair in pairs if pair and pair.partition(b"=")[0].strip(b" \t") not in ours)


@lru_cache(SENDERS_KEPT)
def _introduction(address: str, scheme: str, host: bytes, prefix: str, version: str) -> tuple[Header, ...]:
    """Who asks, through whom. A Host that is none is not repeated: it would be our word then."""
    node, protocol = address.encode("latin-1", "replace"), scheme.encode("latin-1", "replace")
    said = [(b"x-forwarded-for", node), (b"x-forwarded-proto", protocol), (b"x-real-ip", node)]
    forwarded = [b"for=" + _node(address), b"proto=" + protocol]
    if _HOST.fullmatch(host):
        said += [(b"x-forwarded-host", host), (b"x-forwarded-port", _port(host, scheme))]
        forwarded.append(b'host="' + host + b'"')
    if prefix:
        said.append((b"x-forwarded-prefix", prefix.encode("latin-1", "replace")))
    said.append((b"forwarded", b";".join(forwarded)))
    said.append((b"via", version.encode("latin-1", "replace") + b" " + PSEUDONYM))
    return tuple(said)


def _node(address: str) -> bytes:
    """RFC 7239 6: an IPv6 address is quoted and in brackets; what is no address is `unknown`."""
    if _is_ipv6(address):
        return f'"[{address}]"'.encode()
    return address.encode() if re.fullmatch(r"[0-9.]{7,15}", address, re.ASCII) else b"unknown"


def _is_ipv6(address: str) -> bool:
    try:
        IPv6Address(address)
    except ValueError:
        return False
    return "%" not in address


def _port(host: bytes, scheme: str) -> bytes:
    _, colon, port = host.rpartition(b":")
    if colon and port.isdigit():
        return port
    return b"443" if scheme in {"https", "wss"} else b"80"


def header_names(*names: str | None) -> frozenset[bytes]:
    """Names of headers from settings, as they are compared here."""
    return frozenset(plain_name(name.encode("latin-1", "replace")) for name in names if name)
