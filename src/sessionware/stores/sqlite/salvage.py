"""What is done with a damaged file: everything that can be read goes into a new one, the old one is kept.

The salt, the revocations and the owners' rows must be whole: without the salt no id is known, and a lost
revocation would let a revoked token in. If they are not, the store does not start. Sessions are copied where
they can be read together with their payload; counts are logged; nothing is lost silently.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from sessionware.clock import wall_ms
from sessionware.core.ids import SALT_BYTES
from sessionware.core.windows import NEVER
from sessionware.errors import ConfigError, SessionwareError
from sessionware.stores.codec import unpack_overrides
from sessionware.stores.sqlite import migrating
from sessionware.stores.sqlite.digging import KeyRange, dig
from sessionware.stores.sqlite.files import MODE, beside, connect, create, remove_with_wal
from sessionware.stores.sqlite.heads import give_new_head
from sessionware.stores.sqlite.rows import COLUMNS, read_link, read_record

_REQUIRED: Final = ("tokens", "owners")
_OF_SESSIONS: Final = {"links": 2, "logs": 0, "log_counts": 0}  # which column names the session
_RECEIPTS_SKIPPED: Final = 1_000_000  # receipts that the damaged pages may have given out
_BROKEN: Final = (sqlite3.Error, SessionwareError, msgspec.MsgspecError, ValueError, TypeError)

_log = logging.getLogger(__name__)


def salvage(path: Path, damage: str) -> None:
    """Put a whole file in the place of a damaged one. Raises ConfigError when what is required cannot be read."""
    fresh, headed = beside(path, ".salvage"), beside(path, ".salvage-head")
    try:
        report = _salvage_into(fresh, path, headed)
        kept = _put_in_place(path, fresh)
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(
            f"session store {path} is damaged ({damage}) and cannot be copied to {fresh}: {error}; "
            "make room, or restore it from a backup"
        ) from error
    finally:
        for leftover in (fresh, headed):
            remove_with_wal(leftover)
    _log.error(
        "session store %s was damaged (%s) and was made anew from what could be read: %s; the old file is kept as %s",
        path, damage, report, kept,
    )  # fmt: skip


def _salvage_into(fresh: Path, path: Path, headed: Path) -> str:
    remove_with_wal(fresh)
    create(fresh)
    target = connect(fresh, "rw")
    source = connect(path, "rw")
    try:
        try:
            installation = _required(source, "installation", path, _check_installation)[0]
        except ConfigError as error:
            if not give_new_head(path, headed):
                raise
            source.close()
            source = connect(headed, "rw")
            try:
                installation = _required(source, "installation", path, _check_made_as_now)[0]
            except ConfigError:
                raise error from None  # a head that does not fit tells nothing
        return _copy(source, target, path, installation)
    finally:
        target.close()
        source.close()


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, path: Path, installation: tuple[Any, ...]) -> str:
    salt, buckets, counted = installation[1:4]
    migrating.create_schema(target, salt=salt, buckets=buckets)
    target.execute("BEGIN IMMEDIATE")
    for name in _REQUIRED:
        _insert(target, name, _required(source, name, path, _CHECKS[name]))
    keys, report = _copy_sessions(source, target)
    parts = [f"{len(keys)} of {counted} sessions", *report]
    for name, column in _OF_SESSIONS.items():
        rows, lost = dig(source, name, KeyRange.whole(name))
        parts.append(_insert_checked(target, name, [row for row in rows if row[column] in keys], lost))
    for name in ("orgs", "counters", "leases", "tombstones", "ended", "operations"):
        rows, lost = dig(source, name, KeyRange.whole(name))
        if name == "counters":
            rows = [row for row in rows if not row[5]]
        parts.append(_insert_checked(target, name, rows, lost))
    _keep_receipts(source, target)
    target.execute("COMMIT")
    return ", ".join(parts)


def _copy_sessions(source: sqlite3.Connection, target: sqlite3.Connection) -> tuple[set[bytes], list[str]]:
    """Copy sessions that are whole, and count anew what is counted over sessions."""
    payload_rows, _ = dig(source, "payloads", KeyRange.whole("payloads"))
    payloads = {row[0]: row for row in payload_rows}
    rows, lost = dig(source, "sessions", KeyRange.whole("sessions"))
    names = [row[1] for row in source.execute("PRAGMA table_info(sessions)")]
    order = [names.index(column.strip().removeprefix("s.")) for column in COLUMNS.split(",")]
    keys: set[bytes] = set()
    levels: Counter[bytes] = Counter()
    upstreams: Counter[tuple[str, str]] = Counter()
    broken = 0
    for row in rows:
        try:
            record = read_record(tuple([row[place] for place in order]), row[0])
            payload = payloads[row[0]]
            _insert(target, "sessions", [row])
            _insert(target, "payloads", [payload])
        except (*_BROKEN, KeyError):
            broken += 1
            continue
        keys.add(row[0])
        levels.update(record.session.birth.holds)
        upstreams.update(record.session.bindings.items())
    _insert(target, "counters", [(key, 0, used, 0, NEVER, 1) for key, used in levels.items()])
    _insert(target, "upstreams", [(*place, count) for place, count in upstreams.items()])
    target.execute("UPDATE installation SET sessions = ?", (len(keys),))
    return keys, [f"{broken} sessions without a readable payload", f"{lost} damaged places among the sessions"]


def _required(
    source: sqlite3.Connection, name: str, path: Path, check: Callable[[tuple[Any, ...]], None]
) -> list[tuple[Any, ...]]:
    """All rows of a table that must be whole."""
    try:
        rows = source.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608  # our own table names
        for row in rows:
            check(row)
        if name == "installation" and len(rows) != 1:
            raise ValueError("its one row is gone")
    except _BROKEN as error:
        raise ConfigError(
            f"session store {path} is damaged where it must be whole ({name}: {error}): restore it from a backup; "
            "or move it away to begin anew, which forgets all sessions and REVOCATIONS"
        ) from error
    return rows


def _check_installation(row: tuple[Any, ...]) -> None:
    if len(row[1]) != SALT_BYTES or not isinstance(row[2], int) or not isinstance(row[3], int):
        raise ValueError("the salt is not one of ours")


def _check_made_as_now(row: tuple[Any, ...]) -> None:
    """A new head says where the tables of our own version begin: it fits no file of another one."""
    _check_installation(row)
    if row[4] != migrating.VERSION:
        raise ValueError(f"it was made as version {row[4]}")


def _check_token(row: tuple[Any, ...]) -> None:
    if not isinstance(row[0], bytes) or not isinstance(row[1], int):
        raise TypeError("a revocation is not one of ours")


def _check_owner(row: tuple[Any, ...]) -> None:
    if not isinstance(row[0], bytes) or not isinstance(row[1], int):
        raise TypeError("an owner's row is not one of ours")
    unpack_overrides(row[2])


_CHECKS: Final = {"tokens": _check_token, "owners": _check_owner}


def _insert(target: sqlite3.Connection, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
    for row in rows:
        marks = ", ".join("?" * len(row))
        target.execute(f"INSERT INTO {name} VALUES ({marks})", row)  # noqa: S608  # our own table names


def _insert_checked(target: sqlite3.Connection, name: str, rows: list[tuple[Any, ...]], lost: int) -> str:
    """Insert what fits the schema; says what became of the table."""
    copied = 0
    for row in rows:
        try:
            if name == "links":
                read_link(row[4], row[3], row[5])
            _insert(target, name, [row])
        except _BROKEN:
            continue
        copied += 1
    unfit = f", {len(rows) - copied} unfit" if copied < len(rows) else ""
    damaged = f", {lost} damaged places" if lost else ""
    return f"{copied} {name}{unfit}{damaged}"


def _keep_receipts(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """No receipt may ever be given out twice."""
    try:
        used = dict(source.execute("SELECT name, seq FROM sqlite_sequence").fetchall()).get("ended", 0)
    except sqlite3.Error:
        used = _RECEIPTS_SKIPPED
    newest = target.execute("SELECT coalesce(max(id), 0) FROM ended").fetchone()[0]
    target.execute("DELETE FROM sqlite_sequence WHERE name = 'ended'")
    target.execute("INSERT INTO sqlite_sequence VALUES ('ended', ?)", (max(used, newest) + _RECEIPTS_SKIPPED,))


def _put_in_place(path: Path, fresh: Path) -> Path:
    """Swap the files; at every instant the path leads to one of them, and no old WAL can reach the new file."""
    stamp = wall_ms() // 1000
    kept = beside(path, f".corrupt-{stamp}")
    while kept.exists():
        stamp += 1
        kept = beside(path, f".corrupt-{stamp}")
    os.link(path, kept)
    kept.chmod(MODE)
    wal = beside(path, "-wal")
    if wal.exists():
        wal.rename(beside(kept, "-wal"))
    beside(path, "-shm").unlink(missing_ok=True)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return kept
