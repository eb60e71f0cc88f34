"""The only place that judges how well a session's work goes, and raises an alert when it goes badly."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from sessionware.core.ids import SessionKey, handle, ref

SESSIONS_MAX: Final = 10_000  # the session that was quiet longest is forgotten
ALERTS_MAX: Final = 1_000
ERROR_TEXT_MAX: Final = 256
ERRORS_ALLOWED: Final = 5  # more than this in one episode is an alert
EPISODE_QUIET_MS: Final = 300_000  # after this long without an error the next one begins a new episode

SCORE_MAX: Final = 100
HEALTHY_ABOVE: Final = 70
ERROR_RATE_MAX: Final = 0.1
RESPONSE_SECONDS_MAX: Final = 5.0
TOKENS_MAX: Final = 10_000
ERROR_RATE_COSTS: Final = 30
SLOWNESS_COSTS: Final = 20
TOKENS_COST: Final = 10


class Alert(Struct, frozen=True, kw_only=True):
    """Something that an administrator should look at. `session_id` is the session's public handle."""

    type: str
    session_id: str
    ref: str
    error_count: int
    timestamp: int


class Metrics(Struct, kw_only=True):
    """What one session has done so far, as far as this worker has seen it."""

    since: int
    messages: int = 0
    calls: int = 0
    tokens: int = 0
    errors: int = 0
    last_error: str | None = None
    took_ms: int = 0
    episode_errors: int = 0
    last_error_at: int | None = None

    @property
    def error_rate(self) -> float:
        return self.errors / max(self.calls, 1)

    @property
    def average_seconds(self) -> float:
        """How long a call really took, on average."""
        return self.took_ms / 1000 / max(self.calls, 1)

    @property
    def score(self) -> int:
        score = SCORE_MAX
        if self.error_rate > ERROR_RATE_MAX:
            score -= ERROR_RATE_COSTS
        if self.average_seconds > RESPONSE_SECONDS_MAX:
            score -= SLOWNESS_COSTS
        if self.tokens > TOKENS_MAX:
            score -= TOKENS_COST
        return score


class Health:
    """The metrics of the sessions that this worker has served lately. `now` is in milliseconds."""

    def __init__(self, *, sessions_max: int = SESSIONS_MAX) -> None:
        self._sessions: OrderedDict[SessionKey, Metrics] = OrderedDict()
        self._sessions_max = sessions_max
        self._alerts: deque[Alert] = deque(maxlen=ALERTS_MAX)

    def called(self, key: SessionKey, *, now: int, took_ms: int, tokens: int = 0) -> None:
        """One call was answered, well or badly."""
        metrics = self._sessions.get(key)
        if metrics is None:
            metrics = self._of(key, now - took_ms)
        else:
            self._sessions.move_to_end(key)
        metrics.calls += 1
        metrics.took_ms += took_ms
        if tokens:
            metrics.tokens += tokens

    def spent(self, key: SessionKey, *, now: int, tokens: int) -> None:
        """Tokens became known after the call."""
        self._of(key, now).tokens += tokens

    def said(self, key: SessionKey, *, now: int, messages: int = 1) -> None:
        """Messages were exchanged: context, WebSocket or stream events."""
        self._of(key, now).messages += messages

    def failed(self, key: SessionKey, *, now: int, error: str) -> Alert | None:
        """A call went wrong. Answers the alert if this error raised one: one per episode."""
        metrics = self._of(key, now)
        if metrics.last_error_at is not None and now - metrics.last_error_at >= EPISODE_QUIET_MS:
            metrics.episode_errors = 0
        metrics.errors += 1
        metrics.episode_errors += 1
        metrics.last_error, metrics.last_error_at = error[:ERROR_TEXT_MAX], now
        if metrics.episode_errors != ERRORS_ALLOWED + 1:
            return None
        alert = Alert(
            type="high_error_rate", session_id=handle(key), ref=ref(key), error_count=metrics.errors, timestamp=now
        )
        self._alerts.append(alert)
        return alert

    def ended(self, key: SessionKey) -> None:
        """Forget a session. Does nothing when it was never seen."""
        self._sessions.pop(key, None)

    def moved(self, old: SessionKey, new: SessionKey) -> None:
        """A session has another id: what it has done stays its own."""
        metrics = self._sessions.pop(old, None)
        if metrics is not None:
            self._sessions[new] = metrics

    @property
    def alerts(self) -> Sequence[Alert]:
        """The newest ALERTS_MAX alerts, oldest first."""
        return tuple(self._alerts)

    def metrics(self, key: SessionKey, *, now: int) -> dict[str, Any]:
        """What `GET /session/{id}/metrics` says; a session without calls has done nothing yet."""
        metrics = self._sessions.get(key) or Metrics(since=now)
        return {
            "duration_seconds": max(now - metrics.since, 0) / 1000,
            "message_count": metrics.messages,
            "api_calls": metrics.calls,
            "tokens_used": metrics.tokens,
            "error_count": metrics.errors,
            "last_error": metrics.last_error,
        }

    def health(self, key: SessionKey) -> dict[str, Any]:
        """What `GET /session/{id}/health` says."""
        metrics = self._sessions.get(key)
        if metrics is None:
            return {"status": "unknown"}
        return {
            "status": "healthy" if metrics.score > HEALTHY_ABOVE else "unhealthy",
            "score": metrics.score,
            "metrics": {
                "error_rate": round(metrics.error_rate, 4),
                "avg_response_time": round(metrics.average_seconds, 4),
                "total_tokens": metrics.tokens,
            },
        }

    def _of(self, key: SessionKey, since: int) -> Metrics:
        metrics = self._sessions.get(key)
        if metrics is None:
            metrics = self._sessions[key] = Metrics(since=since)
            if len(self._sessions) > self._sessions_max:
                self._sessions.popitem(last=False)
        else:
            self._sessions.move_to_end(key)
        return metrics
