"""The only place that finds, makes, changes and removes session rows and what hangs on them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from sessionware.core.admission import VICTIM_SCAN
from sessionware.core.ids import SessionKey
from sessionware.core.rules import index_lags
from sessionware.core.session import Session
from sessionware.errors import PayloadUnreadable
from sessionware.stores.codec import pack, unpack_bindings, unpack_birth
from sessionware.stores.sealing import Place
from sessionware.stores.sqlite.rows import COLUMNS, Record, Row, changing, read_record, seal_payload
from sessionware.stores.sqlite.tables import Tables

_FIND: Final = f"SELECT {COLUMNS} FROM sessions s WHERE s.hash = ?"  # noqa: S608  # constants only
_FIND_WITH_PAYLOAD: Final = (
    f"SELECT {COLUMNS}, p.metadata, p.data FROM sessions s "  # noqa: S608
    "LEFT JOIN payloads p ON p.hash = s.hash WHERE s.hash = ?"
)
_BY_OWNER: Final = f"SELECT {COLUMNS}, s.hash FROM sessions s WHERE s.owner = ? ORDER BY s.created_at, s.hash LIMIT ?"  # noqa: S608
_BY_TOKEN: Final = (
    f"SELECT {COLUMNS}, s.hash FROM sessions s WHERE s.started_by = ? AND s.expires_at > ? "  # noqa: S608
    "ORDER BY s.created_at, s.hash"
)
_MADE_BEFORE: Final = (
    f"SELECT {COLUMNS}, s.hash FROM sessions s "  # noqa: S608
    "WHERE s.owner = ? AND s.created_at <= ? AND s.expires_at > ? ORDER BY s.created_at, s.hash"
)
_DUE: Final = (
    f"SELECT {COLUMNS}, s.hash FROM sessions s WHERE s.indexed_at <= ? "  # noqa: S608
    "ORDER BY s.indexed_at, s.hash LIMIT ?"
)
_INSERT: Final = "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_WRITE_BACK: Final = (
    "UPDATE sessions SET expires_at = ?, seen_at = ?, hits = ?, counters = ?, open = ?, bindings = ? WHERE hash = ?"
)
_COUNT_BINDING: Final = (
    "INSERT INTO upstreams VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET sessions = sessions + excluded.sessions"
)
_HANGING_ON: Final = {
    "payloads": "DELETE FROM payloads WHERE hash = ?",
    "links": "DELETE FROM links WHERE session = ?",
    "logs": "DELETE FROM logs WHERE session = ?",
    "log_counts": "DELETE FROM log_counts WHERE session = ?",
}
_EXPIRES_AT: Final = 3  # its place among COLUMNS

Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


class Discarded(Struct, frozen=True):
    """What is known of a session whose row could not be read."""

    owner: bytes
    holds: tuple[bytes, ...]


def find(tables: Tables, key: SessionKey) -> Record | None:
    """The record under a key, live or not, without its payload."""
    row = tables.execute(_FIND, (key.hash,)).fetchone()
    return read_record(row, key.hash) if row is not None else None


def find_with_payload(tables: Tables, key: SessionKey) -> Record | None:
    row = tables.execute(_FIND_WITH_PAYLOAD, (key.hash,)).fetchone()
    return read_record(row, key.hash, sealed=sealed_of(row)) if row is not None else None


def sealed_of(row: Row) -> tuple[bytes, bytes] | None:
    """The payload at the end of a joined row."""
    return (row[-2], row[-1]) if row[-1] is not None else None


def live(tables: Tables, key: SessionKey, now: int) -> Record | None:
    record = find(tables, key)
    return record if record is not None and now < record.session.expires_at else None


def live_with_payload(tables: Tables, key: SessionKey, now: int) -> Record | None:
    record = find_with_payload(tables, key)
    return record if record is not None and now < record.session.expires_at else None


def insert(tables: Tables, session: Session) -> Record:
    """Put a new session into the table; `put_open_and_counters` follows where there are any."""
    birth = session.birth
    sealed = seal_payload(session, tables.sealer)
    tables.execute(
        _INSERT,
        (
            birth.key.hash, session.expires_at, session.seen_at, session.hits, session.idle, session.absolute_at,
            session.revision, birth.owner, pack(birth), None, None,
            pack(session.limits) if session.limits else None,
            pack(session.bindings) if session.bindings else None,
            birth.created_at, birth.started_by or None, session.expires_at,
        ),
    )  # fmt: skip
    tables.execute("INSERT OR REPLACE INTO payloads VALUES (?, ?, ?)", (birth.key.hash, *sealed))
    tables.execute("UPDATE installation SET sessions = sessions + 1")
    count_bindings(tables, session.bindings, 1)
    return Record(session.without_payload(), indexed_at=session.expires_at, sealed=sealed)


def remove(tables: Tables, record: Record, *, keep: Sequence[str] = ()) -> None:
    """Take a session out, with all that hangs on it but what is kept."""
    _take_out(tables, record.session.birth.key.hash, record.session.bindings, keep)


def _take_out(tables: Tables, hash_: bytes, bindings: Mapping[str, str], keep: Sequence[str] = ()) -> None:
    tables.execute("DELETE FROM sessions WHERE hash = ?", (hash_,))
    for name, statement in _HANGING_ON.items():
        if name not in keep:
            tables.execute(statement, (hash_,))
    tables.execute("UPDATE installation SET sessions = sessions - 1")
    count_bindings(tables, bindings, -1)


def write_back(tables: Tables, record: Record) -> None:
    """Write what an admission may change; the expiry index follows lazily."""
    hash_ = record.session.birth.key.hash
    tables.execute(_WRITE_BACK, (*changing(record), hash_))
    file_anew(tables, record)


def file_anew(tables: Tables, record: Record) -> None:
    """Move the expiry index when it lags too far."""
    if index_lags(record.session, record.indexed_at):
        refile(tables, record)


def refile(tables: Tables, record: Record) -> None:
    record.indexed_at = record.session.expires_at
    _file_at(tables, record.session.birth.key.hash, record.indexed_at)


def _file_at(tables: Tables, hash_: bytes, expires_at: int) -> None:
    tables.execute("UPDATE sessions SET indexed_at = ? WHERE hash = ?", (expires_at, hash_))


def count_bindings(tables: Tables, bindings: Mapping[str, str], change: int) -> None:
    """Keep the number of sessions per upstream; one that has none any more is dropped."""
    for place in bindings.items():
        tables.execute(_COUNT_BINDING, (*place, change))
        if change < 0:
            tables.execute("DELETE FROM upstreams WHERE pool = ? AND upstream = ? AND sessions <= 0", place)


def owned_count(tables: Tables, owner: bytes) -> int:
    return _number(tables.execute("SELECT count(*) FROM sessions WHERE owner = ?", (owner,)).fetchone())


def oldest_owned(tables: Tables, owner: bytes) -> list[Record]:
    """The oldest records of an owner, as many as one call may look at."""
    return list(readable(tables.execute(_BY_OWNER, (owner, VICTIM_SCAN)).fetchall()))


def made_before(tables: Tables, owner: bytes, instant: int, now: int) -> list[Record]:
    """An owner's live sessions that were made at or before an instant, oldest first."""
    return list(readable(tables.execute(_MADE_BEFORE, (owner, instant, now)).fetchall()))


