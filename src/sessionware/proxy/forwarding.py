"""The only place that takes one request to an upstream and its answer back."""

from __future__ import annotations

import logging
from typing import Final

from sessionware.asgi.messages import Scope, Send
from sessionware.asgi.passage import Passage
from sessionware.asgi.refusing import respond
from sessionware.core.session import Link
from sessionware.errors import SessionNotFound, StoreUnavailable
from sessionware.proxy import answer_headers
from sessionware.proxy.affinity import Begun, forget, forget_unused, link_of, lose, remember
from sessionware.proxy.asked import Asked
from sessionware.proxy.closing import close_upstream
from sessionware.proxy.delivering import Delivery
from sessionware.proxy.faults import unavailable, unusable
from sessionware.proxy.health import Meanwhile, after_failing, before_connecting
from sessionware.proxy.mcp.answers import unknown_session
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.old_stream import OldStream
from sessionware.proxy.paths import Role
from sessionware.proxy.placing import Placing
from sessionware.proxy.relaying import relay
from sessionware.proxy.requesting import PoolTerms, Requesting
from sessionware.proxy.reviving import HANDSHAKE_MAX, REVIVED, Reviving
from sessionware.proxy.standing import Upstream
from sessionware.proxy.wire import NotDelivered, Response, WireFault

NOT_FOUND: Final = 404
CHALLENGES: Final = frozenset({401, 403})  # they may say where to get another token
log: Final = logging.getLogger("sessionware")


