"""The only place that ends a request before its answer has: its client has gone, or its session was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from sessionware.asgi.messages import Send
from sessionware.asgi.passage import Passage
from sessionware.asgi.problems import problem
from sessionware.asgi.refusing import respond
from sessionware.asgi.work import Job
from sessionware.proxy.affinity import link_of
from sessionware.proxy.asked import Asked
from sessionware.proxy.closing import cancel_upstream
from sessionware.proxy.fleet import Fleet
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.mcp.messages import Kind
from sessionware.proxy.paths import Role
from sessionware.proxy.relaying import INTERRUPTED

WATCH_AFTER_S: Final = 0.05  # a client that has gone is noticed this much later; a second is promised
# What stays open to hear of things is no work, and nobody waits for what was only told.
_NO_WORK: Final = ("subscriptions/listen", "notifications/")


class Stopping:
    """Cancels the task that made it when the client goes, or when its session is interrupted.

    The cancelled request closes its exchange upstream.
    """

    def __init__(self, asked: Asked, passage: Passage) -> None:
        self._asked = asked
        self._passage = passage
        self._loop = passage.engine.loop
        self._task = asyncio.current_task(self._loop)
        self._has_fired = False
        self._job = _job(asked, passage, self._interrupt)
        if self._job is not None:
            passage.engine.work.begin(self._job)
        # Most requests are answered before anybody would look: a task for each would cost more than all of this file.
        self._watch: asyncio.Task[None] | None = None
        self._beginning = self._loop.call_later(WATCH_AFTER_S, self._begin)

    def _begin(self) -> None:
        self._watch = self._loop.create_task(self._wait())

    async def _wait(self) -> None:
        await self._asked.incoming.until_gone()
        self._fire()

    def _interrupt(self) -> None:
        if not self._has_fired:
            self._asked.is_interrupted = True
            self._fire()

    def _fire(self) -> None:
        if not self._has_fired and self._task is not None:
            self._has_fired = True
            self._task.cancel()

    def has_cancelled(self) -> bool:
        """Whether it was this that cancelled the task, and nobody else did."""
        return self._has_fired and self._task is not None and self._task.uncancel() == 0

    async def aclose(self) -> None:
        if self._job is not None:
            self._passage.engine.work.finish(self._job)
        self._has_fired = True  # what is over cannot be stopped any more
        self._beginning.cancel()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])


async def after_interrupt(asked: Asked, passage: Passage, fleet: Fleet, send: Send) -> None:
    """Tell the client, if nothing was said yet, and the upstream, where closing the exchange does not tell it."""
    if not passage.has_begun:
        await respond(send, asked.told(problem(INTERRUPTED, "Interrupted", "interrupted")))
    link = link_of(passage)
    if asked.era is not Era.LEGACY or link is None:
        return
    upstream = fleet.find(link.pool, link.upstream)
    if upstream is not None:
        for request_id in asked.request_ids:
            await cancel_upstream(upstream, link, request_id)


def _job(asked: Asked, passage: Passage, stop: Any) -> Job | None:
    """What can be shown and interrupted: MCP requests of a session that wait for their answer."""
    session, facts = passage.session, passage.entered.facts
    if session is None or asked.route.role is not Role.MCP or facts.method != "POST":
        return None
    if facts.mcp_method.startswith(_NO_WORK) or (
        asked.body is not None and asked.body.leading.kind is not Kind.REQUEST
    ):
        return None

    def told() -> Mapping[str, Any]:
        shown = {"request_id": asked.request_id, "method": facts.mcp_method, "pool": facts.pool}
        return shown | {"tool": facts.tool} if facts.tool else shown

    return Job(session.record.key, passage.entered.ask.now, told, stop)
