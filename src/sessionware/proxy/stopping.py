"""The only place that ends a request before its answer has: its client has gone, or its session was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from sessionware.asgi.messages import Send
from sessionware.asgi.passage import Passage
from sessionware.asgi.problems import problem
from sessionware.asgi.refusing import respond
from sessionware.core.ids import SessionKey
from sessionware.proxy.affinity import link_of
from sessionware.proxy.asked import Asked
from sessionware.proxy.closing import cancel_upstream
from sessionware.proxy.fleet import Fleet
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.mcp.messages import Kind
from sessionware.proxy.paths import Role
from sessionware.proxy.relaying import INTERRUPTED

# What is answered so soon is done even for a client that has gone; a second is promised.
GRACE_S: Final = 0.05
# What stays open to hear of things is no work, and nobody waits for what was only told.
_NO_WORK: Final = ("subscriptions/listen", "notifications/")


class Stopping:
    """Cancels the task that made it when the client goes, or when its session is interrupted.

    The cancelled request closes its exchange upstream. Our own server tells when a client goes. Of another one it must
    be asked by a task; most requests are answered before that begins, and it costs more than the rest of this file.
    """

    __slots__ = ("_asked", "_has_fired", "_key", "_passage", "_soon", "_task", "_watch")

    def __init__(self, asked: Asked, passage: Passage) -> None:
        engine = passage.engine
        self._asked = asked
        self._passage = passage
        self._task = asyncio.current_task(engine.loop)
        self._has_fired = False
        self._watch: asyncio.Task[None] | None = None
        self._soon: asyncio.TimerHandle | None = None
        if asked.incoming.tell_gone is None:
            self._soon = engine.loop.call_later(GRACE_S, self._begin)
        else:
            asked.incoming.tell_gone(self._leave)
        self._key = _at_work(asked, passage)
        if self._key is not None:
            engine.work.begin(self._key, self)

    @property
    def began_at(self) -> int:
        return self._passage.entered.ask.now

    def shown(self) -> Mapping[str, Any]:
        """What it is, for whoever asks what its session does."""
        facts = self._passage.entered.facts
        shown = {"request_id": self._asked.request_id, "method": facts.mcp_method, "pool": facts.pool}
        return shown | {"tool": facts.tool} if facts.tool else shown

    def interrupt(self) -> None:
        """Its session is interrupted. Does nothing when it is being stopped already."""
        if not self._has_fired:
            self._asked.is_interrupted = True
            self._fire()

    def has_cancelled(self) -> bool:
        """Whether it was this that cancelled the task, and nobody else did."""
        return self._has_fired and self._task is not None and self._task.uncancel() == 0

    async def aclose(self) -> None:
        """The request is over: nothing can stop it any more."""
        self._has_fired = True
        if self._soon is not None:
            self._soon.cancel()
        if self._key is not None:
            self._passage.engine.work.finish(self._key, self)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])

    def _leave(self) -> None:
        """The client has gone."""
        if not self._has_fired:
            self._soon = self._passage.engine.loop.call_later(GRACE_S, self._fire)

    def _begin(self) -> None:
        self._watch = self._passage.engine.loop.create_task(self._wait())

    async def _wait(self) -> None:
        await self._asked.incoming.until_gone()
        self._fire()

    def _fire(self) -> None:
        if not self._has_fired and self._task is not None:
            self._has_fired = True
            self._task.cancel()


async def after_interrupt(
    asked: Asked, passage: Passage, fleet: Fleet, send: Send, *, authorization: bytes | None
) -> None:
    """Tell the client, if nothing was said yet, and the upstream, where closing the exchange does not tell it.

    `authorization` is what the pool's upstreams are sent in place of a client's own.
    """
    if not passage.has_begun:
        await respond(send, asked.told(problem(INTERRUPTED, "Interrupted", "interrupted")))
    link = link_of(passage)
    if asked.era is not Era.LEGACY or link is None:
        return
    upstream = fleet.find(link.pool, link.upstream)
    if upstream is not None:
        for request_id in asked.request_ids:
            await cancel_upstream(upstream, link, request_id, authorization=authorization)


def _at_work(asked: Asked, passage: Passage) -> SessionKey | None:
    """The session that an MCP request works for while it waits for its answer; None for what is no such work."""
    session, facts = passage.session, passage.entered.facts
    if session is None or asked.route.role is not Role.MCP or facts.method != "POST":
        return None
    if facts.mcp_method.startswith(_NO_WORK) or (
        asked.body is not None and asked.body.leading.kind is not Kind.REQUEST
    ):
        return None
    return session.record.key
