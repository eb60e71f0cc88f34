"""The only place that knows how HTTP+SSE (2024-11-05) names a session: by the stream's first event, and in a URL.

What the upstream says in that event is replaced by a path and an id of ours, kept as a link for as long as the stream
is open. What comes after it passes untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import parse_qsl

from msgspec import Struct

from sessionware.asgi.messages import Scope, Send
from sessionware.asgi.passage import Passage
from sessionware.asgi.problems import Problem
from sessionware.asgi.refusing import respond
from sessionware.core.ids import SessionKey
from sessionware.errors import StoreUnavailable
from sessionware.proxy.affinity import Begun, forget_unused, remember
from sessionware.proxy.answer_headers import is_encoded
from sessionware.proxy.asked import Asked
from sessionware.proxy.faults import unusable
from sessionware.proxy.headers import SESSION_ID
from sessionware.proxy.hop_by_hop import Header
from sessionware.proxy.mcp.answers import error_answer
from sessionware.proxy.mcp.messages import Hello
from sessionware.proxy.paths import Role, Route, messages_path
from sessionware.proxy.sifting import Sifting
from sessionware.proxy.sse import EndpointFinder, endpoint_event, endpoint_target
from sessionware.proxy.standing import Upstream
from sessionware.proxy.wire import BadAnswer, Response

FIELD: Final = "session_id"  # of the URL that messages are sent to
FIELDS_MAX: Final = 100
_HELLO: Final = Hello(version="2024-11-05")  # the stream comes before `initialize`, and only that version has it
log: Final = logging.getLogger("sessionware")


def take_id(scope: Scope, route: Route) -> Problem | None:
    """Put the id of a message's stream where later versions have theirs, out of the URL, which servers log.

    No other id of a legacy session means anything here. Answers what is wrong with the URL.
    """
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] != SESSION_ID]
    if route.role is not Role.MESSAGES:
        return None
    query, scope["query_string"] = scope["query_string"], b""
    try:
        fields = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        fields = []
    named = [value for name, value in fields if name == FIELD]
    if len(named) != 1:
        return error_answer(400, f"Invalid request: the URL must hold one {FIELD}, as the endpoint event has given it")
    scope["headers"].append((SESSION_ID, named[0].encode("latin-1", "replace")))
    return None


class Opening(Struct, frozen=True):
    """How a stream begins: what passes before and after the endpoint event, and where that leads upstream."""

    before: bytes
    target: bytes
    after: bytes


async def _after(begun: bytes, response: Response) -> AsyncIterator[bytes]:
    """The parts of a stream of which these bytes were read already."""
    if begun:
        yield begun
    async for part in response:
        yield part


class OldStream:
    """One stream that an upstream has opened."""

    def __init__(self, upstream: Upstream, response: Response, asked: Asked, passage: Passage) -> None:
        self._upstream = upstream
        self._response = response
        self._asked = asked
        self._passage = passage

    async def run(self, headers: list[Header], send: Send, *, within: float, at_most: int) -> None:
        """Pass it on until either side ends it; its link ends then, and the session that was made for it.

        `within` so many seconds the endpoint must be told, `at_most` so many links a session has. Raises
        StoreUnavailable, SessionNotFound before anything was sent.
        """
        is_hidden = self._asked.rules.tools is not None and is_encoded(headers)  # nobody here looks into that
        opening = None if is_hidden else await self._opened(within)
        if opening is None:
            await forget_unused(self._passage)
            await respond(send, self._asked.told(unusable()))
            return
        pool = self._asked.route.pool
        begun = Begun(pool.name, self._upstream.name, opening.target.decode("ascii"), _HELLO)
        ours = (await remember(self._passage, begun, at_most=at_most)).decode("ascii")
        key = self._passage.engine.runtime.addresses.link_key(self._bucket(), ours)
        first = opening.before + endpoint_event(f"{messages_path(pool)}?{FIELD}={ours}")
        try:
            await send({"type": "http.response.start", "status": self._response.status, "headers": headers})
            await send({"type": "http.response.body", "body": first, "more_body": True})
            await self._pass_on(opening.after, send)
        finally:
            # A client that goes, or a server that stops, must not leave the link behind.
            await asyncio.shield(asyncio.get_running_loop().create_task(self._end(key)))

    async def _opened(self, within: float) -> Opening | None:
        """Read up to the endpoint event; None where there is none, or where it leads to another place."""
        finder, before = EndpointFinder(), b""
        with contextlib.suppress(TimeoutError, BadAnswer):
            async with asyncio.timeout(within):
                async for part in self._response:
                    before += finder.feed(part)
                    if finder.endpoint is not None or finder.is_overlong:
                        break
        target = None if finder.endpoint is None else endpoint_target(finder.endpoint, self._upstream.address)
        if target is None:
            log.warning("upstream %s: the stream begins with no endpoint of its own", self._upstream.name)
            return None
        return Opening(before, target, finder.rest)

    def _bucket(self) -> int:
        session = self._passage.session
        assert session is not None, "a link was remembered"  # noqa: S101  # `remember` refuses otherwise
        return session.record.birth.key.bucket

    async def _pass_on(self, begun: bytes, send: Send) -> None:
        """All other events, first what came with the endpoint; without the tools that are hidden."""
        sifting = Sifting(self._asked.rules)
        try:
            async for part in _after(begun, self._response):
                passed = sifting.feed(part)
                if passed:
                    await send({"type": "http.response.body", "body": passed, "more_body": True})
                if sifting.is_over:
                    log.warning("an event of pool %s is too long: the stream ends", self._asked.route.pool.name)
                    break
        except BadAnswer as fault:
            log.warning("%s", fault)  # clients take the end of the stream for what it is
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _end(self, key: SessionKey) -> None:
        runtime = self._passage.engine.runtime
        self._passage.session = None  # what this request still says is no part of a session that ends
        with contextlib.suppress(StoreUnavailable):  # its upstream answers 404, and it is forgotten then
            unlinked = await runtime.store.unlink(key, now=runtime.now())
            if unlinked is not None and unlinked.ended is not None:
                await runtime.tell_ended([unlinked.ended])
