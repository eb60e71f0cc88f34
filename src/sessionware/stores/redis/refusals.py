"""The only place that reads what a server refused with."""

from __future__ import annotations

from typing import Final

# Said to a script at its first write, if at all: nothing of it was written.
NOTHING_WRITTEN: Final = ("OOM", "MISCONF", "NOREPLICAS", "READONLY")
_QUOTED: Final = ", with args beginning with"  # behind it an unknown command is quoted: AUTH with its password


def says(refusal: object, *words: str) -> bool:
    """Whether it is one of these refusals.

    Redis 6 wraps what a command in a script was refused with: `ERR Error running script …: -READONLY …`.
    """
    text = str(refusal)
    return text.startswith(words) or any(f"-{word} " in text for word in words)


def shown(refusal: object) -> str:
    """The refusal without the arguments that it may quote."""
    return str(refusal).partition(_QUOTED)[0]
