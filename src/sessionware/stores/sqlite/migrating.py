"""The only place that makes the schema and brings an older file up to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from sessionware.errors import ConfigError

APPLICATION_ID: Final = 0x53_57_41_52  # "SWAR": what tells our files from other programs' databases
VERSION: Final = 1
PAGE: Final = 4096  # bytes; SQLite's default, which a distribution may change
STEPS: Final[Mapping[int, str]] = {}  # from version -> the .sql file that leads to the next one


def script(name: str) -> str:
    """The text of one of our .sql files."""
    return (files("sessionware.stores.sqlite") / name).read_text("utf-8")


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of a file, 0 for an empty one. Raises ConfigError for another program's database."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if application == APPLICATION_ID:
        return version
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if application or version or tables:
        raise ConfigError(f"session store {path} is a database of another program: name another file")
    return 0


def create_schema(connection: sqlite3.Connection, *, salt: bytes, buckets: int) -> None:
    """Make all tables in an empty file, and give it its salt, in one transaction."""
    connection.execute(f"PRAGMA page_size = {PAGE}")
    born = f"INSERT INTO installation VALUES (1, X'{salt.hex()}', {buckets:d}, 0, {VERSION})"  # noqa: S608  # hexadecimal and a number
    _run(connection, f"PRAGMA application_id = {APPLICATION_ID}; {script('schema.sql')}; {born}", VERSION)


def migrate(
    connection: sqlite3.Connection, path: Path, *, steps: Mapping[int, str] | None = None, to: int = VERSION
) -> None:
    """Bring the file to version `to`, one transaction per step; `steps` maps a version to the SQL that leaves it.

    Raises ConfigError when the file is newer than this program.
    """
    if steps is None:
        steps = {version: script(name) for version, name in STEPS.items()}
    version = version_of(connection, path)
    check_version(version, path, known=to)
    for step in range(version, to):
        _run(connection, steps[step], step + 1)


def check_version(version: int, path: Path, *, known: int = VERSION) -> None:
    """Raises ConfigError for a file from the future."""
    if version > known:
        raise ConfigError(
            f"session store {path} has schema version {version}, this program knows up to {known}: "
            "upgrade sessionware, or name another file"
        )


def _run(connection: sqlite3.Connection, statements: str, version: int) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {statements}; PRAGMA user_version = {version}; COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
