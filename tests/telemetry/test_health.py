"""What a session has done, how well it went, and when an administrator should look."""

import pytest

from sessionware.core.ids import SessionKey, handle, ref
from sessionware.telemetry.health import ALERTS_MAX, EPISODE_QUIET_MS, Health

KEY = SessionKey(0, b"k" * 20)


def worked(*, calls=10, errors=0, seconds=1, tokens=0):
    health = Health()
    for number in range(calls):
        health.called(KEY, now=1_000_000, took_ms=seconds * 1000, tokens=tokens if number == 0 else 0)
    for _ in range(errors):
        health.failed(KEY, now=1_000_000, error="boom")
    return health


def test_b34_b35_calls_errors_messages_and_tokens_are_counted():
    """B34, B35."""
    health = Health()
    for _ in range(3):
        health.called(KEY, now=10_000, took_ms=500, tokens=100)
    health.failed(KEY, now=10_000, error="timed out")
    health.said(KEY, now=10_000, messages=2)
    health.spent(KEY, now=10_000, tokens=32)
    assert health.metrics(KEY, now=12_000) == {
        "duration_seconds": 2.5,
        "message_count": 2,
        "api_calls": 3,
        "tokens_used": 332,
        "error_count": 1,
        "last_error": "timed out",
    }


def test_b36_six_errors_raise_one_alert():
    """B36."""
    health = Health()
    raised = [health.failed(KEY, now=number, error="500") for number in range(20)]
    assert [number for number, alert in enumerate(raised) if alert] == [5]
    (alert,) = health.alerts
    assert (alert.type, alert.session_id, alert.ref, alert.error_count, alert.timestamp) == (
        "high_error_rate", handle(KEY), ref(KEY), 6, 5
    )  # fmt: skip


def test_b36_a_new_episode_raises_a_new_alert():
    """B36."""
    health = Health()
    for episode in range(3):
        for _ in range(9):
            health.failed(KEY, now=episode * EPISODE_QUIET_MS, error="500")
    assert [alert.error_count for alert in health.alerts] == [6, 15, 24]


def test_b36_errors_that_come_rarely_are_no_episode():
    """B36."""
    health = Health()
    for day in range(20):
        health.failed(KEY, now=day * 86_400_000, error="500")
    assert health.alerts == ()


def test_b36_alerts_are_bounded():
    """B36."""
    health = Health()
    for number in range(ALERTS_MAX + 5):
        for _ in range(6):
            health.failed(SessionKey(0, number.to_bytes(20, "big")), now=number, error="500")
    assert len(health.alerts) == ALERTS_MAX
    assert health.alerts[0].timestamp == 5


@pytest.mark.parametrize(
    ("work", "score", "status"),
    [
        ({}, 100, "healthy"),
        ({"errors": 1}, 100, "healthy"),
        ({"errors": 2}, 70, "unhealthy"),
        ({"seconds": 5}, 100, "healthy"),
        ({"seconds": 6}, 80, "healthy"),
        ({"tokens": 10_000}, 100, "healthy"),
        ({"tokens": 10_001}, 90, "healthy"),
        ({"seconds": 6, "tokens": 10_001}, 70, "unhealthy"),
        ({"errors": 2, "seconds": 6, "tokens": 10_001}, 40, "unhealthy"),
    ],
)
def test_b37_the_score_is_the_sources_rule(work, score, status):
    """B37."""
    said = worked(**work).health(KEY)
    assert (said["score"], said["status"]) == (score, status)


def test_b37_the_metrics_are_real():
    """B37."""
    assert worked(errors=2, seconds=2, tokens=7).health(KEY)["metrics"] == {
        "error_rate": 0.2,
        "avg_response_time": 2.0,
        "total_tokens": 7,
    }


def test_b37_nobody_knows_a_session_that_has_done_nothing():
    """B37."""
    health = worked()
    health.ended(KEY)
    assert health.health(KEY) == {"status": "unknown"}
    assert health.metrics(KEY, now=5)["api_calls"] == 0


def test_a_rotated_session_keeps_what_it_has_done():
    health, new = worked(), SessionKey(0, b"n" * 20)
    health.moved(KEY, new)
    health.moved(KEY, new)
    assert (health.metrics(new, now=0)["api_calls"], health.health(KEY)) == (10, {"status": "unknown"})


def test_metrics_are_bounded_and_the_quietest_session_goes_first():
    health = Health(sessions_max=2)
    keys = [SessionKey(0, bytes([number]) * 20) for number in range(3)]
    for key in (keys[0], keys[1], keys[0], keys[2]):
        health.called(key, now=0, took_ms=1)
    assert [health.health(key)["status"] for key in keys] == ["healthy", "unknown", "healthy"]
