"""The only place that reads around damaged pages: by halves, until what cannot be read is small."""

from __future__ import annotations

import sqlite3
from typing import Any, Final, Self

from msgspec import Struct

READS_MAX: Final = 50_000  # failing reads of one table: a damaged inner page would ask for millions
_PREFIX: Final = 8  # keys are hashes: their first bytes tell them apart
_KEYS: Final = {
    "sessions": "hash", "counters": "key", "leases": "key", "tombstones": "hash", "operations": "rowid",
    "payloads": "rowid", "links": "rowid", "logs": "rowid", "log_counts": "session", "orgs": "org", "ended": "rowid",
}  # fmt: skip


class KeyRange(Struct, frozen=True):
    """Keys from `low` up to, but without, `high`: of bytes their first eight, read as a number."""

    column: str
    low: int
    high: int

    @classmethod
    def whole(cls, table: str) -> Self:
        column = _KEYS[table]
        return cls(column, 0, 1 << 63) if column == "rowid" else cls(column, 0, 1 << 64)

    def halves(self) -> tuple[Self, Self] | None:
        """Both halves; None when there is nothing left to divide."""
        if self.high - self.low < 2:  # noqa: PLR2004  # one key
            return None
        middle = (self.low + self.high) // 2
        return type(self)(self.column, self.low, middle), type(self)(self.column, middle, self.high)

    def bounds(self) -> tuple[Any, Any]:
        if self.column == "rowid":
            return self.low, min(self.high, (1 << 63) - 1)
        low = self.low.to_bytes(_PREFIX, "big") if self.low else b""
        high = self.high.to_bytes(_PREFIX, "big") if self.high < 1 << 64 else b"\xff" * 64
        return low, high


def dig(source: sqlite3.Connection, table: str, keys: KeyRange) -> tuple[list[tuple[Any, ...]], int]:
    """All rows of a table that can be read, and how many places could not be."""
    found: dict[tuple[Any, ...], None] = {}
    waiting = [_narrowed(source, table, keys)]
    lost = failed = 0
    while waiting:
        part = waiting.pop()
        try:
            _read(source, table, part, found)
        except sqlite3.Error:
            failed += 1
            halves = part.halves()
            if halves is None or failed > READS_MAX:
                lost += 1
            else:
                waiting.extend(halves)
    return list(found), lost


def _read(source: sqlite3.Connection, table: str, keys: KeyRange, found: dict[tuple[Any, ...], None]) -> None:
    """Add the rows of one range; what comes before a damaged page is kept, too."""
    statement = f"SELECT * FROM {table} WHERE {keys.column} >= ? AND {keys.column} < ?"  # noqa: S608  # our own names
    for row in source.execute(statement, keys.bounds()):
        found[row] = None


def _narrowed(source: sqlite3.Connection, table: str, keys: KeyRange) -> KeyRange:
    """Row numbers are dense: their range ends where the table does."""
    if keys.column != "rowid":
        return keys
    try:
        newest = source.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0]  # noqa: S608  # our own names
    except sqlite3.Error:
        return keys
    return KeyRange("rowid", 0, (newest or 0) + 1)
