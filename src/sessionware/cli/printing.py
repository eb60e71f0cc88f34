"""The only place that lays out what commands print: nothing in others' words moves the cursor or begins a line."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sessionware.core.times import moment

Row = Sequence[str]


def printable(text: str) -> str:
    """Somebody's words on a line of ours."""
    return "".join(character if character.isprintable() else " " for character in text)


def table(head: Row, rows: Sequence[Row]) -> str:
    """Columns as wide as they must be; the last one ends where it ends."""
    lines = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def instant(ms: int) -> str:
    """To the second, in UTC, as one reads it aloud."""
    at = moment(ms)
    return "never" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def print_json(value: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(value)).decode())
