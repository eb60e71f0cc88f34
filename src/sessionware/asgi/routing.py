"""The only place that says what the edge asks of a proxy behind it, before it asks who a request comes from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from msgspec import Struct

from sessionware.asgi.engine import Engine
from sessionware.asgi.messages import Receive, Scope
from sessionware.asgi.problems import Problem
from sessionware.core.admission import Binding
from sessionware.core.request import Facts

Makes = Literal["as_set", "always", "never"]


class Routed(Struct, frozen=True, kw_only=True):
    """What a proxy knows of one request. Its facts have no client yet.

    `makes`: whether a session is made for a request that means none: as ON_MISSING says, always, or never. `told`
    puts a refusal into the words of the request's protocol. Only members of `groups` may come, if there are any.
    `candidate` proposes an upstream for a session, by the hash of its key; None: this request binds none.
    `bound` is told of a proposal that was taken, and sometimes of one that had been taken before.
    """

    facts: Facts
    told: Callable[[Problem], Awaitable[Problem]]
    makes: Makes = "as_set"
    groups: frozenset[str] = frozenset()
    candidate: Callable[[bytes], Binding | None] | None = None
    bound: Callable[[Binding], None] | None = None


class Route(Protocol):
    """A proxy, as far as the edge knows it."""

    def told(self, scope: Scope, answer: Problem) -> Problem:
        """A refusal from before anybody has looked, in the words that the path speaks."""
        ...

    async def look_at(self, engine: Engine, scope: Scope, receive: Receive) -> Routed | Problem:
        """Find out what a request is about, or why it goes nowhere. May read its body and add to its scope."""
        ...


def told_at(route: Route | None, scope: Scope, answer: Problem) -> Problem:
    """A refusal from before anybody has looked; without a proxy behind us, and for a handshake, as it is."""
    return answer if route is None or scope["type"] != "http" else route.told(scope, answer)
