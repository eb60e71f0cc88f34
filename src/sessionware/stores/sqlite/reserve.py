"""The only place that keeps room for the work that makes room.

On a full disk SQLite cannot even delete. So a reserve lies beside the store: with `max_pages` a few pages more
than that, on disk a file that is given up when sessions must be removed, and made again when there is room.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sessionware.stores.sqlite.files import MODE, beside
from sessionware.stores.sqlite.migrating import PAGE

RESERVE_PAGES: Final = 256  # beyond max_pages, for calls that remove sessions
RESERVE_MAX: Final = 10 << 20  # a WAL of 2000 pages written back, and one call's worth of new ones
RESERVE_PART: Final = 8  # but never more than an eighth of a small disk
RESERVE_MIN: Final = 64 << 10
WAL_PAGES_MAX: Final = 2000  # written back half as often as by SQLite's default: 10 % less CPU per admission

_log = logging.getLogger(__name__)


class Reserve:
    """A file whose only content is room, and the page limit of one connection."""

    def __init__(self, path: Path, *, max_pages: int | None) -> None:
        self._file = beside(path, "-reserve")
        self._max_pages = max_pages
        disk = os.statvfs(path.parent)
        self._size = max(min(RESERVE_MAX, disk.f_blocks * disk.f_frsize // RESERVE_PART), RESERVE_MIN)
        self._is_given_up = True

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Make the reserve, and have the WAL written back before it could outgrow it."""
        pages = min(WAL_PAGES_MAX, self._size // PAGE * 3 // 4)
        connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        if self._max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {self._max_pages:d}")
        self._is_given_up = True
        self.restore()

    def restore(self) -> None:
        """Make the reserve again if it was given up and there is room beside it by now."""
        if not self._is_given_up:
            return
        disk = os.statvfs(self._file.parent)
        if self._file.exists():
            self._is_given_up = False
        elif disk.f_bavail * disk.f_frsize >= 2 * self._size:
            self._is_given_up = not self._make()

    def empty_wal(self, connection: sqlite3.Connection) -> None:
        """Write the WAL back and cut it: on a full disk that is often room enough."""
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            _log.warning("session store: the WAL cannot be written back: %s", error)

    @contextmanager
    def opened(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Give the reserve up for one call that removes something."""
        if not self._is_given_up:
            _log.error("session store: no room left, %s is given up so that sessions can be removed", self._file)
        self._file.unlink(missing_ok=True)
        self._is_given_up = True
        self.empty_wal(connection)
        if self._max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {self._max_pages + RESERVE_PAGES:d}")
        try:
            yield
        finally:
            self.empty_wal(connection)
            if self._max_pages is not None:  # SQLite keeps it at what the file has by now
                connection.execute(f"PRAGMA max_page_count = {self._max_pages:d}")

    def _make(self) -> bool:
        try:
            file = os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, MODE)
        except FileExistsError:
            return True
        except OSError:
            return False
        try:
            os.posix_fallocate(file, 0, self._size)
        except OSError:
            self._file.unlink(missing_ok=True)
            return False
        finally:
            os.close(file)
        return True
