"""The only place that takes one request to an upstream and its answer back."""

from __future__ import annotations

import logging
from typing import Final

from msgspec import Struct, field

from sessionware.asgi.messages import Scope, Send
from sessionware.asgi.passage import Passage
from sessionware.asgi.refusing import respond
from sessionware.config.proxy_settings import Selection
from sessionware.core.session import Link
from sessionware.core.store import LINKS_MAX
from sessionware.errors import SessionNotFound, StoreUnavailable
from sessionware.proxy import answer_headers
from sessionware.proxy.affinity import Begun, forget, forget_unused, link_of, lose, remember
from sessionware.proxy.asked import Asked
from sessionware.proxy.blocks import Blocks
from sessionware.proxy.closing import close_upstream
from sessionware.proxy.delivering import Delivery
from sessionware.proxy.faults import unavailable, unusable
from sessionware.proxy.headers import Disclosure, Onward, Sender, to_upstream
from sessionware.proxy.health import Meanwhile, after_failing, before_connecting
from sessionware.proxy.incoming import KEPT_MAX
from sessionware.proxy.mcp.answers import unknown_session
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.mcp.messages import TOOLS_CALL
from sessionware.proxy.mcp.mirrors import header_text
from sessionware.proxy.paths import Role, upstream_target
from sessionware.proxy.placing import Placing
from sessionware.proxy.relaying import relay
from sessionware.proxy.standing import Upstream
from sessionware.proxy.tasks import TASKS_METHOD, TaskFinder
from sessionware.proxy.wire import Deadlines, HeaderBlock, NotDelivered, Response, UpstreamRequest, block_of

NOT_FOUND: Final = 404
CHALLENGES: Final = frozenset({401, 403})  # they may say where to get another token
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
log: Final = logging.getLogger("sessionware")


class PoolTerms(Struct, frozen=True, kw_only=True):
    """What the settings say of one pool."""

    disclosure: Disclosure = Disclosure()
    deadlines: Deadlines = Deadlines()
    max_links: int = LINKS_MAX
    selection: Selection = "least_sessions"
    blocks: Blocks = field(default_factory=Blocks)


class Forwarding:
    """One request that was let in, to whichever upstream it belongs to."""

    def __init__(self, placing: Placing, terms: PoolTerms, scope: Scope, asked: Asked, passage: Passage) -> None:
        self._placing = placing
        self._terms = terms
        self._scope = scope
        self._asked = asked
        self._passage = passage
        self._link = link_of(passage)

    async def run(self, send: Send) -> None:
        """Forward and answer. Raises WireFault, UnwritableRequest, BodyTooLarge, ClientGone."""
        await self._read_what_is_short()
        link = self._link
        if link is not None:
            await self._run_linked(link, send)
            return
        delivery = Delivery(
            self._placing, self._passage, pool=self._asked.route.pool.name,
            request=self._request, deadlines=self._terms.deadlines,
        )  # fmt: skip
        upstream, response = await delivery.run(made_at=self._maker())
        await self._pass_back(upstream, response, send)

    def _maker(self) -> str | None:
        """Who has made the task that a modern request asks for."""
        facts, asked = self._passage.entered.facts, self._asked
        if asked.era is not Era.MODERN or not facts.mcp_method.startswith(TASKS_METHOD):
            return None
        named = next((value for name, value in self._scope["headers"] if name == b"mcp-name"), b"")
        task = header_text(named.strip(b" \t").decode("latin-1"))
        return None if not task else self._placing.tasks.place(asked.route.pool.name, self._owner(), task)

    def _owner(self) -> bytes:
        visit = self._passage.entered.visit
        return visit.client.encode() if visit.identity is None else visit.identity.owner

    async def _read_what_is_short(self) -> None:
        """A short body is sent with its head, in one piece; only a long one passes part by part."""
        if self._asked.content is None:
            length = next((value.strip() for name, value in self._scope["headers"] if name == b"content-length"), b"")
            if length.isdigit() and 0 < int(length) <= KEPT_MAX:
                self._asked.content = await self._asked.incoming.whole()

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
            response = await bound.exchange(self._request(bound), self._terms.deadlines)
        except NotDelivered as fault:
            if after_failing(bound.health, Era.LEGACY) is Meanwhile.GONE:
                await self._lose(link, send)
                return
            log.warning("%s", fault)
            await respond(send, self._asked.told(unavailable()))
            return
        await self._pass_back(bound, response, send)

    async def _lose(self, link: Link, send: Send) -> None:
        """The upstream is dead, or is not configured any more: nobody else has this session."""
        log.warning("upstream %s is gone, and with it a session", link.upstream)
        await lose(self._passage, link)
        await respond(send, unknown_session(self._asked.request_id))

    async def _pass_back(self, upstream: Upstream, response: Response, send: Send) -> None:
        self._asked.upstream = upstream.name
        try:
            await self._answer(upstream, response, send)
        finally:
            await upstream.finish(response)

    def _request(self, upstream: Upstream) -> UpstreamRequest:
        scope, asked = self._scope, self._asked
        method = scope["method"]
        headers = self._headers(upstream)
        target = upstream_target(asked.route, upstream.address, scope["query_string"])
        if asked.content is not None:
            return UpstreamRequest(method, target, headers, asked.content)
        framing = {name: value.strip() for name, value in scope["headers"] if name in _FRAMING}
        length = framing.get(b"content-length")
        if length == b"0" or (not framing and method in _BODILESS):
            asked.incoming.skip()
            return UpstreamRequest(method, target, headers)
        size = int(length) if length is not None and length.isdigit() else None
        return UpstreamRequest(method, target, headers, asked.incoming.parts(), content_length=size)

    def _headers(self, upstream: Upstream) -> HeaderBlock:
        """What goes on to this upstream, written before where this client has sent the same before."""
        scope, link, group = self._scope, self._link, self._passage.entered.visit.client
        peer = scope.get("client")
        session_id = None if link is None else link.upstream_id
        given = [pair for pair in scope["headers"] if pair[0] != b"content-length"]
        key = (
            upstream.name, session_id, group, peer[0] if peer else None, scope.get("scheme"),
            scope.get("http_version"), *given,
        )  # fmt: skip
        block = self._terms.blocks.get(key)
        if block is None:
            onward = Onward(
                host=upstream.address.authority.encode(),
                disclosure=self._terms.disclosure,
                era=self._asked.era,
                session_id=None if session_id is None else session_id.encode(),
            )
            block = block_of(to_upstream(given, self._sender(), onward))
            self._terms.blocks.put(key, given, block)
        return block

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
            await lose(self._passage, link)
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
        is_call = asked.era is Era.MODERN and self._passage.entered.facts.mcp_method == TOOLS_CALL
        if is_call and is_good:
            asked.tasks = TaskFinder(
                self._placing.tasks, asked.route.pool.name, self._owner(), upstream=upstream.name
            )  # fmt: skip
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
