"""The only place that tells an upstream that one of its legacy sessions is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from sessionware.core.session import EndReason, Link, Session
from sessionware.proxy.fleet import Fleet
from sessionware.proxy.headers import SESSION_ID
from sessionware.proxy.standing import Upstream
from sessionware.proxy.wire import Deadlines, UpstreamRequest, WireFault
from sessionware.telemetry import Observer

_SOON: Final = Deadlines(connect=1.0, head=2.0, idle=1.0)  # nobody waits for it, and the upstream forgets by itself
log: Final = logging.getLogger("sessionware")


class UpstreamCloser(Observer):
    """Whatever ends a session of ours, what it had upstream ends with it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def on_end(self, session: Session, reason: EndReason) -> None:  # noqa: ARG002  # an observer's signature
        await self.on_unlinked(session.links)

    async def on_unlinked(self, links: Sequence[Link]) -> None:
        found = [(self._fleet.find(link.pool, link.upstream), link.upstream_id.encode()) for link in links]
        await asyncio.gather(*[close_upstream(upstream, name) for upstream, name in found if upstream is not None])


async def close_upstream(upstream: Upstream, session_id: bytes) -> None:
    """End one session; an upstream that cannot be told will find out by itself."""
    target = upstream.address.path.encode()
    request = UpstreamRequest("DELETE", target, [(SESSION_ID, session_id)])
    try:
        response = await upstream.wire.send(request, deadlines=_SOON)
    except WireFault as fault:
        log.info("a session was left behind: %s", fault)
    else:
        await response.aclose()
