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
from sessionware.proxy.entrance import Door, Entrance
from sessionware.proxy.faults import fault_problem
from sessionware.proxy.forwarding import Forwarding, PoolTerms
from sessionware.proxy.incoming import BodyTooLarge, ClientGone, Incoming
from sessionware.proxy.metadata import Authorities, Metadata
from sessionware.proxy.paths import Routes
from sessionware.proxy.standing import Upstreams
from sessionware.proxy.upstreams import Pool
from sessionware.proxy.wire import WireFault

log: Final = logging.getLogger("sessionware")


class ProxyApp:
    """Forwards to the upstreams of these pools.

    `entrance` is what the middleware in front of it asks first, `closer` an observer of the ends of sessions.
    """

    def __init__(
        self, pools: Sequence[Pool], terms: Mapping[str, PoolTerms], *, door: Door, authorities: Authorities
    ) -> None:
        """`terms` by the pool's name."""
        self._terms = terms
        self._upstreams = Upstreams(pools)
        metadata = Metadata(pools, authorities, members=self._upstreams.of)
        self.entrance = Entrance(Routes(pools), door, metadata=metadata)
        self.closer = UpstreamCloser(self._upstreams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        asked, passage = asked_of(scope), passage_of(scope)
        if scope["type"] != "http" or asked is None or passage is None:
            await refuse(scope, receive, send, problem(404, "Not found", "not_found"))
            return
        refused = asked.refusal()
        if refused is not None:
            await respond(send, refused)
            return
        terms = self._terms[asked.route.pool.name]
        watching = _Watching(asked.incoming)
        try:
            await _forward(Forwarding(self._upstreams, terms, scope, asked, passage), asked, passage, send)
        except asyncio.CancelledError:
            if not watching.has_cancelled():
                raise
        finally:
            await watching.aclose()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._upstreams.aclose()
        await send({"type": "lifespan.shutdown.complete"})


class _Watching:
    """Cancels the task that made it when the client goes: its request upstream ends, too."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._task = asyncio.current_task()
        self._has_fired = False
        self._watch = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        await self._incoming.until_gone()
        self._has_fired = True
        if self._task is not None:
            self._task.cancel()

    def has_cancelled(self) -> bool:
        """Whether it was this that cancelled the task, and nobody else did."""
        return self._has_fired and self._task is not None and self._task.uncancel() == 0

    async def aclose(self) -> None:
        self._watch.cancel()
        await asyncio.wait([self._watch])


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
