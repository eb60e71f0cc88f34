"""The only place that reads a scope: one pass over the headers, nothing judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from msgspec import Struct

from sessionware.credentials.presented import Place, Presented

Scope = Mapping[str, Any]

HEADER_MAX: Final = 16 * 1024  # of one credential header; a longer one is refused by its own grammar later
EVENT_STREAM: Final = b"text/event-stream"
_SUBPROTOCOL_SESSION: Final = "session."
_SUBPROTOCOL_BEARER: Final = "bearer."


class Names(Struct, frozen=True, kw_only=True):
    """Where ids and users are looked for. Empty: nowhere."""

    session_header: bytes = b"x-session-id"
    session_cookie: str = ""
    session_query: str = ""
    user_header: bytes = b"x-user-id"


class Read(Struct, frozen=True, gc=False):
    """What a request presents, and the few other things that are asked of its headers."""

    presented: Presented
    origin: bytes = b""
    fetch_site: bytes = b""
    is_preflight: bool = False


def read(scope: Scope, names: Names) -> Read:
    """Read an http or websocket scope. A header that is there twice is shown twice."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        if name in _WANTED or name in (names.session_header, names.user_header):
            found.setdefault(name, []).append(value)
    client = scope.get("client")
    presented = Presented(
        ids=_ids(scope, found, names),
        authorization=_texts(found.get(b"authorization")) + _subprotocol_token(found),
        api_key=_texts(found.get(b"x-api-key")),
        session_token=_texts(found.get(b"x-session-token")),
        user=_texts(found.get(names.user_header), "utf-8"),
        forwarded_for=_texts(found.get(b"x-forwarded-for")),
        peer=client[0] if client else None,
        host=_first(found, b"host").decode("latin-1"),
    )
    preflight = scope.get("method") == "OPTIONS" and b"access-control-request-method" in found
    return Read(presented, _first(found, b"origin"), _first(found, b"sec-fetch-site"), preflight)


_WANTED: Final = frozenset(
    {
        b"authorization", b"x-api-key", b"x-session-token", b"x-forwarded-for", b"host", b"cookie", b"origin",
        b"sec-fetch-site", b"accept", b"mcp-session-id", b"sec-websocket-protocol", b"access-control-request-method",
    }
)  # fmt: skip


def _ids(scope: Scope, found: Mapping[bytes, Sequence[bytes]], names: Names) -> tuple[tuple[Place, str], ...]:
    ids: list[tuple[Place, str]] = []
    if names.session_header:
        ids += [(Place.HEADER, text) for text in _texts(found.get(names.session_header))]
    is_socket = scope["type"] == "websocket"
    if is_socket:
        ids += [
            (Place.WEBSOCKET, each.removeprefix(_SUBPROTOCOL_SESSION))
            for each in _subprotocols(found)
            if each.startswith(_SUBPROTOCOL_SESSION)
        ]
    if names.session_cookie and b"cookie" in found:
        ids += [(Place.COOKIE, value) for value in _cookies(found[b"cookie"], names.session_cookie)]
    if names.session_query and scope["query_string"] and (is_socket or _wants_events(scope, found)):
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=100)
        ids += [(Place.QUERY, value) for name, value in query if name == names.session_query]
    ids += [(Place.MCP, text) for text in _texts(found.get(b"mcp-session-id"))]
    return tuple(ids)


def _wants_events(scope: Scope, found: Mapping[bytes, Sequence[bytes]]) -> bool:
    """Only an EventSource cannot send headers: nobody else may put an id into a URL."""
    return scope["method"] == "GET" and any(EVENT_STREAM in value for value in found.get(b"accept", ()))


def _cookies(values: Sequence[bytes], name: str) -> list[str]:
    """Every value of that cookie: a second one, planted from a sibling domain, must not win silently."""
    pairs = [pair.partition("=") for value in values for pair in value.decode("latin-1").split(";")]
    return [value.strip().strip('"') for key, _, value in pairs if key.strip() == name]


def _subprotocols(found: Mapping[bytes, Sequence[bytes]]) -> list[str]:
    offered = b",".join(found.get(b"sec-websocket-protocol", ())).decode("latin-1")
    return [each.strip() for each in offered.split(",") if each.strip()]


def _subprotocol_token(found: Mapping[bytes, Sequence[bytes]]) -> tuple[str, ...]:
    return tuple(
        "Bearer " + each.removeprefix(_SUBPROTOCOL_BEARER)
        for each in _subprotocols(found)
        if each.startswith(_SUBPROTOCOL_BEARER)
    )


def _texts(values: Sequence[bytes] | None, encoding: str = "latin-1") -> tuple[str, ...]:
    if not values:
        return ()
    return tuple([value.decode(encoding, "replace") for value in values])


def _first(found: Mapping[bytes, Sequence[bytes]], name: bytes) -> bytes:
    values = found.get(name)
    return values[0] if values else b""
