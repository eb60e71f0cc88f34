"""The only place that says what is known of a request on its way through the proxy, and how it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sessionware.asgi.problems import Problem
from sessionware.proxy.headers import SESSION_ID
from sessionware.proxy.incoming import Incoming
from sessionware.proxy.mcp.answers import refusal, sole_request, unknown_session
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.mcp.messages import INITIALIZE, BadBody, Body, Hello, Kind, RequestId, read_body
from sessionware.proxy.paths import Route

SCOPE_KEY: Final = "sessionware.asked"
_UNKNOWN: Final = frozenset({"session_invalid", "session_not_found"})
_DENIED: Final = "permission_denied"


class Asked:
    """One request: where it leads, in which era it speaks, and what was read of it.

    `content` is the body if it was read whole, `body` what it says. Plain HTTP has no era.
    """

    __slots__ = (
        "body", "content", "era", "has_link", "incoming", "is_interrupted", "is_result", "route", "upstream",
    )  # fmt: skip

    def __init__(self, route: Route, incoming: Incoming, *, era: Era | None = None, has_link: bool = False) -> None:
        self.route = route
        self.incoming = incoming
        self.era = era
        self.has_link = has_link  # it names a legacy session
        self.content: bytes | None = None
        self.body: Body | None = None
        self.is_result = False  # MCP_LIMIT_ANSWER=tool_result
        self.is_interrupted = False  # somebody stopped what its session was doing
        self.upstream = ""  # the name of the one that answered

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

    def told(self, problem: Problem) -> Problem:
        """A refusal in the words that this client understands."""
        if self.era is None:
            return problem
        code = _code(problem)
        if code in _UNKNOWN or (code == _DENIED and self.has_link):
            return unknown_session(self.request_id)  # somebody else's is answered as one that never was
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


def names_link(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == SESSION_ID for name, _ in headers)


def _code(problem: Problem) -> str:
    try:
        return str(msgspec.json.decode(problem.body, type=dict[str, Any]).get("code", ""))
    except msgspec.DecodeError:
        return ""
