"""The only place that reads a scope: one pass over the headers, nothing judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from msgspec import Struct

from sessionware.core.ids import is_minted
from sessionware.credentials.presented import Place, Presented

Scope = Mapping[str, Any]

TICKET: Final = "ticket"
CROWD: Final = "?"  # no name of a field, and no id
FIELDS_MAX: Final = 100  # of a URL: more are nobody's parameters
EVENT_STREAM: Final = b"text/event-stream"
_SUBPROTOCOL_SESSION: Final = "session."
_SUBPROTOCOL_BEARER: Final = "bearer."
_PROVING: Final = frozenset({b"authorization", b"x-api-key", b"x-session-token", b"x-forwarded-for", b"mcp-session-id"})
_WANTED: Final = _PROVING | {b"host", b"cookie", b"origin", b"sec-fetch-site", b"accept"}


class Names(Struct, frozen=True, kw_only=True):
    """Where ids and users are looked for. Empty: nowhere. Over HTTPS the cookie may have another name."""

    session_header: bytes = b"x-session-id"
    session_cookie: str = ""
    secure_cookie: str = ""
    session_query: str = ""
    user_header: bytes = b"x-user-id"

    @property
    def heard(self) -> frozenset[bytes]:
        """The headers that can say who asks and for which session."""
        named = {self.session_header, self.user_header} - {b""}
        return _PROVING | named | ({b"cookie"} if self.session_cookie or self.secure_cookie else set())

    def cookie(self, scope: Scope) -> str:
        """The session cookie's name on this connection."""
        return self.secure_cookie if is_https(scope) else self.session_cookie


class Read(Struct, frozen=True, gc=False):
    """What a request presents, and the few other things that are asked of its headers."""

    presented: Presented
    origin: bytes = b""
    fetch_site: bytes = b""
    tickets: tuple[str, ...] = ()


def is_https(scope: Scope) -> bool:
    return scope.get("scheme") in {"https", "wss"}


def is_preflight(scope: Scope) -> bool:
    """Whether a browser only asks whether it may ask."""
    if scope.get("method") != "OPTIONS":
        return False
    return any(name == b"access-control-request-method" for name, _ in scope["headers"])


def host_of(scope: Scope) -> str:
    """The one Host that the request names; empty when it names none, or two."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return hosts[0].strip(b" \t").decode("latin-1").lower() if len(hosts) == 1 else ""


def fingerprint(scope: Scope, heard: frozenset[bytes]) -> tuple[object, ...]:
    """Everything that decides who asks and for which session, as it came, where no URL or body takes part."""
    client = scope.get("client")
    found = [client[0] if client else None, scope.get("scheme")]
    for name, value in scope["headers"]:  # a comprehension costs a frame of its own before Python 3.12
        if name in heard:
            found += (name, value)
    return tuple(found)


def may_name_in_url(scope: Scope, names: Names) -> bool:
    """Whether the URL may hold an id or a ticket, so that the headers alone do not say who asks."""
    query = scope["query_string"]
    return bool(query) and (bool(names.session_query) or b"ticket=" in query)


def read(scope: Scope, names: Names, *, body_id: str | None = None) -> Read:
    """Read an http or websocket scope. A header that is there twice is shown twice."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        if name in _WANTED or name in (names.session_header, names.user_header):
            found.setdefault(name, []).append(value)
    client = scope.get("client")
    ids, tickets = _ids(scope, found, names)
    presented = Presented(
        ids=ids if body_id is None else (*ids, (Place.BODY, body_id)),
        authorization=_texts(found.get(b"authorization")) + _subprotocol_token(scope),
        api_key=_texts(found.get(b"x-api-key")),
        session_token=_texts(found.get(b"x-session-token")),
        user=_texts(found.get(names.user_header), "utf-8"),
        forwarded_for=_texts(found.get(b"x-forwarded-for")),
        peer=client[0] if client else None,
        host=_first(found, b"host").decode("latin-1"),
    )
    origin = b", ".join(found.get(b"origin", ()))  # two are nobody's
    return Read(presented, origin, _first(found, b"sec-fetch-site"), tickets)


def _ids(
    scope: Scope, found: Mapping[bytes, Sequence[bytes]], names: Names
) -> tuple[tuple[tuple[Place, str], ...], tuple[str, ...]]:
    """Every id that is presented, in order, and every ticket that the URL holds."""
    ids: list[tuple[Place, str]] = []
    if names.session_header:
        ids += [(Place.HEADER, text) for text in _texts(found.get(names.session_header))]
    is_socket = scope["type"] == "websocket"
    if is_socket:
        ids += [
            (Place.WEBSOCKET, each.removeprefix(_SUBPROTOCOL_SESSION))
            for each in _subprotocols(scope)
            if each.startswith(_SUBPROTOCOL_SESSION)
        ]
    cookie = names.cookie(scope)
    if cookie and b"cookie" in found:
        has_credential = b"authorization" in found or b"x-api-key" in found or names.user_header in found
        read_ids = _cookies(found[b"cookie"], cookie, has_credential=has_credential)
        ids += [(Place.COOKIE, value) for value in read_ids]
    tickets: list[str] = []
    if may_name_in_url(scope, names) and (is_socket or _wants_events(scope, found)):
        query = _query(scope)
        ids += [(Place.QUERY, value) for name, value in query if name in {names.session_query or CROWD, CROWD}]
        tickets = [value for name, value in query if name == TICKET]
    ids += [(Place.MCP, text) for text in _texts(found.get(b"mcp-session-id"))]
    return tuple(ids), tuple(tickets)


def _query(scope: Scope) -> list[tuple[str, str]]:
    """The fields of the URL; more than anybody needs are read as one id that cannot be."""
    try:
        return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        return [(CROWD, CROWD)]


def _wants_events(scope: Scope, found: Mapping[bytes, Sequence[bytes]]) -> bool:
    """Only an EventSource cannot send headers: nobody else may put an id into a URL."""
    return scope["method"] == "GET" and any(EVENT_STREAM in value for value in found.get(b"accept", ()))


def _cookies(values: Sequence[bytes], name: str, *, has_credential: bool) -> list[str]:
    """Every id under that name: a second one, planted from a sibling domain, must not win silently.

    Names mean something beside a credential only (`has_credential`). Without one, what is no id of ours is another
    app's cookie of the same name, whose visitor begins anew here.
    """
    pairs = [pair.partition("=") for value in values for pair in value.decode("latin-1").split(";")]
    found = [value.strip().strip('"') for key, _, value in pairs if key.strip() == name]
    return found if has_credential else [value for value in found if is_minted(value)]


def _subprotocols(scope: Scope) -> Sequence[str]:
    """What a socket offers, as the server has read it: not every one leaves the header in place."""
    return scope.get("subprotocols") or () if scope["type"] == "websocket" else ()


def _subprotocol_token(scope: Scope) -> tuple[str, ...]:
    return tuple(
        "Bearer " + each.removeprefix(_SUBPROTOCOL_BEARER)
        for each in _subprotocols(scope)
        if each.startswith(_SUBPROTOCOL_BEARER)
    )


def _texts(values: Sequence[bytes] | None, encoding: str = "latin-1") -> tuple[str, ...]:
    if not values:
        return ()
    # RFC 9110 5.5: blanks around a value are not part of it; not every server takes them off.
    return tuple([value.strip(b" \t").decode(encoding, "replace") for value in values])


def _first(found: Mapping[bytes, Sequence[bytes]], name: bytes) -> bytes:
    values = found.get(name)
    return values[0] if values else b""
