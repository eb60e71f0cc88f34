"""The only place that tells an upstream that one of its legacy sessions is over."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from sessionware.core.session import EndReason, Session
from sessionware.proxy.headers import SESSION_ID
from sessionware.proxy.standing import Upstream, Upstreams
from sessionware.proxy.upstreams import Pool
from sessionware.proxy.wire import Deadlines, UpstreamRequest, WireFault
from sessionware.telemetry import Observer

_SOON: Final = Deadlines(connect=1.0, head=2.0, idle=1.0)  # nobody waits for it, and the upstream forgets by itself
log: Final = logging.getLogger("sessionware")


class UpstreamCloser(Observer):
    """Whatever ends a session of ours, what it had upstream ends with it."""

    def __init__(self, upstreams: Upstreams, pools: Iterable[Pool]) -> None:
        self._upstreams = upstreams
        # A stream of 2024-11-05 is closed by whoever holds it, and its session is over upstream.
        self._closable = frozenset(pool.name for pool in pools if pool.kind == "mcp")

    async def on_end(self, session: Session, reason: EndReason) -> None:  # noqa: ARG002  # an observer's signature
        for link in session.links:
            upstream = self._upstreams.find(link.pool, link.upstream)
            if upstream is not None and link.pool in self._closable:
                await close_upstream(upstream, link.upstream_id.encode())


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
