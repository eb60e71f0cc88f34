"""The only place that tells an upstream what is over: one of its legacy sessions, or a request in one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from sessionware.core.session import EndReason, Link, Session
from sessionware.proxy.fleet import Fleet
from sessionware.proxy.headers import SESSION_ID
from sessionware.proxy.hop_by_hop import Header
from sessionware.proxy.mcp.messages import RequestId
from sessionware.proxy.standing import Upstream
from sessionware.proxy.wire import Deadlines, UpstreamRequest, WireFault
from sessionware.telemetry import Observer

_SOON: Final = Deadlines(connect=1.0, head=2.0, idle=1.0)  # nobody waits for it, and the upstream forgets by itself
CANCELLED: Final = "notifications/cancelled"
TALKING: Final = ((b"content-type", b"application/json"), (b"accept", b"application/json, text/event-stream"))
log: Final = logging.getLogger("sessionware")


class UpstreamCloser(Observer):
    """Whatever ends a session of ours, what it had upstream ends with it."""

    def __init__(self, fleet: Fleet, authorizations: Mapping[str, bytes | None]) -> None:
        """`authorizations` by pool: what its upstreams are sent in place of a client's own."""
        self._fleet = fleet
        self._authorizations = authorizations

    async def on_end(self, session: Session, reason: EndReason) -> None:  # noqa: ARG002  # an observer's signature
        await self.on_unlinked(session.links)

    async def on_unlinked(self, links: Sequence[Link]) -> None:
        """All at once, but for streams of 2024-11-05: whoever holds one closes it, and its session is over upstream."""
        pools = self._fleet.pools
        await asyncio.gather(
            *[self._close(link) for link in links if link.pool in pools and pools[link.pool].pool.kind == "mcp"]
        )

    async def _close(self, link: Link) -> None:
        upstream = self._fleet.find(link.pool, link.upstream)
        if upstream is not None:
            authorization = self._authorizations[link.pool]
            await close_upstream(upstream, link.upstream_id.encode(), authorization=authorization)


async def close_upstream(upstream: Upstream, session_id: bytes, *, authorization: bytes | None) -> None:
    """End one session; an upstream that cannot be told will find out by itself."""
    headers = _named(session_id, authorization)
    await tell_upstream(upstream, UpstreamRequest("DELETE", upstream.address.path.encode(), headers))


async def cancel_upstream(
    upstream: Upstream, link: Link, request_id: RequestId, *, authorization: bytes | None
) -> None:
    """Stop one request of a legacy session: that nobody reads its answer any more does not tell it."""
    params = {"requestId": request_id, "reason": "interrupted"}
    body = msgspec.json.encode({"jsonrpc": "2.0", "method": CANCELLED, "params": params})
    headers = [*TALKING, *_named(link.upstream_id.encode(), authorization)]
    await tell_upstream(upstream, UpstreamRequest("POST", upstream.address.path.encode(), headers, body))


def _named(session_id: bytes, authorization: bytes | None) -> list[Header]:
    named = [(SESSION_ID, session_id)]
    return named if authorization is None else [*named, (b"authorization", authorization)]


async def tell_upstream(upstream: Upstream, request: UpstreamRequest) -> None:
    """Send what has no answer that matters; an upstream that cannot be reached misses it."""
    try:
        response = await upstream.wire.send(request, deadlines=_SOON)
    except WireFault as fault:
        log.info("an upstream was not told what is over: %s", fault)
    else:
        await response.aclose()
