"""Counts, what Prometheus sees of them, and how often trouble is said."""

import builtins

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from sessionware.core.admission import Outcome
from sessionware.core.session import Ended, EndReason
from sessionware.errors import ConfigError
from sessionware.stores.memory import MemoryStore
from sessionware.telemetry import Action, Counts, Feature, Reason, Telemetry
from sessionware.telemetry.prometheus import Collector
from sessionware.telemetry.throttle import Throttle
from sessionware.testing import Maker, ManualClock

MAKE = Maker.of(MemoryStore(clock=ManualClock()))


def scraped(counts):
    registry = CollectorRegistry()
    registry.register(Collector(counts))
    return generate_latest(registry).decode()


def samples(counts):
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in scraped(counts).splitlines()
        if not line.startswith("#")
    }


def test_a45_three_started_and_one_ended_are_two_active():
    """A45."""
    telemetry = Telemetry()
    for number in range(3):
        telemetry.started(MAKE.session(f"n{number}"))
    telemetry.ended(Ended(MAKE.session("n0"), EndReason.ENDED, 0))
    found = samples(telemetry.counts)
    assert found["sessionware_sessions_active"] == 2
    assert found["sessionware_sessions_created_total"] == 3
    assert found['sessionware_sessions_ended_total{reason="ended"}'] == 1
    assert found['sessionware_sessions_ended_total{reason="expired"}'] == 0


def test_what_other_workers_made_is_active_too():
    counts = Counts()
    counts.started()
    counts.saw_active(40)
    counts.started()
    counts.finished(EndReason.EXPIRED)
    counts.finished(EndReason.EXPIRED)
    assert counts.active == 39


def test_admissions_and_their_time_are_shown():
    telemetry = Telemetry()
    for took in (0, 1, 2, 30, 5_000):
        telemetry.admitted(Outcome.ADMITTED, took)
    telemetry.admitted(Outcome.LIMITED, 0)
    telemetry.unavailable()
    found = samples(telemetry.counts)
    assert found['sessionware_admissions_total{outcome="admitted"}'] == 5
    assert found['sessionware_admissions_total{outcome="unavailable"}'] == 1
    assert found['sessionware_store_latency_seconds_bucket{le="0.001"}'] == 3
    assert found['sessionware_store_latency_seconds_bucket{le="0.05"}'] == 5
    assert found['sessionware_store_latency_seconds_bucket{le="+Inf"}'] == 6
    assert found["sessionware_store_latency_seconds_count"] == 6
    assert found["sessionware_store_latency_seconds_sum"] == 5.033


def test_log_02_no_client_can_add_a_series():
    """LOG-02."""
    telemetry = Telemetry()
    before = len(samples(telemetry.counts))
    for number in range(1000):
        telemetry.started(MAKE.session(f"n{number}", user=f"user-{number}"))
        telemetry.ended(Ended(MAKE.session(f"n{number}", user=f"user-{number}"), EndReason.ENDED, 0))
    assert len(samples(telemetry.counts)) == before
    assert "user-" not in scraped(telemetry.counts)


def test_degraded_work_conflicts_and_alerts_are_shown():
    telemetry = Telemetry()
    telemetry.degraded(Feature.LIMITS, Reason.STORE_DOWN, Action.LOCAL)
    telemetry.conflict()
    telemetry.alerted()
    found = samples(telemetry.counts)
    assert found['sessionware_degraded_total{action="local",feature="limits",reason="store_down"}'] == 1
    assert (found["sessionware_conflicts_total"], found["sessionware_alerts_total"]) == (1, 1)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name.startswith("prometheus_client"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'sessionware\[prometheus\]'"):
        Collector(Counts())


class Ticking:
    def __init__(self):
        self.ms = 0

    def __call__(self):
        return self.ms


def test_a_throttle_lets_each_key_through_once_per_period():
    clock = Ticking()
    throttle = Throttle(1000, monotonic=clock)
    assert [throttle.take("a"), throttle.take("a"), throttle.take("b"), throttle.take("a")] == [0, None, 0, None]
    clock.ms = 999
    assert throttle.take("a") is None
    clock.ms = 1000
    assert [throttle.take("a"), throttle.take("a")] == [3, None]


def test_a_throttle_is_bounded():
    throttle = Throttle(1000, monotonic=Ticking(), keys_max=2)
    for key in "abc":
        throttle.take(key)
    assert [throttle.take("c"), throttle.take("b"), throttle.take("a")] == [None, None, 0]