def started_by(tables: Tables, token: bytes, now: int) -> list[Record]:
    """The live sessions that a token started, oldest first."""
    return list(readable(tables.execute(_BY_TOKEN, (token, now)).fetchall()))


def due(tables: Tables, now: int, limit: int) -> tuple[list[Record], list[bytes]]:
    """Records whose time has come, and the hashes of such rows that cannot be read.

    Those that were touched since they were filed are filed anew.
    """
    found: dict[bytes, Record] = {}
    lost: set[bytes] = set()
    while len(found) < limit:
        rows = tables.execute(_DUE, (now, limit)).fetchall()
        fresh = [row for row in rows if row[-1] not in found and row[-1] not in lost]
        for row in fresh:
            hash_, expires_at = row[-1], row[_EXPIRES_AT]
            if isinstance(expires_at, int) and expires_at > now:
                _file_at(tables, hash_, expires_at)
                continue
            try:
                found[hash_] = read_record(row, hash_)
            except PayloadUnreadable:
                lost.add(hash_)
        if len(rows) < limit or not fresh:
            break
    return list(found.values())[:limit], list(lost)


def discard(tables: Tables, hash_: bytes) -> Discarded:
    """Take out a row that cannot be read, with all that hangs on it; answers what could still be read of it."""
    owner, packed_birth, packed_bindings = tables.execute(
        "SELECT owner, birth, bindings FROM sessions WHERE hash = ?", (hash_,)
    ).fetchone()
    holds = _or_none(lambda: unpack_birth(packed_birth).holds)
    bindings = _or_none(lambda: unpack_bindings(packed_bindings))
    _take_out(tables, hash_, bindings or {})
    return Discarded(owner if isinstance(owner, bytes) else b"", holds or ())


def reseal_logs(tables: Tables, old: Place, new: Place) -> list[Row]:
    """The log rows of one session as they will lie under another; raises before anything is written."""
    rows = tables.execute(
        "SELECT log, number, item FROM logs WHERE session = ? ORDER BY log, number", (old.key.hash,)
    ).fetchall()
    sealer = tables.sealer
    moved = []
    for log, number, item in rows:
        plain = sealer.open(item, place=Place(old.key, old.owner, log))
        moved.append((new.key.hash, log, number, sealer.seal(plain, place=Place(new.key, new.owner, log))))
    return moved


def readable(rows: Iterable[Row]) -> Iterator[Record]:
    """The records of rows that end with their hash; one that cannot be read is logged and hides no other."""
    for row in rows:
        try:
            yield read_record(row, row[-1])
        except PayloadUnreadable as error:
            _log.error("session store: a session is left out: %s", error)  # a known condition


def _or_none(read: Callable[[], Answer]) -> Answer | None:
    try:
        return read()
    except (msgspec.MsgspecError, ValueError, TypeError):
        return None


def _number(row: Any) -> int:
    return int(row[0])
