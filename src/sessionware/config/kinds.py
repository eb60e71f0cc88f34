"""The only place that reads durations, sizes, numbers, switches, choices and lists, and writes them back."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

from sessionware.config.given import OFF, ON, Given, Kind
from sessionware.core.limit_grammar import parse_limit, parse_limits
from sessionware.core.limit_text import nearest
from sessionware.core.limits import Limit

_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(ms|s|m|h|d|)", re.ASCII)
_DURATION_UNITS: Final = {"ms": 1, "": 1_000, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE: Final = re.compile(r"([0-9]{1,12})\s*([kmg]?)", re.ASCII | re.IGNORECASE)
_SIZE_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:_[0-9]{1,15})*", re.ASCII)
_SWITCHES: Final = {
    "on": True,
    "true": True,
    "1": True,
    "yes": True,
    "off": False,
    "false": False,
    "0": False,
    "no": False,
}
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def duration(at_least: int, at_most: int, *, off: bool = False) -> Kind:
    """Milliseconds within bounds; with `off`, 0 means off."""
    bounds = f"{show_duration(at_least)}..{show_duration(at_most)}"

    def read(given: Given) -> int:
        if off and given.text == OFF:
            return 0
        found = _DURATION.fullmatch(given.text)
        if found is None:
            given.fail(f"is no duration: write seconds (1800), or 250ms, 30s, 15m, 12h, 7d{' or off' if off else ''}")
        milliseconds = int(Decimal(found[1]) * _DURATION_UNITS[found[2]])
        if not at_least <= milliseconds <= at_most:
            given.fail(f"is out of bounds: write {bounds}{_or_off(off)}")
        return milliseconds

    return Kind(read, lambda value: show_duration(value) if value or not off else OFF, f"duration{_or_off(off)}")


def show_duration(milliseconds: int) -> str:
    """Whole seconds as a plain number, everything else in milliseconds."""
    return f"{milliseconds}ms" if milliseconds % 1000 else str(milliseconds // 1000)


def size(at_least: int, at_most: int, *, off: bool = False) -> Kind:
    """Bytes within bounds; k, M and G are powers of 1024."""

    def read(given: Given) -> int:
        if off and given.text == OFF:
            return 0
        found = _SIZE.fullmatch(given.text)
        if found is None:
            given.fail("is no size: write bytes (65536), or 64k, 4M")
        found_bytes = int(found[1]) * _SIZE_UNITS[found[2].lower()]
        if not at_least <= found_bytes <= at_most:
            given.fail(f"is out of bounds: write {_show_size(at_least)}..{_show_size(at_most)}")
        return found_bytes

    return Kind(read, _show_size_or_off if off else _show_size, "size, off" if off else "size")


def _show_size_or_off(value: int) -> str:
    return _show_size(value) if value else OFF


def _show_size(value: int) -> str:
    for suffix, unit in (("G", 1 << 30), ("M", 1 << 20), ("k", 1 << 10)):
        if value and value % unit == 0:
            return f"{value // unit}{suffix}"
    return str(value)


def number(at_least: int, at_most: int, *, off: bool = False, why: str = "") -> Kind:
    """A whole number within bounds; with `off`, 0 means off. `why` gives the reason for the upper bound."""

    def read(given: Given) -> int:
        if off and given.text == OFF:
            return 0
        if not _NUMBER.fullmatch(given.text):
            given.fail(f"is no whole number: write {at_least}..{at_most}{_or_off(off)}")
        found = int(given.text)
        if not at_least <= found <= at_most:
            reason = f" ({why})" if why and found > at_most else ""
            given.fail(f"is out of bounds: write {at_least}..{at_most}{_or_off(off)}{reason}")
        return found

    return Kind(read, lambda value: str(value) if value or not off else OFF, f"number{_or_off(off)}")


def switch() -> Kind:
    """On or off, in the words that people use."""

    def read(given: Given) -> bool:
        found = _SWITCHES.get(given.text.lower())
        if found is None:
            given.fail("is neither on nor off: write on or off")
        return found

    return Kind(read, lambda value: ON if value else OFF, "on, off")


def choice(options: Sequence[str], *, off: bool = False) -> Kind:
    """One of a few words; where `on` or `off` is among them, other words for it are understood.

    With `off`, None means off.
    """

    def read(given: Given) -> str | None:
        word = given.text.lower()
        if off and word == OFF:
            return None
        if word not in options and word in _SWITCHES:
            word = ON if _SWITCHES[word] else OFF
        if word not in options:
            given.fail(f"is not possible{nearest(word, options) or ':'} Write one of {', '.join(options)}")
        return word

    return Kind(read, lambda value: value or OFF, ", ".join(options) + _or_off(off))


def text(check: Callable[[Given], str], writes: str, *, off: bool = True) -> Kind:
    """A text that `check` returns as it is kept; `off` is None where a setting may be without one."""

    def read(given: Given) -> str | None:
        if off and given.text == OFF:
            return None
        return check(given)

    return Kind(read, lambda value: OFF if value is None else str(value), f"{writes}{_or_off(off)}")


def texts(check: Callable[[Given], str], writes: str) -> Kind:
    """A list of texts, each as `check` returns it, without repetitions; `off` is none."""

    def read(given: Given) -> tuple[str, ...]:
        return tuple(dict.fromkeys(check(item) for item in given.items()))

    return Kind(read, lambda value: ",".join(value) or OFF, f"list of {writes}, off")


def word(given: Given) -> str:
    """Any printable text on one line. Raises ConfigError for control characters."""
    found = given.text
    if not found or _UNPRINTABLE.search(found):
        given.fail("is empty or holds control characters: write a printable text")
    return found


def limits() -> Kind:
    """The limits of the grammar; a bad one points at its column."""

    def read(given: Given) -> tuple[Limit, ...]:
        if isinstance(given.value, list | tuple):
            return parse_limits(given.value, source=given.source)
        return parse_limits(given.raw, source=given.source)

    return Kind(read, lambda value: "; ".join(limit.text for limit in value) or OFF, "limits, off")


def one_limit() -> Kind:
    """One limit that counts requests over time."""

    def read(given: Given) -> Limit | None:
        if given.text == OFF:
            return None
        limit = parse_limit(given.raw, source=given.source)
        if limit.window is None or limit.resource != "requests":
            given.fail("counts no sessions: write requests over time, for example `60/minute per user`, or off")
        return limit

    return Kind(read, lambda value: OFF if value is None else value.text, "limit, off")


def _or_off(off: bool) -> str:  # noqa: FBT001  # private, and a word for each use would be longer
    return ", off" if off else ""


def shown_as(kind: Kind, value: Any) -> str:
    """The value as one line of a file or a page."""
    return kind.show(value).replace("\n", "\\n")
