"""The only place that says what an SQLite error means, and what to do about it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from sessionware.errors import StoreUnavailable

_PRIMARY: Final = 0xFF  # the low byte of an extended result code
DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_WAYS_OUT: Final = {
    sqlite3.SQLITE_FULL: "there is no room left: free disk space or raise max_pages (expired sessions still go)",
    sqlite3.SQLITE_BUSY: "another process has held its lock for too long: look for a stopped or very busy one",
    sqlite3.SQLITE_LOCKED: "another connection holds its lock: look for a tool that has the file open",
    sqlite3.SQLITE_IOERR: "the disk failed: look at the system log, then restart",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: stop all processes and start again, the start repairs what it can",
    sqlite3.SQLITE_NOTADB: "the file was overwritten: stop all processes and restore it",
    sqlite3.SQLITE_READONLY: "the file has become read-only: make it and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "the file or its -wal cannot be opened: check the folder, its rights and open files",
}


def primary_code(error: BaseException) -> int:
    """SQLite's primary result code; SQLITE_ERROR for anything that has none."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & _PRIMARY if isinstance(code, int) else sqlite3.SQLITE_ERROR


def is_full(error: BaseException) -> bool:
    return primary_code(error) == sqlite3.SQLITE_FULL


def is_busy(error: BaseException) -> bool:
    return primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_damage(error: BaseException) -> bool:
    return primary_code(error) in DAMAGED


def moved(path: Path) -> StoreUnavailable:
    """What callers are told when the path leads to another file than the one that is open, or to none."""
    return StoreUnavailable(f"session store {path} was moved or replaced while in use: restart on the right file")


def unavailable(error: sqlite3.Error, path: Path) -> StoreUnavailable:
    """What callers are told: the file, SQLite's own words and the way out."""
    name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
    way_out = _WAYS_OUT.get(primary_code(error), "see the log")
    fault = StoreUnavailable(f"session store {path}: {error} ({name}); {way_out}")
    fault.__cause__ = error
    return fault
