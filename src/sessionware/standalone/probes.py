"""The only place that answers for the whole process: does it live, is it ready, what has it counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final

from sessionware.api.calls import Answer
from sessionware.api.faults import not_allowed, not_found
from sessionware.api.probes import PROMETHEUS, Readiness, ready_answer
from sessionware.asgi.engine import Engine
from sessionware.asgi.messages import App, Receive, Scope, Send
from sessionware.asgi.refusing import is_for_us, not_for_us, respond
from sessionware.assembly import Sessionware
from sessionware.errors import StoreUnavailable

START_WITHIN_S: Final = 1.0
HEALTH: Final = ("/health", "/healthz", "/livez")
READY: Final = ("/ready", "/readyz")
METRICS: Final = "/metrics"
PROBES: Final = frozenset({*HEALTH, *READY, METRICS})
_ALLOWED: Final = "GET, HEAD"
Page = Callable[[], Awaitable[Answer]]


class Probes:
    """The pages of one process. They tell nothing of anybody.

    /health and /ready answer whatever Host is named: balancers and kubelets know us by our address. /metrics wants
    one of `hosts`, where some are listed, and so does what tells names of upstreams (`shows_names`): a web page that
    has rebound its own name to this machine must not read how we are used.
    """

    def __init__(
        self,
        sessionware: Sessionware,
        *,
        readiness: Callable[[], Readiness],
        metrics: Callable[[], Awaitable[bytes]],
        hosts: Collection[str] = (),
        shows_names: bool = False,
    ) -> None:
        self._sessionware = sessionware
        self._readiness = readiness
        self._metrics = metrics
        self._hosts = hosts
        self._shows_names = shows_names

    def pages(self, *, with_metrics: bool) -> dict[str, App]:
        """By path, each under the names that it goes by."""
        ready = _app(self._ready, hosts=self._hosts if self._shows_names else ())
        pages = dict.fromkeys(HEALTH, _app(self._health)) | dict.fromkeys(READY, ready)
        return pages | {METRICS: _app(self._shown_metrics, hosts=self._hosts)} if with_metrics else pages

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


def _app(page: Page, *, hosts: Collection[str] = ()) -> App:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if not is_for_us(scope, hosts):
            await respond(send, not_for_us())
            return
        if scope["method"] not in {"GET", "HEAD"}:
            await respond(send, not_allowed(_ALLOWED))
            return
        answer = await page()
        await answer.response()(scope, receive, send)

    return serve


async def nowhere(_: Scope, __: Receive, send: Send) -> None:
    """What stands where there is no page."""
    await respond(send, not_found())
