"""The only place that knows metrics as plain values, which travel between workers and add up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from sessionware.errors import ConfigError

COUNTERS: Final = frozenset({"counter", "histogram"})  # what a worker leaves behind when it ends
# What every worker sees of the same thing does not add up.
_LARGEST: Final = frozenset(
    {"sessionware_sessions_active", "sessionware_cleanup_removed", "sessionware_upstream_draining"}
)
_SMALLEST: Final = frozenset({"sessionware_upstream_up"})  # 1: every worker reaches it


class Sample(Struct, frozen=True, array_like=True):
    """One number of a family. `labels` in the order of their names."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Family(Struct, frozen=True, array_like=True):
    """One metric with all its series."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


_DECODER: Final = msgspec.json.Decoder(tuple[Family, ...])


def families_of(collected: Iterable[Any]) -> tuple[Family, ...]:
    """What a collector of prometheus_client has collected."""
    return tuple(
        Family(
            each.name, each.type, each.documentation,
            tuple(Sample(one.name, tuple(sorted(one.labels.items())), float(one.value)) for one in each.samples),
        )
        for each in collected
    )  # fmt: skip


def merged(many: Iterable[Sequence[Family]]) -> tuple[Family, ...]:
    """Several workers' families as one: numbers of the same series are added."""
    known: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for families in many:
        for family in families:
            known.setdefault(family.name, family)
            series = values.setdefault(family.name, {})
            join = _joining(family.name)
            for sample in family.samples:
                key = (sample.name, sample.labels)
                series[key] = join(series[key], sample.value) if key in series else sample.value
    return tuple(
        Family(name, family.kind, family.help, tuple(Sample(*key, value) for key, value in values[name].items()))
        for name, family in known.items()
    )


def left_behind(families: Iterable[Family]) -> tuple[Family, ...]:
    """What still counts of a worker that is no more."""
    return tuple(family for family in families if family.kind in COUNTERS)


def encoded(families: Sequence[Family]) -> bytes:
    return msgspec.json.encode(families)


def decoded(content: bytes) -> tuple[Family, ...]:
    """Raises msgspec.DecodeError."""
    return _DECODER.decode(content)


def shown(families: Iterable[Family]) -> bytes:
    """As Prometheus reads it. Raises ConfigError when its client is not installed."""
    try:
        from prometheus_client import Metric, generate_latest  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise ConfigError("metrics need prometheus_client: pip install 'sessionware[proxy]'") from error
    metrics = []
    for family in families:
        metric = Metric(family.name, family.help, family.kind)
        for sample in family.samples:
            metric.add_sample(sample.name, dict(sample.labels), sample.value)
        metrics.append(metric)
    written: bytes = generate_latest(_Collected(metrics))  # it asks a registry to collect, no more
    return written


def _joining(name: str) -> Callable[[float, float], float]:
    if name in _LARGEST:
        return max
    return min if name in _SMALLEST else float.__add__


class _Collected:
    """What stands in for a registry."""

    def __init__(self, metrics: Sequence[Any]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Any]:
        return self._metrics
