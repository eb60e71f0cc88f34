"""The only place that knows how Prometheus wants our counts; they are read when it scrapes, never pushed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sessionware.errors import ConfigError
from sessionware.telemetry.counts import LATENCY_BOUNDS_MS, Counts


class Collector:
    """Register this with a `prometheus_client.CollectorRegistry`. Raises ConfigError when that is not installed."""

    def __init__(self, counts: Counts) -> None:
        try:
            from prometheus_client import core  # noqa: PLC0415  # an extra
        except ModuleNotFoundError as error:
            raise ConfigError(
                "metrics for Prometheus need prometheus_client: pip install 'sessionware[prometheus]'"
            ) from error
        self._core = core
        self._counts = counts

    def describe(self) -> Iterable[Any]:
        """What will be collected; spares the registry a collection at registration."""
        return self.collect()

    def collect(self) -> Iterable[Any]:
        counts, counter = self._counts, self._core.CounterMetricFamily
        active = self._core.GaugeMetricFamily("sessionware_sessions_active", "Live sessions")
        active.add_metric([], counts.active)
        created = counter("sessionware_sessions_created", "Sessions made")
        created.add_metric([], counts.created)
        ended = counter("sessionware_sessions_ended", "Sessions that are no more", labels=["reason"])
        for reason, number in counts.ended.items():
            ended.add_metric([reason.value], number)
        admissions = counter("sessionware_admissions", "Answers to admissions", labels=["outcome"])
        for outcome, number in counts.admissions.items():
            admissions.add_metric([outcome.value], number)
        admissions.add_metric(["unavailable"], counts.unavailable)
        degraded = counter(
            "sessionware_degraded", "What worked worse than it should", labels=["feature", "reason", "action"]
        )
        for (feature, why, action), number in list(counts.degraded.items()):
            degraded.add_metric([feature.value, why.value, action.value], number)
        conflicts = counter("sessionware_conflicts", "Saves that met another writer")
        conflicts.add_metric([], counts.conflicts)
        foreign = counter("sessionware_foreign_ids", "Session ids presented by somebody else than their owner")
        foreign.add_metric([], counts.foreign_ids)
        alerts = counter("sessionware_alerts", "Alerts about sessions with many errors")
        alerts.add_metric([], counts.alerts)
        cleanups = counter("sessionware_cleanups", "Sweeps for expired sessions")
        cleanups.add_metric([], counts.cleanups)
        removed = self._core.GaugeMetricFamily("sessionware_cleanup_removed", "Sessions that the last sweep removed")
        removed.add_metric([], counts.removed_last)
        anew = counter("sessionware_reinitialized", "Legacy MCP sessions begun anew because their upstream was lost")
        anew.add_metric([], counts.reinitialized)
        told = [active, created, ended, admissions, self._latency(), degraded, conflicts, foreign, alerts]
        return [*told, cleanups, removed, anew]

    def _latency(self) -> Any:
        seconds = [str(bound / 1000) for bound in LATENCY_BOUNDS_MS] + ["+Inf"]
        below, buckets = 0, []
        for bound, number in zip(seconds, self._counts.latency, strict=True):
            below += number
            buckets.append((bound, below))
        family = self._core.HistogramMetricFamily("sessionware_store_latency_seconds", "Time for one admission")
        family.add_metric([], buckets, sum_value=self._counts.latency_sum_ms / 1000)
        return family
