"""The only place that replaces a destroyed first page: the header, and the list of where each table begins.

A file that our schema.sql has made has its tables at the same pages as any other one, so a copy of the damaged
file can borrow the first page of an empty one. Whether it fits is for the reader to check.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sessionware.core.ids import SALT_BYTES
from sessionware.stores.sqlite import migrating
from sessionware.stores.sqlite.files import MODE, beside, connect, create, remove_with_wal

_CHANGES = slice(24, 28)  # SQLite file format 1.3: the change counter ...
_PAGES = slice(28, 32)  # ... how many pages the file has ...
_FREE = slice(32, 40)  # ... its list of free pages, which are not needed for reading ...
_VALID_FOR = slice(92, 96)  # ... and for which change counter the number of pages is right


def give_new_head(path: Path, copy: Path) -> bool:
    """Make a copy of a database, and of its WAL, that begins as an empty one would. False when it is too short."""
    pages = path.stat().st_size // migrating.PAGE
    if pages <= 1:
        return False
    remove_with_wal(copy)
    create(copy)
    head = bytearray(_first_page(copy))
    head[_CHANGES] = head[_VALID_FOR]
    head[_PAGES] = pages.to_bytes(4, "big")
    head[_FREE] = bytes(8)
    shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        file.write(head)
    wal = beside(path, "-wal")
    if wal.exists():
        shutil.copyfile(wal, beside(copy, "-wal"))
        beside(copy, "-wal").chmod(MODE)
    return True


def _first_page(path: Path) -> bytes:
    """The first page of a store that was just made at `path`."""
    connection = connect(path, "rw")
    try:
        migrating.create_schema(connection, salt=bytes(SALT_BYTES), buckets=1)
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()  # writes the WAL back
    return path.read_bytes()[: migrating.PAGE]
