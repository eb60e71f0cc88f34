"""The only place that answers for the whole process: does it live, is it ready, what has it counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from sessionware.api.calls import Answer
from sessionware.api.faults import not_allowed, not_found
from sessionware.api.probes import PROMETHEUS, Readiness, ready_answer
from sessionware.asgi.engine import Engine
from sessionware.asgi.messages import App, Receive, Scope, Send
from sessionware.asgi.refusing import respond
from sessionware.assembly import Sessionware
from sessionware.errors import StoreUnavailable

START_WITHIN_S: Final = 1.0
_ALLOWED: Final = "GET, HEAD"
Page = Callable[[], Awaitable[Answer]]


class Probes:
    """The pages of one process; whoever asks, whatever Host it names: nothing here tells anything of anybody."""

    def __init__(
        self,
        sessionware: Sessionware,
        *,
        readiness: Callable[[], Readiness],
        metrics: Callable[[], Awaitable[bytes]],
    ) -> None:
        self._sessionware = sessionware
        self._readiness = readiness
        self._metrics = metrics

    def pages(self, *, with_metrics: bool) -> dict[str, App]:
        """By path, each under the names that it goes by."""
        health, ready = _app(self._health), _app(self._ready)
        pages = {"/health": health, "/healthz": health, "/livez": health, "/ready": ready, "/readyz": ready}
        return pages | ({"/metrics": _app(self._shown_metrics)} if with_metrics else {})

    async def _health(self) -> Answer:
        """GET /health: the process answers; it asks no store, and says how many sessions it knows of."""
        engine = self._sessionware.at_work
        return Answer(
            {"status": "ok"} | ({} if engine is None else {"sessions": engine.runtime.telemetry.counts.active})
        )

    async def _ready(self) -> Answer:
        now = self._readiness()
        engine = None if now.is_draining else await self._started()
        return await ready_answer(now, None if engine is None else engine.runtime)

    async def _started(self) -> Engine | None:
        """A store that was away at the start is tried again: one that nobody finds ready gets no other requests."""
        try:
            return await self._sessionware.start(within=START_WITHIN_S)
        except StoreUnavailable:
            return None

    async def _shown_metrics(self) -> Answer:
        return Answer(await self._metrics(), headers=(PROMETHEUS,))


def _app(page: Page) -> App:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            await respond(send, not_allowed(_ALLOWED))
            return
        answer = await page()
        await answer.response()(scope, receive, send)

    return serve


async def nowhere(_: Scope, __: Receive, send: Send) -> None:
    """What stands where there is no page."""
    await respond(send, not_found())
