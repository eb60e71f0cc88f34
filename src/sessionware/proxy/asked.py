"""The only place that says what is known of a request on its way through the proxy, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from sessionware.asgi.problems import NOT_A_MEMBER, Problem
from sessionware.proxy.heads import Head
from sessionware.proxy.incoming import Incoming
from sessionware.proxy.mcp.answers import refusal, sole_request, unknown_session
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.mcp.messages import INITIALIZE, BadBody, Body, Hello, Kind, RequestId, read_body
from sessionware.proxy.metadata import challenge
from sessionware.proxy.paths import Route
from sessionware.proxy.pool_rules import NO_RULES
from sessionware.proxy.tasks import TaskFinder

SCOPE_KEY: Final = "sessionware.asked"
UNAUTHORIZED: Final = 401
_UNKNOWN: Final = frozenset({"session_invalid", "session_not_found"})
_DENIED: Final = "permission_denied"
_INSUFFICIENT: Final = "insufficient_scope"
_WWW_AUTHENTICATE: Final = b"www-authenticate"


def nowhere() -> bytes | None:
    """No document says where tokens are issued."""
    return None


class Asked:
    """One request: where it leads, in which era it speaks, and what was read of it.

    `content` is the body if it was read whole, `body` what it says. Plain HTTP has no era. `metadata_url` says where
    a client learns how to get a token.
    """

    __slots__ = (
        "body", "content", "era", "has_link", "head", "incoming", "is_interrupted", "is_result", "metadata_url",
        "route", "rules", "tasks", "upstream",
    )  # fmt: skip

    def __init__(self, route: Route, incoming: Incoming, head: Head, *, era: Era | None = None) -> None:
        self.route = route
        self.incoming = incoming
        self.head = head
        self.era = era
        self.has_link = False  # it names a legacy session
        self.rules = NO_RULES
        self.metadata_url: Callable[[], bytes | None] = nowhere
        self.content: bytes | None = None
        self.body: Body | None = None
        self.tasks: TaskFinder | None = None  # who looks at the answer for tasks that it tells of
        self.is_result = False  # MCP_LIMIT_ANSWER=tool_result
        self.upstream = ""  # the name of the one that answered
        self.is_interrupted = False  # somebody stopped what its session was doing

    @property
    def hello(self) -> Hello | None:
        """What an `initialize` of the legacy era says of its client; None: it is another request."""
        if self.era is not Era.LEGACY or self.body is None or self.has_link:
            return None
        message = self.body.messages[0]
        return (message.hello or Hello()) if message.method == INITIALIZE else None

    @property
    def request_id(self) -> RequestId:
        """The id that an answer belongs to; None where it belongs to none, or it is not known."""
        message = sole_request(self._said())
        return None if message is None else message.id

    @property
    def request_ids(self) -> list[RequestId]:
        """Everything in it that waits for an answer."""
        body = self._said()
        return [] if body is None else [each.id for each in body.messages if each.kind is Kind.REQUEST]

    def refusal(self) -> Problem | None:
        """Why the pool's rules keep a request from its upstreams although its sender was let in; None: they do not."""
        found = self.rules.refusal(self.body, names_session=self.has_link)
        return None if found is None else self.told(found)

    async def turned_away(self, problem: Problem) -> Problem:
        """The same before anything was passed on: what the request is called stands in a body that nobody has read."""
        if self.era is not None and self.content is None:
            await self.incoming.keep()
        return self.told(problem)

    def told(self, problem: Problem) -> Problem:
        """A refusal in the words that this client understands."""
        if self.era is None:
            return problem
        members = _members(problem)
        code = members.get("code")
        if members.get("reason") == NOT_A_MEMBER:
            problem = _not_enough(problem, members, self.metadata_url())
        elif code in _UNKNOWN or (code == _DENIED and self.has_link):
            return unknown_session(self.request_id)  # somebody else's is answered as one that never was
        elif problem.status == UNAUTHORIZED:
            problem = _unproved(problem, self.metadata_url())
        return refusal(problem, self._said(), era=self.era, as_result=self.is_result)

    def _said(self) -> Body | None:
        """What the body says; a body that was passed on unread is read now, if it was kept."""
        if self.body is None and self.incoming.kept:
            found = read_body(self.incoming.kept, version=None)
            self.body = None if isinstance(found, BadBody) else found
        return self.body


def asked_of(scope: Mapping[str, Any]) -> Asked | None:
    """What is known of this request; None where nobody has looked at it."""
    found = scope.get(SCOPE_KEY)
    return found if isinstance(found, Asked) else None


def _unproved(problem: Problem, metadata_url: bytes | None) -> Problem:
    """A 401 says where to get a token; `invalid_token` only where one was there and has a fault."""
    if metadata_url is None:
        return problem
    error = next((value for name, value in problem.headers if name == _WWW_AUTHENTICATE and b"error=" in value), b"")
    said = challenge(metadata_url, error="invalid_token" if error else "")
    return replace(problem, headers=[*_without_challenge(problem), said])


def _not_enough(problem: Problem, members: Mapping[str, Any], metadata_url: bytes | None) -> Problem:
    """RFC 6750 3.1: the token is good, and is not for this."""
    said = challenge(metadata_url, error=_INSUFFICIENT)
    body = msgspec.json.encode({**members, "code": _INSUFFICIENT})
    return replace(problem, headers=[*_without_challenge(problem), said], body=body)


def _without_challenge(problem: Problem) -> list[tuple[bytes, bytes]]:
    return [header for header in problem.headers if header[0] != _WWW_AUTHENTICATE]


def _members(problem: Problem) -> dict[str, Any]:
    try:
        return msgspec.json.decode(problem.body, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
