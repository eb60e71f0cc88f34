"""The only place that says what a request presents, and refuses what contradicts itself, before any lookup."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from msgspec import Struct

from sessionware.core.ids import MintedId, SessionName, parse_presented
from sessionware.credentials.compact import is_plain
from sessionware.credentials.refusals import Refused
from sessionware.errors import AmbiguousCredentials, InvalidSessionId, SessionNotFound

BEARER: Final = "bearer"
# RFC 9110 5.6.2: what goes on after `Bearer` with one of these is the name of another scheme.
_IN_SCHEME: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NOT_UTF8: Final = "\ufffd"  # stands for bytes that are none: names that differ only there would be one user
_NOT_IN_TOKEN: Final = re.compile(r"[ ,\t]")


class Place(StrEnum):
    """Where an id was found. `path` is a REST path's {id}; `derived` is nowhere: the identity itself selects."""

    HEADER = "header"
    COOKIE = "cookie"
    QUERY = "query"
    WEBSOCKET = "websocket"
    MCP = "mcp"
    BODY = "body"
    PATH = "path"
    DERIVED = "derived"


class Presented(Struct, frozen=True, kw_only=True, gc=False):
    """What a request presents, as it came: every value of each header, nothing chosen, nothing checked.

    `ids` are (place, text) in the order found. A WebSocket's `bearer.` subprotocol stands in `authorization` as
    `Bearer ...`; `user` is read as UTF-8. `peer` is the address at the other end of the
    connection, None for a Unix socket.
    """

    ids: tuple[tuple[Place, str], ...] = ()
    authorization: tuple[str, ...] = ()
    api_key: tuple[str, ...] = ()
    session_token: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    forwarded_for: tuple[str, ...] = ()
    peer: str | None = None
    host: str = ""

    @property
    def one_session_token(self) -> str | None:
        """The secret that goes with the session id; None when there is none, or two."""
        return self.session_token[0] if len(self.session_token) == 1 else None


class SessionId(Struct, frozen=True):
    """The one session id of a request, in a proper form, and where it stood."""

    id: MintedId | SessionName
    place: Place


NOTHING: Final[tuple[SessionId | None, MintedId | None]] = (None, None)


def session_ids(ids: tuple[tuple[Place, str], ...]) -> tuple[SessionId | None, MintedId | None]:
    """The session that is named, and the legacy MCP session beside or instead of it.

    One place may name it once; several places may name it if they agree. Raises InvalidSessionId when they do
    not or when the text is no id, SessionNotFound for an `Mcp-Session-Id` that cannot be ours (its client then
    begins anew).
    """
    if not ids:
        return NOTHING
    if len(ids) == 1 and ids[0][0] is not Place.MCP:
        place, text = ids[0]
        return SessionId(parse_presented(text), place), None
    named: SessionId | None = None
    link: MintedId | None = None
    seen: set[Place] = set()
    for place, text in ids:
        if place in seen:
            raise InvalidSessionId(f"the session id is given twice ({place}): send it once")
        seen.add(place)
        if place is Place.MCP:
            link = _legacy_id(text)
        elif named is None:
            named = SessionId(parse_presented(text), place)
        elif parse_presented(text) != named.id:
            raise InvalidSessionId(f"the {named.place} and the {place} name different sessions: send one of them")
    return named, link


_BARE_TOKEN: Final = re.compile(
    r"(?:token\s+)?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", re.ASCII | re.IGNORECASE
)


def bearer(presented: Presented) -> str | None:
    """The text after `Bearer`, None when there is none: other schemes are not ours to read.

    Raises AmbiguousCredentials for a second Authorization, Refused for a Bearer without one blank and one word:
    whoever writes Bearer means to prove something, and must not pass for a stranger.
    """
    if not presented.authorization:
        return None
    if len(presented.authorization) > 1:
        raise AmbiguousCredentials("more than one Authorization: send one")
    value = presented.authorization[0]
    scheme, _, text = value.partition(" ")
    if scheme.lower() == BEARER and text and not _NOT_IN_TOKEN.search(text):
        return text
    if value[: len(BEARER)].lower() == BEARER and value[len(BEARER) : len(BEARER) + 1] not in _IN_SCHEME:
        raise Refused("form", "Authorization is not `Bearer`, one space and the token")
    if _BARE_TOKEN.fullmatch(value):
        raise Refused("form", "Authorization is a token without `Bearer` before it")
    return None


def only(values: tuple[str, ...], name: str) -> str | None:
    """The one value of a header, None when it is missing or empty. Raises AmbiguousCredentials for a second one."""
    if not values:
        return None
    if len(values) > 1:
        raise AmbiguousCredentials(f"more than one {name}: send one")
    return values[0] or None


def user_name(values: tuple[str, ...], name: str) -> str | None:
    """The user that a trusted proxy names. Raises AmbiguousCredentials when it names two, or writes what is no name."""
    user = only(values, name)
    if user is None:
        return None
    if not is_plain(user) or "," in user or _NOT_UTF8 in user or user != user.strip():
        raise AmbiguousCredentials(
            f"{name} must be one name of 1..255 characters (UTF-8), no commas: the proxy must set it, not add to it"
        )
    return user


def _legacy_id(text: str) -> MintedId:
    try:
        found = parse_presented(text)
    except InvalidSessionId as error:
        raise SessionNotFound("Session not found") from error
    if not isinstance(found, MintedId):
        raise SessionNotFound("Session not found")
    return found
