"""The only place that shows an installation's counts to Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sessionware.assembly.installation import Sessionware
from sessionware.telemetry.prometheus import Collector


def metrics_of(sessionware: Sessionware) -> Callable[[], bytes]:
    """What `/metrics` answers when it is asked: the counts as they stand then.

    Raises ConfigError when prometheus_client is not installed, StoreUnavailable before the start.
    """

    def text() -> bytes:
        collector = Collector(sessionware.engine.runtime.telemetry.counts)
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415  # an extra

        registry: Any = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        shown: bytes = generate_latest(registry)
        return shown

    return text
