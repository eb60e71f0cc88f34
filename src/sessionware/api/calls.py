"""The only place that reads a call of the API and writes its answer: bounded JSON in, JSON out, never cached."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sessionware.api.callers import CallerOf
from sessionware.asgi.limit_headers import Header, Style
from sessionware.asgi.messages import Scope
from sessionware.asgi.problems import Problem
from sessionware.core.limit_text import nearest, quoted
from sessionware.errors import InvalidValue, PayloadTooLarge
from sessionware.service import Actor, Sessions
from sessionware.service.finding import current_id

BODY_MAX: Final = 256 * 1024  # metadata is 64 KiB, written in JSON as wastefully as anybody likes
CURRENT: Final = "current"
NO_STORE: Final[Header] = (b"cache-control", b"no-store")
HANDS_OUT_ID: Final[Header] = (b"cache-control", b"private, no-store")
_DIGITS_MAX: Final = 15


def no_headers(_: Scope, __: str) -> list[Header]:
    return []


class ApiOptions(Struct, frozen=True, kw_only=True):
    """What the API is told by whoever assembles it.

    Any of `admin_scopes` makes an administrator. Without `allowed_hosts` every Host will do. `id_headers` hand a new
    id out beside the body (X-Session-ID, Set-Cookie).
    """

    admin_scopes: frozenset[str] = frozenset({"sessionware:admin"})
    allowed_hosts: frozenset[str] = frozenset()
    ratelimit_headers: Style = "draft"
    body_max: int = BODY_MAX
    id_headers: Callable[[Scope, str], list[Header]] = no_headers


class Answer(Struct, frozen=True):
    """What an endpoint answers: JSON, or bytes as they are; `body` None is no body at all."""

    body: Mapping[str, Any] | bytes | None
    status: int = 200
    headers: tuple[Header, ...] = ()

    def response(self) -> Response:
        body = self.body
        content = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        response = Response(content, self.status, media_type="application/json" if isinstance(body, Mapping) else None)
        response.raw_headers.extend(self.headers)
        if not any(name == b"cache-control" for name, _ in self.headers):
            response.raw_headers.append(NO_STORE)
        return response


class Call:
    """One call: who asks, about which session, with what."""

    def __init__(self, request: Request, *, sessions: Sessions, caller_of: CallerOf, options: ApiOptions) -> None:
        self.request = request
        self.sessions = sessions
        self.options = options
        self.about: str | None = None  # the session id that an error may name: the caller has sent it
        self._caller_of = caller_of
        self._actor: Actor | None = None

    async def actor(self) -> Actor:
        """Who is calling. Raises the errors of bad credentials."""
        if self._actor is None:
            actor = await self._caller_of(self.request.scope)
            identity = actor.identity
            is_admin = identity is not None and not self.options.admin_scopes.isdisjoint(identity.scopes)
            self._actor = replace(actor, is_admin=is_admin)
        return self._actor

    async def session_id(self) -> str:
        """The id of the path; `current` is the session that the request presents."""
        text = str(self.request.path_params["id"])
        self.about = current_id(await self.actor()) if text == CURRENT else text
        return self.about

    def part(self, name: str) -> str:
        return str(self.request.path_params[name])

    def query(self, name: str) -> str | None:
        return self.request.query_params.get(name)

    def number(self, name: str) -> int | None:
        """A whole number of the query, None when it is not there. Raises InvalidValue for anything else."""
        text = self.query(name)
        if text is None:
            return None
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise InvalidValue(f"{name} must be a whole number")
        return int(text[: _DIGITS_MAX + 1])  # more digits change nothing: every number here is capped

    def flag(self, name: str) -> bool:
        return self.query(name) in {"", "1", "true", "yes"}

    async def body(self) -> dict[str, Any]:
        """The JSON object that was sent, whatever its content type; an empty body is an empty object.

        Raises PayloadTooLarge, InvalidValue.
        """
        raw = await self._raw_body()
        if not raw.strip():
            return {}
        try:
            found = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise InvalidValue(f"the body is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise InvalidValue("the body must be a JSON object")
        return found

    async def _raw_body(self) -> bytes:
        at_most = self.options.body_max
        raw = bytearray()
        try:
            async for chunk in self.request.stream():
                raw += chunk
                if len(raw) > at_most:
                    raise PayloadTooLarge(f"the body is over {at_most} bytes")
        except ClientDisconnect as error:
            raise InvalidValue("the body ended early") from error
        return bytes(raw)


Endpoint = Callable[[Call], Awaitable[Answer | Problem]]


def check_fields(body: Mapping[str, Any], *known: str) -> None:
    """Refuse a field that means nothing here: what was meant by it would be missed. Raises InvalidValue."""
    for name in body:
        if name not in known:
            near = nearest(name, known) or ":"
            raise InvalidValue(f"{quoted(name)} is no field here{near} known are {', '.join(known)}")


def text_field(body: Mapping[str, Any], name: str) -> str | None:
    """A text of the body; None when it is missing or null. Raises InvalidValue."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidValue(f"{name} must be text")
    return value


def object_field(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object of the body; empty when it is missing or null. Raises InvalidValue."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidValue(f"{name} must be a JSON object")
    return value


def seconds_field(body: Mapping[str, Any], name: str) -> float | None:
    """A number of seconds; None when it is missing or null. Raises InvalidValue."""
    value = body.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InvalidValue(f"{name} must be a number of seconds")
    return value
