"""The only place that knows how a value comes in, as text or as Python's own, and how a refusal shows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import PurePath
from typing import Any, Final, NoReturn

from msgspec import Struct

from sessionware.config.settings import without_password
from sessionware.errors import ConfigError

OFF: Final = "off"
ON: Final = "on"
SHOWN_MAX: Final = 100  # characters of a value that an error shows
INTEGER_MAX: Final = 10**18  # nothing here is counted beyond, and Python refuses to print integers without end


class Given(Struct, frozen=True):
    """One value as it was given. `source` is its name as the user wrote it: `SESSIONWARE_STORE`, `--store`, `store`."""

    value: Any
    source: str
    is_secret: bool = False

    @property
    def raw(self) -> str:
        """The value as text, blanks and all. Raises ConfigError for what has no text: a list, a table, an object."""
        match self.value:
            case str():
                return self.value
            case bool():
                return ON if self.value else OFF
            case timedelta():
                return f"{self.value // timedelta(milliseconds=1)}ms"
            case int() if abs(self.value) >= INTEGER_MAX:
                return self.fail("is beyond all bounds")
            case int() | float() | PurePath():
                return str(self.value)
            case _:
                return self.fail("must be a text or a number")

    @property
    def text(self) -> str:
        return self.raw.strip()

    @property
    def is_empty(self) -> bool:
        """Whether this is as good as not set: nothing, None, or blanks."""
        return self.value is None or (isinstance(self.value, str) and not self.value.strip())

    def items(self) -> list[Given]:
        """The parts of a list: separated by commas, or Python's own. `off` alone is the empty list."""
        if isinstance(self.value, list | tuple | set | frozenset):
            # A set has no order of its own; the same settings must read the same in every worker.
            values = sorted(self.value, key=str) if isinstance(self.value, set | frozenset) else self.value
            given = [
                Given(value, f"{self.source}, item {number}", self.is_secret) for number, value in enumerate(values, 1)
            ]
        else:
            given = [Given(part, self.source, self.is_secret) for part in self.raw.split(",")]
        given = [each for each in given if not each.is_empty]
        return [] if len(given) == 1 and given[0].value in (OFF, False) else given

    def fail(self, problem: str) -> NoReturn:
        """Raise ConfigError: the source, the value (never a secret's), the problem and the way out."""
        shown = "" if self.is_secret else f": {_shown(self.value)}"
        raise ConfigError(f"{self.source}{shown} {problem}")


class Kind(Struct, frozen=True):
    """What a setting holds: how it is read, how it is shown again, and what one may write, in words."""

    read: Callable[[Given], Any]
    show: Callable[[Any], str]
    writes: str


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) >= INTEGER_MAX:
        return "this number"
    shown = repr(without_password(value) if isinstance(value, str) else value)
    return f"{shown[:SHOWN_MAX]}…" if len(shown) > SHOWN_MAX else shown
