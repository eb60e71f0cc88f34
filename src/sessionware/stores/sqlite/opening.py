"""How the file is opened: locked, checked, salvaged if damaged, migrated, and agreed on the salt."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from sessionware.core.ids import SALT_BYTES, Addresses
from sessionware.errors import ConfigError
from sessionware.stores.sqlite import migrating
from sessionware.stores.sqlite.faults import is_damage
from sessionware.stores.sqlite.files import FileLock, beside, check_path, connect, create, tighten
from sessionware.stores.sqlite.salvage import salvage

BUCKETS: Final = 1  # one file is one partition; the count is stored so that another one is noticed
OPEN_WAIT_MS: Final = 5_000  # another process that commits while we open
CACHE_KIB: Final = 16_384

Synchronous = Literal["normal", "full"]


class Opened(Struct):
    """A file that is ready, and the lock that says so to other processes."""

    lock: FileLock
    connection: sqlite3.Connection
    addresses: Addresses


def open_file(path: Path, *, synchronous: Synchronous, stop: threading.Event, salt: bytes | None = None) -> Opened:
    """Open the store's file, making it (with this salt, else a new one) if there is none. Raises ConfigError."""
    check_path(path)
    lock = FileLock(path)
    try:
        is_alone = lock.take(stop)
        connection = _ready(path, is_alone=is_alone, salt=salt)
        try:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            addresses = _addresses(connection, path)
            if is_alone:
                lock.share(stop)
            connection.execute("PRAGMA busy_timeout = 0")  # the writer waits for its turn itself
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        lock.close()
        raise ConfigError(f"session store {path} cannot be opened: {error}") from error
    except BaseException:
        lock.close()
        raise
    return Opened(lock, connection, addresses)


def _ready(path: Path, *, is_alone: bool, salt: bytes | None) -> sqlite3.Connection:
    """A connection to a file that is whole and of our version."""
    if not path.exists():
        _check_may_create(path, is_alone=is_alone)
        create(path)
    connection = _connect(path)
    try:
        damage = _damage(connection, path)
    except BaseException:
        connection.close()
        raise
    if damage is not None:
        connection.close()
        if not is_alone:
            raise ConfigError(
                f"session store {path} is damaged ({damage}) and other processes use it: "
                "stop them all and start again, the start repairs what it can"
            )
        salvage(path, damage)
        connection = _connect(path)
    try:
        tighten(path)  # now that it is known to be ours
        _bring_up(connection, path, is_alone=is_alone, salt=salt)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_may_create(path: Path, *, is_alone: bool) -> None:
    if not is_alone:
        raise ConfigError(f"session store {path} was removed while other processes use it: stop them and start again")
    if beside(path, "-wal").exists():
        raise ConfigError(
            f"session store {path} is missing but its -wal is there: bring the file back, or remove that to begin anew"
        )


def _connect(path: Path) -> sqlite3.Connection:
    connection = connect(path, "rw")
    connection.execute(f"PRAGMA busy_timeout = {OPEN_WAIT_MS}")
    return connection


def _damage(connection: sqlite3.Connection, path: Path) -> str | None:
    """What SQLite finds wrong with the file; None when it is whole. Raises ConfigError for another program's."""
    try:
        migrating.check_version(migrating.version_of(connection, path), path)
        findings = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return str(error)
    return None if findings == ["ok"] else str(findings[0]).replace("\n", " ")


def _bring_up(connection: sqlite3.Connection, path: Path, *, is_alone: bool, salt: bytes | None) -> None:
    version = migrating.version_of(connection, path)
    if version != migrating.VERSION and not is_alone:
        raise ConfigError(
            f"session store {path} has schema version {version}, this program needs {migrating.VERSION}, "
            "and other processes use it: stop them all and start again"
        )
    if version == 0:
        migrating.create_schema(connection, salt=salt or secrets.token_bytes(SALT_BYTES), buckets=BUCKETS)
    else:
        migrating.migrate(connection, path)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise ConfigError(f"session store {path}: this file system cannot hold a WAL (it stays at '{mode}')")


def _addresses(connection: sqlite3.Connection, path: Path) -> Addresses:
    """The salt and the bucket count, as they were written when the file was made."""
    row = connection.execute("SELECT salt, buckets FROM installation").fetchone()
    if row is None:
        raise ConfigError(f"session store {path} has lost its salt, without which no id is known: restore the file")
    salt, buckets = row
    if buckets != BUCKETS:
        raise ConfigError(f"session store {path} was made with {buckets} buckets, this program uses {BUCKETS}")
    if len(salt) != SALT_BYTES:
        raise ConfigError(f"session store {path}: its salt has {len(salt)} bytes, not {SALT_BYTES}: restore the file")
    return Addresses(salt, buckets)
