"""The only place that decides whether a request may be sent a second time."""

from __future__ import annotations

import ssl
from typing import Final

from sessionware.proxy.wire.addresses import Address
from sessionware.proxy.wire.faults import MayBeDelivered, Reason
from sessionware.proxy.wire.pool import Pool
from sessionware.proxy.wire.requests import UpstreamRequest, head_of
from sessionware.proxy.wire.response import Response
from sessionware.proxy.wire.terms import Deadlines, WireLimits

_DEADLINES: Final = Deadlines()
_LIMITS: Final = WireLimits()


class Wire:
    """Requests to one address over kept connections: no proxies, no redirects, no decompression, nothing copied.

    `tls` replaces the context that verifies against the system's authorities. Bound to the loop of its first `send`.
    """

    def __init__(self, address: Address, limits: WireLimits = _LIMITS, *, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self._authority = address.authority.encode("ascii")
        self._pool = Pool(address, limits, (tls or address.tls_context()) if address.tls else None)

    async def send(self, request: UpstreamRequest, *, deadlines: Deadlines = _DEADLINES) -> Response:
        """Send a request and return with the head of its answer; redirects and errors are answers like others.

        Raises UnwritableRequest before anything else, NotDelivered, MayBeDelivered, BadAnswer, or what the body raises.
        """
        head = head_of(request, self._authority)
        connection = self._pool.take_idle() or await self._pool.take(deadlines.connect)
        is_reused = connection.exchanges > 0
        try:
            return await connection.exchange(head, request, deadlines)
        except MayBeDelivered as fault:
            # RFC 9112 9.3.1: an upstream may close an idle connection while our request is on its way.
            if not (is_reused and request.is_repeatable and fault.reason is Reason.CLOSED_UNANSWERED):
                raise
        connection = await self._pool.take(deadlines.connect, fresh=True)
        return await connection.exchange(head, request, deadlines)

    async def probe(self, within: float) -> None:
        """Find out whether it takes connections (TLS and all). Raises NotDelivered."""
        await self._pool.probe(within)

    async def aclose(self) -> None:
        """Close all connections; answers that are being read break off, and later requests are NotDelivered."""
        await self._pool.aclose()
