"""The only place that writes and reads instants and durations for people: RFC 3339 with `Z`, and `1h2m3s`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sessionware.core.windows import NEVER

LATEST_MS: Final = 253_402_300_799_000  # the last second of the year 9999, the last that RFC 3339 can write


def moment(ms: int) -> datetime | None:
    """The instant as Python has it, in UTC; None for never."""
    return None if ms >= min(NEVER, LATEST_MS) else datetime.fromtimestamp(ms / 1000, UTC)


def rfc3339(ms: int) -> str | None:
    """The instant as it is sent: `2026-01-15T10:00:00Z`, with milliseconds where there are any; None for never."""
    at = moment(ms)
    if at is None:
        return None
    return at.isoformat(timespec="milliseconds" if ms % 1000 else "seconds").replace("+00:00", "Z")


def rfc3339_ms(ms: int | None) -> str | None:
    """The instant as it is sent, always with milliseconds; None for never and for nothing."""
    at = None if ms is None else moment(ms)
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_rfc3339(text: str) -> int:
    """Milliseconds since 1970 of an instant with an offset. Raises ValueError for anything else."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("an instant needs its offset, for example a Z at the end")
    return int(at.timestamp() * 1000)


def duration_text(ms: int) -> str:
    """How long, to the second: `1h2m3s`, `30m15s`, `0s`."""
    minutes, seconds = divmod(max(ms, 0) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
