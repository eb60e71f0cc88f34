"""The only place that takes one request to an upstream and its answer back."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from sessionware.asgi.messages import Scope, Send
from sessionware.asgi.passage import Passage
from sessionware.asgi.refusing import respond
from sessionware.core.session import Link
from sessionware.core.store import LINKS_MAX
from sessionware.errors import SessionNotFound, StoreUnavailable
from sessionware.proxy import answer_headers
from sessionware.proxy.affinity import Begun, forget, forget_unused, in_order, link_of, remember
from sessionware.proxy.asked import Asked
from sessionware.proxy.closing import close_upstream
from sessionware.proxy.faults import unavailable, unusable
from sessionware.proxy.headers import Disclosure, Onward, Sender, to_upstream
from sessionware.proxy.health import Meanwhile, after_failing
from sessionware.proxy.mcp.answers import unknown_session
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.paths import Role, upstream_target
from sessionware.proxy.relaying import relay
from sessionware.proxy.standing import Upstream, Upstreams
from sessionware.proxy.wire import Deadlines, NotDelivered, Response, UpstreamRequest

NOT_FOUND: Final = 404
CHALLENGES: Final = frozenset({401, 403})  # they may say where to get another token
_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
log: Final = logging.getLogger("sessionware")


class PoolTerms(Struct, frozen=True, kw_only=True):
    """What the settings say of one pool."""

    disclosure: Disclosure = Disclosure()
    deadlines: Deadlines = Deadlines()
    max_links: int = LINKS_MAX


class Forwarding:
    """One request that was let in, to whichever upstream it belongs to."""

    def __init__(self, upstreams: Upstreams, terms: PoolTerms, scope: Scope, asked: Asked, passage: Passage) -> None:
        self._upstreams = upstreams
        self._terms = terms
        self._scope = scope
        self._asked = asked
        self._passage = passage
        self._link = link_of(passage)

    async def run(self, send: Send) -> None:
        """Forward and answer. Raises WireFault, UnwritableRequest, BodyTooLarge, ClientGone."""
        link = self._link
        if link is None:
            pool = self._asked.route.pool
            found = [self._upstreams.find(pool.name, each.name) for each in in_order(self._passage, pool)]
            upstream, response = await self._deliver([each for each in found if each is not None], None)
        else:
            bound = self._upstreams.find(link.pool, link.upstream) if link.pool == self._asked.route.pool.name else None
            if bound is None:
                await respond(send, unknown_session(self._asked.request_id))
                return
            try:
                upstream, response = await self._deliver([bound], link)
            except NotDelivered as fault:
                await self._miss(bound, link, fault, send)
                return
        try:
            await self._answer(upstream, response, send)
        finally:
            await response.aclose()

    async def _deliver(self, upstreams: Iterable[Upstream], link: Link | None) -> tuple[Upstream, Response]:
        """The first answer. Only when nothing can have been delivered the next one is asked."""
        missed: NotDelivered | None = None
        for upstream in upstreams:
            try:
                response = await upstream.wire.send(self._request(upstream, link), deadlines=self._terms.deadlines)
            except NotDelivered as fault:
                log.warning("%s", fault)
                upstream.missed(fault)
                missed = fault
            else:
                upstream.heard()
                return upstream, response
        assert missed is not None, "a pool has at least one upstream"  # noqa: S101  # UPSTREAMS is refused otherwise
        raise missed

    async def _miss(self, upstream: Upstream, link: Link, fault: NotDelivered, send: Send) -> None:
        """The one upstream that has this session takes no connection: it may be back in a moment, or it is dead."""
        if after_failing(upstream.health, Era.LEGACY) is Meanwhile.GONE:
            log.warning("upstream %s is dead, its session is forgotten: %s", upstream.name, fault)
            await forget(self._passage, link)
            await respond(send, unknown_session(self._asked.request_id))
        else:
            await respond(send, self._asked.told(unavailable()))

    def _request(self, upstream: Upstream, link: Link | None) -> UpstreamRequest:
        scope, asked, address = self._scope, self._asked, upstream.address
        onward = Onward(
            host=address.authority.encode(),
            disclosure=self._terms.disclosure,
            era=asked.era,
            session_id=None if link is None else link.upstream_id.encode(),
        )
        headers = to_upstream(scope["headers"], self._sender(), onward)
        target = upstream_target(asked.route, address, scope["query_string"])
        if asked.content is not None:
            return UpstreamRequest(scope["method"], target, headers, asked.content)
        framing = {name: value for name, value in scope["headers"] if name in {b"content-length", b"transfer-encoding"}}
        length = framing.get(b"content-length")
        if length == b"0" or (not framing and scope["method"] in _BODILESS):
            asked.incoming.skip()
            return UpstreamRequest(scope["method"], target, headers)
        size = int(length) if length is not None and length.isdigit() else None
        return UpstreamRequest(scope["method"], target, headers, asked.incoming.parts(), content_length=size)

    def _sender(self) -> Sender:
        scope, group = self._scope, self._passage.entered.visit.client
        peer = scope.get("client")
        # Of an IPv6 client limits know only the network; the peer is who it is when no trusted proxy stands between.
        address = peer[0] if peer and "/" in group else group
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        return Sender(
            address=address, scheme=scope.get("scheme", "http"), host=host,
            prefix=self._asked.route.prefix if self._asked.route.role is Role.HTTP else "",
            version=scope.get("http_version", "1.1"),
        )  # fmt: skip

    async def _answer(self, upstream: Upstream, response: Response, send: Send) -> None:
        asked, link = self._asked, self._link
        is_good = 200 <= response.status < 300  # noqa: PLR2004  # HTTP's own classes
        if link is not None and response.status == NOT_FOUND:
            await forget(self._passage, link)
            await respond(send, unknown_session(asked.request_id))
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
        passing = answer_headers.Passage(
            upstream=upstream.address, prefix=asked.route.prefix, session_id=ours,
            metadata_url=asked.metadata_url() if response.status in CHALLENGES else None,
        )  # fmt: skip
        headers = answer_headers.to_client(response.headers, passing)
        if isinstance(headers, answer_headers.BadAnswer):
            log.warning("upstream %s: %s", upstream.name, headers.reason)
            await respond(send, asked.told(unusable()))
            return
        await relay(response, headers, asked, send)

    async def _begin(self, upstream: Upstream, named: bytes) -> bytes:
        """Keep the session that the upstream has begun; if that fails, it ends there again."""
        hello = self._asked.hello
        assert hello is not None  # noqa: S101  # the caller has looked
        begun = Begun(self._asked.route.pool.name, upstream.name, named.decode("ascii"), hello)
        try:
            return await remember(self._passage, begun, at_most=self._terms.max_links)
        except (StoreUnavailable, SessionNotFound):
            await close_upstream(upstream, named)
            raise
