"""The only place that reads a window: `/minute`, `/30s`, `/calendar-day@Europe/Berlin`, `total`, `concurrent`."""

from __future__ import annotations

import difflib
import re
from typing import Final, NoReturn
from zoneinfo import ZoneInfo, available_timezones

from sessionware.core.limit_text import Cursor, nearest, quoted
from sessionware.core.limits import UTC, Concurrent, Span
from sessionware.core.windows import Calendar, Sliding, Total

PERIOD_MAX_MS: Final = 366 * 86_400_000  # a sliding window longer than a year is a typo
_NAMED: Final = {
    "second": 1_000,
    "minute": 60_000,
    "hour": 3_600_000,
    "day": 86_400_000,
    "week": 7 * 86_400_000,
    "month": 30 * 86_400_000,
}
_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SYNONYMS: Final = {
    "s": "second", "sec": "second", "secs": "second", "m": "minute", "min": "minute", "mins": "minute",
    "h": "hour", "hr": "hour", "hrs": "hour", "hourly": "hour", "d": "day", "daily": "day", "w": "week",
    "mo": "month", "mon": "month", "monthly": "month", "year": "365d", "calendar": "calendar-day",
    "calendar-week": "week", "calendar-year": "365d", "60": "60s", "3600": "1h",
}  # fmt: skip
_IN_UNITS: Final = {
    "second": (1, "s"),
    "minute": (1, "m"),
    "hour": (1, "h"),
    "day": (1, "d"),
    "week": (7, "d"),
    "month": (30, "d"),
}
WINDOW_WORDS: Final = (*_NAMED, "calendar-day", "calendar-month")
# Not the same on every machine, or counted in leap seconds: workers would disagree about midnight.
_NOT_EVERYWHERE: Final = ("localtime", "posixrules", "posix/", "right/")

_WORD: Final = re.compile(r"[^\s;]+")
_SLASH: Final = re.compile(r"/")
_COUNTED: Final = re.compile(r"0*([0-9]{1,12})([smhd])", re.ASCII)
_SPELLED: Final = re.compile(r"([0-9]{1,6})\s*([A-Za-z]+)", re.ASCII)
_CALENDAR: Final = re.compile(r"calendar-(day|month)(?:@(.*))?", re.ASCII | re.DOTALL)
_TOTAL: Final = re.compile(r"total(?!\S)")
_CONCURRENT: Final = re.compile(r"concurrent(?!\S)")


def take_span(cursor: Cursor) -> Span | None:
    """Read the window at the cursor; None when there is none here. Raises ConfigError for a bad one."""
    if cursor.take(_TOTAL):
        return Total()
    if cursor.take(_CONCURRENT):
        return Concurrent()
    return _timed(cursor) if cursor.take(_SLASH) else None


def _timed(cursor: Cursor) -> Span:
    at = cursor.position
    word = cursor.take(_WORD)
    if word in _NAMED:
        return Sliding(_NAMED[word])
    if found := _COUNTED.fullmatch(word):
        return _counted(cursor, word, int(found[1]) * _UNITS[found[2]], at)
    if found := _CALENDAR.fullmatch(word):
        unit, zone = found.groups()
        return Calendar("day" if unit == "day" else "month", _zone(cursor, zone, at + len(f"calendar-{unit}@")))
    return _unknown(cursor, word, at)


def _counted(cursor: Cursor, word: str, period: int, at: int) -> Sliding:
    if not 0 < period <= PERIOD_MAX_MS:
        cursor.fail(f"a window must be 1s..{PERIOD_MAX_MS // 86_400_000}d, got {quoted(word)}", at=at)
    return Sliding(period)


def _zone(cursor: Cursor, zone: str | None, at: int) -> str:
    if zone is None:
        return UTC
    if not _is_zone(zone):
        near = [f"`{name}`" for name in _zones_near(zone)]
        meant = f": did you mean {' or '.join(near)}?" if near else ", for example `Europe/Berlin`"
        cursor.fail(f"{quoted(zone)} is no time zone of the tz database{meant}", at=at)
    return zone


def _is_zone(zone: str) -> bool:
    if zone.startswith(_NOT_EVERYWHERE):
        return False
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, LookupError):  # not found, a path, a folder: none is a zone
        return False
    return True


def _zones_near(zone: str) -> list[str]:
    """Up to three zones that may have been meant: the city's own first, then those spelled alike."""
    names = sorted(available_timezones())
    city = zone.rpartition("/")[2].lower()
    same_city = [name for name in names if name.rpartition("/")[2].lower() == city][:1]
    alike = difflib.get_close_matches(zone[:64], names, n=3, cutoff=0.6)
    return list(dict.fromkeys(same_city + alike))[:3]


def _unknown(cursor: Cursor, word: str, at: int) -> NoReturn:
    if not word:
        cursor.fail("a window follows the `/`: /second /minute /hour /day /week /month, /30s, /calendar-day", at=at)
    singular = word.lower().removesuffix("s")
    head, sign, zone = word.partition("@")
    if sign and head in _NAMED:
        cursor.fail(
            f"only calendar windows have a time zone: did you mean `/calendar-day{sign}{quoted(zone)[1:-1]}`?", at=at
        )
    if counted := _in_units(cursor.text[at:]):
        cursor.fail(f"{quoted(word)} is no window: did you mean `/{counted}`?", at=at)
    meant = nearest(singular if singular in _NAMED else word, WINDOW_WORDS, synonyms=_SYNONYMS)
    way_out = meant or ": write /second /minute /hour /day /week /month, /30s, /12h, /calendar-day or /calendar-month"
    cursor.fail(f"{quoted(word)} is no window{way_out}", at=at)


def _in_units(text: str) -> str:
    """`2hours` and `2 hours` as the grammar writes them: `2h`; nothing for what has no such unit."""
    found = _SPELLED.match(text)
    if found is None:
        return ""
    number, spelled = found.groups()
    word = spelled.lower()
    unit = _SYNONYMS.get(word, word.removesuffix("s"))
    if unit not in _IN_UNITS:
        return ""
    factor, letter = _IN_UNITS[unit]
    return f"{int(number) * factor}{letter}"
