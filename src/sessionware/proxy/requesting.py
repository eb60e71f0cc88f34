"""The only place that makes the request that goes on to an upstream, out of the one that came in."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from sessionware.asgi.messages import Scope
from sessionware.asgi.passage import Passage
from sessionware.config.proxy_settings import Selection
from sessionware.core.session import Link
from sessionware.core.store import LINKS_MAX
from sessionware.proxy.asked import Asked
from sessionware.proxy.headers import Disclosure, Onward, Sender, passed_on, to_upstream
from sessionware.proxy.heads import VARYING, Key
from sessionware.proxy.hop_by_hop import Header
from sessionware.proxy.incoming import KEPT_MAX
from sessionware.proxy.paths import Role, upstream_target
from sessionware.proxy.standing import Upstream
from sessionware.proxy.wire import Deadlines, HeaderBlock, UpstreamRequest, block_of

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_LENGTH: Final = b"content-length"


class PoolTerms(Struct, frozen=True, kw_only=True):
    """What the settings say of one pool."""

    disclosure: Disclosure = Disclosure()
    deadlines: Deadlines = Deadlines()
    max_links: int = LINKS_MAX
    revives: bool = False  # ON_UPSTREAM_LOST=reinitialize
    selection: Selection = "least_sessions"


class Requesting:
    """One request on its way."""

    __slots__ = ("_asked", "_passage", "_scope", "_terms")

    def __init__(self, terms: PoolTerms, scope: Scope, asked: Asked, passage: Passage) -> None:
        self._terms = terms
        self._scope = scope
        self._asked = asked
        self._passage = passage

    async def read_what_is_short(self) -> None:
        """A short body is sent with its head, in one piece; only a long one passes part by part.

        Raises ClientGone.
        """
        if self._asked.content is None:
            for name, value in self._scope["headers"]:
                if name == _LENGTH:
                    length = value.strip()
                    if length.isdigit() and 0 < int(length) <= KEPT_MAX:
                        self._asked.content = await self._asked.incoming.whole()
                    return

    def request(self, upstream: Upstream, link: Link | None = None) -> UpstreamRequest:
        """The request for one upstream; `link` is the legacy session there that it belongs to."""
        scope, asked = self._scope, self._asked
        method = scope["method"]
        target = upstream_target(asked.route, upstream.address, scope["query_string"])
        session_id: str | None = None
        if link is not None and asked.route.role is Role.MESSAGES:
            target = link.upstream_id.encode()  # of 2024-11-05: the upstream's id is a URL
        elif link is not None:
            session_id = link.upstream_id
        block = self._block(upstream, session_id)
        if asked.content is not None:
            return UpstreamRequest(method, target, block, asked.content)
        framing = {name: value.strip() for name, value in scope["headers"] if name in _FRAMING}
        length = framing.get(_LENGTH)
        if length == b"0" or (not framing and method in _BODILESS):
            asked.incoming.skip()
            return UpstreamRequest(method, target, block)
        size = int(length) if length is not None and length.isdigit() else None
        return UpstreamRequest(method, target, block, asked.incoming.parts(), content_length=size)

    def headers(self, upstream: Upstream, session_id: str | None) -> list[Header]:
        """What goes on to this upstream, whose own name for the legacy session is given."""
        return to_upstream(self._scope["headers"], self._sender(), self._onward(upstream, session_id))

    def _onward(self, upstream: Upstream, session_id: str | None) -> Onward:
        return Onward(
            host=upstream.address.authority.encode(),
            disclosure=self._terms.disclosure,
            era=self._asked.era,
            session_id=None if session_id is None else session_id.encode(),
        )

    def _block(self, upstream: Upstream, session_id: str | None) -> HeaderBlock:
        """The same as it is written: remembered where this client has sent the same before."""
        head, headers = self._asked.head, self._scope["headers"]
        if not head.is_plain:
            return block_of(self.headers(upstream, session_id))
        key: Key = (self._asked.route.pool.name, upstream.name, session_id, *self._who())
        block = head.blocks.get(key)
        if block is None:
            written = self.headers(upstream, session_id)
            block = block_of([pair for pair in written if pair[0] not in VARYING])
            head.remember(key, block)
        varying = [pair for pair in headers if pair[0] in VARYING and pair[0] != _LENGTH]
        if not varying:
            return block
        return HeaderBlock(block.lines + block_of(passed_on(varying, self._onward(upstream, session_id))).lines)

    def _who(self) -> tuple[object, ...]:
        """All that the introduction hangs on, beside the headers."""
        scope = self._scope
        peer = scope.get("client")
        client = self._passage.entered.visit.client
        return client, peer[0] if peer else None, scope.get("scheme"), scope.get("http_version")

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
