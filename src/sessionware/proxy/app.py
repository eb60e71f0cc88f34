"""The proxy as an ASGI app: it stands behind the middleware, and answers for the upstreams of all pools."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from sessionware.asgi.messages import Receive, Scope, Send
from sessionware.asgi.passage import Passage, passage_of
from sessionware.asgi.problems import Problem, failed, problem
from sessionware.asgi.refusing import refuse, respond
from sessionware.errors import SessionwareError
from sessionware.proxy.asked import Asked, asked_of
from sessionware.proxy.closing import UpstreamCloser
from sessionware.proxy.entrance import Entrance
from sessionware.proxy.faults import fault_problem
from sessionware.proxy.forwarding import Forwarding, PoolTerms
from sessionware.proxy.incoming import BodyTooLarge, ClientGone
from sessionware.proxy.paths import Routes
from sessionware.proxy.standing import Upstreams
from sessionware.proxy.stopping import Stopping, after_interrupt
from sessionware.proxy.upstreams import Pool
from sessionware.proxy.wire import WireFault

log: Final = logging.getLogger("sessionware")


class ProxyApp:
    """Forwards to the upstreams of these pools.

    `entrance` is what the middleware in front of it asks first, `closer` an observer of the ends of sessions.
    """

    def __init__(
        self, pools: Sequence[Pool], terms: Mapping[str, PoolTerms], *, max_body: int, is_result: bool = False
    ) -> None:
        """`terms` by the pool's name."""
        self.entrance = Entrance(Routes(pools), max_body=max_body, is_result=is_result)
        self._terms = terms
        self._upstreams = Upstreams(pools)
        self.closer = UpstreamCloser(self._upstreams, pools)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        asked, passage = asked_of(scope), passage_of(scope)
        if scope["type"] != "http" or asked is None or passage is None:
            await refuse(scope, receive, send, problem(404, "Not found", "not_found"))
            return
        terms = self._terms[asked.route.pool.name]
        stopping = Stopping(asked, passage)
        try:
            await _forward(Forwarding(self._upstreams, terms, scope, asked, passage), asked, passage, send)
        except asyncio.CancelledError:
            if not stopping.has_cancelled():
                raise
            if asked.is_interrupted:
                await after_interrupt(asked, passage, self._upstreams, send)
        finally:
            await stopping.aclose()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._upstreams.aclose()
        await send({"type": "lifespan.shutdown.complete"})


async def _forward(forwarding: Forwarding, asked: Asked, passage: Passage, send: Send) -> None:
    """Forward, and say in the request's own words what went wrong. Raises what goes wrong after the answer began."""
    try:
        await forwarding.run(send)
    except ClientGone:
        return
    except (BodyTooLarge, SessionwareError) as error:
        if passage.has_begun:
            raise
        await respond(send, asked.told(_problem(error, passage)))


def _problem(error: BodyTooLarge | SessionwareError, passage: Passage) -> Problem:
    if isinstance(error, BodyTooLarge):
        return problem(413, "Request body too large", "payload_too_large")
    if isinstance(error, WireFault):
        log.warning("%s", error)
        return fault_problem(error)
    return failed(error, style=passage.engine.options.ratelimit_headers, met=passage.met)
