"""The endpoints that machines ask: is it alive, is it ready, what has it counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from sessionware.api.calls import Answer, Call
from sessionware.errors import StoreUnavailable
from sessionware.service.runtime import Runtime

UNAVAILABLE: Final = 503
PROMETHEUS: Final = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
NOT_READY: Final = ((b"retry-after", b"1"),)


class Readiness(Struct, frozen=True):
    """What readiness depends on besides the store. `upstreams` are listed; a dead one does not make us unready."""

    is_draining: bool = False
    upstreams: Mapping[str, Any] = {}


def always_ready() -> Readiness:
    return Readiness()


def no_metrics() -> bytes:
    """Nothing is counted here."""
    return b""


class Probes:
    """Answers without looking at credentials: nothing here tells anything of anybody."""

    def __init__(self, readiness: Callable[[], Readiness], metrics: Callable[[], bytes]) -> None:
        self._readiness = readiness
        self._metrics = metrics

    async def health(self, _: Call) -> Answer:
        """GET /health: this process answers. Asks no store."""
        return Answer({"status": "ok"})

    async def ready(self, call: Call) -> Answer:
        """GET /ready: 503 only when the store is unreachable or we drain."""
        return await ready_answer(self._readiness(), call.sessions.runtime)

    async def metrics(self, _: Call) -> Answer:
        """GET /metrics: for Prometheus. Raises ConfigError where its client is not installed."""
        return Answer(self._metrics(), headers=(PROMETHEUS,))


async def ready_answer(now: Readiness, runtime: Runtime | None) -> Answer:
    """What `/ready` says; without a runtime the store was not reached yet."""
    shown: dict[str, Any] = {"upstreams": dict(now.upstreams)} if now.upstreams else {}
    if now.is_draining:
        return Answer({"status": "draining", "error": "Draining"} | shown, UNAVAILABLE, NOT_READY)
    try:
        if runtime is None:
            raise StoreUnavailable("the store is being connected to")  # noqa: TRY301  # the same answer
        await runtime.store.reap(now=runtime.now(), limit=0)
    except StoreUnavailable:
        return Answer({"status": "unavailable", "error": "Store unavailable"} | shown, UNAVAILABLE, NOT_READY)
    return Answer({"status": "ready"} | shown)
