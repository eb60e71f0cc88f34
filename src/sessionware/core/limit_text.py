"""The only place that points at a character of a limit and teaches: every refusal has a column and a way out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final, NoReturn

from msgspec import Struct

from sessionware.errors import ConfigError

SHOWN_MAX: Final = 100  # characters of a limit that an error shows around its column
_BLANK: Final = re.compile(r"\s*")
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]|[\u2028\u2029\ud800-\udfff]")


class Place(Struct, frozen=True):
    """Where a limit's text stands: in which setting, in which line of it (0: it has one), after how many columns."""

    source: str
    line: int = 0
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}" if self.line else self.source


class Cursor:
    """A position in the text of one limit. `label` is what errors call the limit."""

    __slots__ = ("label", "place", "position", "text")

    def __init__(self, text: str, place: Place) -> None:
        self.text = text
        self.place = place
        self.position = _after_blanks(text, 0)
        self.label = _shown(text.strip(), 0)[0]

    @property
    def is_at_end(self) -> bool:
        return self.position >= len(self.text)

    def peek(self, pattern: re.Pattern[str]) -> str:
        """What `pattern` matches here, or nothing."""
        found = pattern.match(self.text, self.position)
        return found.group() if found else ""

    def take(self, pattern: re.Pattern[str]) -> str:
        """Consume what `pattern` matches here, and the blanks after it."""
        taken = self.peek(pattern)
        if taken:
            self.position = _after_blanks(self.text, self.position + len(taken))
        return taken

    def fail(self, problem: str, *, at: int | None = None) -> NoReturn:
        """Raise ConfigError: the limit, the problem, the place, and the text with a caret under the column."""
        column = self.position if at is None else at
        column = min(column, len(self.text.rstrip()))
        shown, caret = _shown(self.text, column)
        raise ConfigError(
            f"limit '{self.label}': {problem} ({self.place}, column {self.place.offset + column + 1})\n"
            f"  {shown}\n  {' ' * caret}^"
        )


def nearest(word: str, known: Iterable[str], *, synonyms: dict[str, str] | None = None) -> str:
    """A phrase that names what was probably meant, or nothing."""
    options = list(known)
    meant = (synonyms or {}).get(word.lower())
    if meant is None:
        folded = {option.lower(): option for option in reversed(options)}
        close = difflib.get_close_matches(word.lower()[:SHOWN_MAX], folded, n=1, cutoff=0.6)
        meant = folded[close[0]] if close else None
    return f": did you mean `{meant}`?" if meant else ""


def quoted(word: str) -> str:
    """A word of the text as an error may show it: printable and short."""
    clean = _UNPRINTABLE.sub("?", word)
    return f"`{clean[:SHOWN_MAX]}…`" if len(clean) > SHOWN_MAX else f"`{clean}`"


def _shown(text: str, column: int) -> tuple[str, int]:
    """At most SHOWN_MAX characters of the text around a column, and the column among them."""
    start = max(0, min(column - SHOWN_MAX // 2, len(text) - SHOWN_MAX))
    return _UNPRINTABLE.sub(" ", text[start : start + SHOWN_MAX]), column - start


def _after_blanks(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found else position
