"""The proxy as an ASGI app: it stands behind the middleware, and answers for the upstreams of all pools."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sessionware.asgi.messages import Receive, Scope, Send
from sessionware.asgi.passage import Passage, passage_of
from sessionware.asgi.problems import Problem, failed, problem
from sessionware.asgi.refusing import refuse, respond
from sessionware.config.proxy_settings import Selection
from sessionware.core.ids import Addresses
from sessionware.errors import SessionwareError
from sessionware.proxy.asked import Asked, asked_of, nowhere
from sessionware.proxy.closing import UpstreamCloser
from sessionware.proxy.drains import Drains
from sessionware.proxy.entrance import Door, Entrance
from sessionware.proxy.faults import fault_problem
from sessionware.proxy.fleet import Fleet, pause
from sessionware.proxy.forwarding import Forwarding
from sessionware.proxy.incoming import BodyTooLarge, ClientGone
from sessionware.proxy.loads import Loads
from sessionware.proxy.metadata import Authorities, Metadata
from sessionware.proxy.paths import Routes
from sessionware.proxy.placing import Placing
from sessionware.proxy.requesting import PoolTerms
from sessionware.proxy.stopping import Stopping, after_interrupt
from sessionware.proxy.upstreams import Pool
from sessionware.proxy.wire import WireFault
from sessionware.service.runtime import Runtime

COUNT_EVERY_S: Final = 1.0  # other workers bind sessions too; until then each knows its own
log: Final = logging.getLogger("sessionware")


class ProxyApp:
    """Forwards to the upstreams of these pools.

    `entrance` is what the middleware in front of it asks first, `closer` an observer of the ends of sessions,
    `upstreams` what this worker has of them.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        terms: Mapping[str, PoolTerms],
        *,
        door: Door,
        authorities: Authorities,
        runtime: Callable[[], Runtime | None],
    ) -> None:
        """`terms` by the pool's name; `runtime` is the installation around it, None until that has started."""
        self.pools = tuple(pool.name for pool in pools)
        self._terms = terms
        self._runtime = runtime
        self._counting: asyncio.Task[None] | None = None
        self.drains = Drains(runtime)
        self.placing = Placing(
            Fleet(pools), Loads(),
            selections={name: each.selection for name, each in terms.items()},
            addresses=self._addresses, drained=self.drains,
        )  # fmt: skip
        metadata = Metadata(pools, authorities, members=self.placing.fleet.pools)
        self.entrance = Entrance(Routes(pools), self.placing, door, metadata=metadata)
        self.closer = UpstreamCloser(
            self.placing.fleet, {name: each.disclosure.authorization for name, each in terms.items()}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        asked, passage = asked_of(scope), passage_of(scope)
        if scope["type"] != "http" or asked is None or passage is None:
            await refuse(scope, receive, send, problem(404, "Not found", "not_found"))
            return
        if self._counting is None:
            await self._begin()  # the server lives no lifespan
        refused = asked.refusal()
        if refused is not None:
            await respond(send, refused)
            return
        terms = self._terms[asked.route.pool.name]
        stopping = Stopping(asked, passage)
        try:
            await _forward(Forwarding(self.placing, terms, scope, asked, passage), asked, passage, send)
        except asyncio.CancelledError:
            if not stopping.has_cancelled():
                raise
            if asked.is_interrupted:
                await after_interrupt(
                    asked, passage, self.placing.fleet, send, authorization=terms.disclosure.authorization
                )
        finally:
            await stopping.aclose()
            asked.metadata_url = nowhere  # it knows the scope, which knows what was asked: nobody else would free them

    def selection_of(self, pool: str) -> Selection:
        """How new sessions of a pool get their upstream."""
        return self._terms[pool].selection

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self._begin()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._end()
        await send({"type": "lifespan.shutdown.complete"})

    async def _begin(self) -> None:
        if self._counting is None:
            self._counting = asyncio.get_running_loop().create_task(self._count(), name="sessionware-loads")
            await self.placing.fleet.begin()

    async def _end(self) -> None:
        counting, self._counting = self._counting, None
        if counting is not None:
            counting.cancel()
            await asyncio.wait([counting])
        await self.placing.fleet.aclose()

    async def _count(self) -> None:
        """Ask the store again and again how many sessions everybody has, where it matters."""
        pools = self.placing.fleet.pools.values()
        if not any(self._terms[each.pool.name].selection == "least_sessions" for each in pools):
            return
        while True:
            runtime = self._runtime()
            if runtime is not None:
                await self.placing.loads.count(runtime.store, now=runtime.now())
            await pause(COUNT_EVERY_S)

    def _addresses(self) -> Addresses:
        runtime = self._runtime()
        assert runtime is not None, "requests come after the start"  # noqa: S101
        return runtime.addresses


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