class Forwarding:
    """One request that was let in, to whichever upstream it belongs to."""

    __slots__ = ("_asked", "_is_revived", "_link", "_passage", "_placing", "_requesting", "_scope", "_terms")

    def __init__(self, placing: Placing, terms: PoolTerms, scope: Scope, asked: Asked, passage: Passage) -> None:
        self._placing = placing
        self._terms = terms
        self._scope = scope
        self._asked = asked
        self._passage = passage
        self._link = link_of(passage)
        self._is_revived = False
        self._requesting = Requesting(terms, scope, asked, passage)

    async def run(self, send: Send) -> None:
        """Forward and answer. Raises WireFault, UnwritableRequest, BodyTooLarge, ClientGone."""
        await self._requesting.read_what_is_short()
        link = self._link
        if link is not None:
            await self._run_linked(link, send)
            return
        delivery = Delivery(
            self._placing, self._passage, pool=self._asked.route.pool.name,
            request=self._requesting.request, deadlines=self._terms.deadlines,
        )  # fmt: skip
        try:
            upstream, response = await delivery.run(made_at=self._maker())
        except WireFault:
            if self._asked.era is Era.LEGACY:
                await forget_unused(self._passage)
            raise
        await self._pass_back(upstream, response, send)

    def _maker(self) -> str | None:
        """Who has made the task that a modern request asks for."""
        if self._asked.era is not Era.MODERN:
            return None
        return self._placing.tasks.maker(self._passage, self._scope["headers"])

    async def _run_linked(self, link: Link, send: Send) -> None:
        """The one upstream that has this session answers, or says that it is no more."""
        members = self._placing.fleet.pools[self._asked.route.pool.name]
        bound = members.find(link.upstream) if link.pool == members.pool.name else None
        if bound is None and link.pool == members.pool.name and not members.is_known:
            await respond(send, self._asked.told(unavailable()))  # DNS was not asked yet: it may stand there
            return
        if bound is None or before_connecting(bound.health, Era.LEGACY) is Meanwhile.GONE:
            await self._lose(link, send)
            return
        try:
            response = await bound.exchange(self._requesting.request(bound, link), self._terms.deadlines)
        except NotDelivered as fault:
            if after_failing(bound.health, Era.LEGACY) is Meanwhile.GONE:
                await self._lose(link, send)
                return
            log.warning("%s", fault)
            await respond(send, self._asked.told(unavailable()))
            return
        await self._pass_back(bound, response, send)

    async def _lose(self, link: Link, send: Send) -> None:
        """Nobody has this session any more: its upstream is dead, not configured, or knows nothing of it."""
        revived = await self._revived(link)
        if revived is not None:
            self._link, self._is_revived = revived, True
            await self._run_linked(revived, send)
            return
        log.warning("a session is lost with upstream %s", link.upstream)
        await lose(self._passage, link)
        await respond(send, unknown_session(self._asked.request_id))

    async def _revived(self, link: Link) -> Link | None:
        """The session begun anew, once for each request; only what was never done can be asked again."""
        asked = self._asked
        may_repeat = asked.content is not None or self._scope["method"] == "GET"
        if not self._terms.revives or self._is_revived or not may_repeat or asked.route.role is not Role.MCP:
            return None
        reviving = Reviving(
            self._placing,
            self._passage,
            self._requesting.headers,
            deadlines=self._terms.deadlines,
            max_links=self._terms.max_links,
        )
        return await reviving.run(link)

    async def _pass_back(self, upstream: Upstream, response: Response, send: Send) -> None:
        self._asked.upstream = upstream.name
        try:
            await self._answer(upstream, response, send)
        finally:
            await upstream.finish(response)

    async def _answer(self, upstream: Upstream, response: Response, send: Send) -> None:
        asked, link = self._asked, self._link
        is_good = 200 <= response.status < 300  # noqa: PLR2004  # HTTP's own classes
        if link is not None and response.status == NOT_FOUND:
            await response.aclose()
            await self._lose(link, send)
            return
        ours: bytes | None = None
        if link is not None and is_good and self._scope["method"] == "DELETE":
            await forget(self._passage, link)
        elif asked.hello is not None:
            named = answer_headers.upstream_session_id(response.headers) if is_good else None
            if named is None:
                await forget_unused(self._passage)
            else:
                ours = await self._begin(upstream, named)
        guise = answer_headers.Guise(
            upstream=upstream.address, prefix=asked.route.prefix, session_id=ours,
            metadata_url=asked.metadata_url() if response.status in CHALLENGES else None,
        )  # fmt: skip
        headers = answer_headers.to_client(response.headers, guise)
        opens_stream = asked.route.role is Role.EVENTS and is_good and answer_headers.is_event_stream(response.headers)
        if asked.route.role is Role.EVENTS and (isinstance(headers, answer_headers.BadAnswer) or not opens_stream):
            await forget_unused(self._passage)
        if isinstance(headers, answer_headers.BadAnswer):
            log.warning("upstream %s: %s", upstream.name, headers.reason)
            await respond(send, asked.told(unusable()))
            return
        if self._is_revived:
            headers.append(REVIVED)
        if opens_stream:
            stream = OldStream(upstream, response, asked, self._passage)
            await stream.run(headers, send, within=self._terms.deadlines.head, at_most=self._terms.max_links)
            return
        if asked.era is Era.MODERN and is_good and not asked.route.pool.is_single:
            asked.tasks = self._placing.tasks.finder(self._passage, upstream.name)
        await relay(response, headers, asked, send)

    async def _begin(self, upstream: Upstream, named: bytes) -> bytes:
        """Keep the session that the upstream has begun; if that fails, it ends there again."""
        hello = self._asked.hello
        assert hello is not None  # noqa: S101  # the caller has looked
        begun = Begun(self._asked.route.pool.name, upstream.name, named.decode("ascii"), hello, self._handshake())
        try:
            return await remember(self._passage, begun, at_most=self._terms.max_links)
        except (StoreUnavailable, SessionNotFound):
            await close_upstream(upstream, named, authorization=self._terms.disclosure.authorization)
            raise

    def _handshake(self) -> bytes:
        """The `initialize`, where it may have to be said again."""
        content = self._asked.content or b""
        return content if self._terms.revives and len(content) <= HANDSHAKE_MAX else b""
