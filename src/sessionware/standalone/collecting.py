"""The only place that says which numbers the proxy has of itself, and under which names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from sessionware.core.store import Query
from sessionware.errors import StoreUnavailable
from sessionware.proxy.health import Life
from sessionware.proxy.placing import Placing
from sessionware.proxy.standing import WAIT_BOUNDS_MS
from sessionware.service.runtime import Runtime
from sessionware.standalone.traffic import Traffic

SAMPLE_MAX: Final = 200  # sessions that are looked at for their age and size
STORE_WITHIN_S: Final = 2.0
_MEMORY: Final = Path("/proc/self/statm")


def of_door(connections: int, turned_away: Mapping[int, int]) -> Iterator[Any]:
    """What has come to the door, and what of it was refused before it was a request."""
    yield _gauge("sessionware_connections_open", "Connections of clients", connections)
    refused = CounterMetricFamily("sessionware_turned_away", "Refused before they were requests", labels=["status"])
    for status, number in turned_away.items():
        refused.add_metric([str(status)], number)
    yield refused


def of_worker(traffic: Traffic, placing: Placing) -> Iterator[Any]:
    """What this process has done; beside it stand the counts of its sessions."""
    requests = CounterMetricFamily("sessionware_requests", "Requests that are over", labels=["pool", "outcome"])
    for pool, outcomes in traffic.requests.items():
        for outcome, number in outcomes.items():
            requests.add_metric([pool, outcome.value], number)
    yield requests
    yield _gauge("sessionware_requests_running", "Requests that are being answered", traffic.running)
    yield _gauge("sessionware_streams_open", "Answers that have begun and are not over", traffic.streams)
    yield from _of_upstreams(placing)
    resident = _resident_bytes()
    if resident:
        yield _gauge("sessionware_resident_bytes", "Memory of all worker processes", resident)


def _of_upstreams(placing: Placing) -> Iterator[Any]:
    labels = ["pool", "upstream"]
    up = GaugeMetricFamily(
        "sessionware_upstream_up", "Whether connections to it succeed (1), or it is dead", labels=labels
    )
    draining = GaugeMetricFamily("sessionware_upstream_draining", "Whether it gets no new sessions", labels=labels)
    missed = CounterMetricFamily("sessionware_upstream_misses", "Connections that it did not take", labels=labels)
    waits = HistogramMetricFamily(
        "sessionware_upstream_latency_seconds", "Time until the head of its answer", labels=labels
    )
    for pool, upstream in placing.fleet.each():
        named = [pool, upstream.name]
        up.add_metric(named, int(upstream.health.life is not Life.DEAD))
        draining.add_metric(named, int(placing.is_drained(pool, upstream.name)))
        missed.add_metric(named, upstream.misses)
        waits.add_metric(named, _buckets(upstream.waits), sum_value=upstream.waited_s)
    return iter((up, draining, missed, waits))


async def of_store(runtime: Runtime) -> list[Any]:
    """What the shared store says; nothing while it does not answer."""
    try:
        async with asyncio.timeout(STORE_WITHIN_S):
            page = await runtime.store.list(Query(limit=SAMPLE_MAX), now=runtime.now())
    except (StoreUnavailable, TimeoutError):
        return []
    runtime.telemetry.counts.saw_active(page.total)
    if not page.sessions:
        return []
    now, number = runtime.now(), len(page.sessions)
    age = sum(now - session.birth.created_at for session in page.sessions) / number / 1000
    size = sum(len(msgspec.msgpack.encode(session)) for session in page.sessions) / number
    return [
        _gauge("sessionware_session_age_seconds", f"Average age of live sessions (the {SAMPLE_MAX} oldest)", age),
        _gauge("sessionware_session_bytes", "Average size of a session's record, without its data", size),
    ]


def _buckets(counts: Sequence[int]) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus wants them."""
    bounds = [str(bound / 1000) for bound in WAIT_BOUNDS_MS] + ["+Inf"]
    return list(zip(bounds, _running_totals(counts), strict=True))


def _running_totals(numbers: Iterable[int]) -> Iterator[float]:
    total = 0
    for number in numbers:
        total += number
        yield total


def _gauge(name: str, meaning: str, value: float) -> Any:
    family = GaugeMetricFamily(name, meaning)
    family.add_metric([], value)
    return family


def _resident_bytes() -> int:
    """Zero where the system does not say."""
    try:
        return int(_MEMORY.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
