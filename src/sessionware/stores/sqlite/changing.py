"""What the SQLite store makes, changes, moves and ends, each in one step: look, decide, then write."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import NewSession
from sessionware.core.facts import SessionGone
from sessionware.core.ids import SessionKey
from sessionware.core.session import Ended, EndReason, Link, Session, deadline
from sessionware.core.store import Created, Linked, Log, Making, Move, Moved, Unlinked
from sessionware.errors import Conflict, SessionExists, SessionNotFound, TooManySessions
from sessionware.stores.codec import pack
from sessionware.stores.sealing import Place
from sessionware.stores.sqlite import ends, links, operations, records
from sessionware.stores.sqlite.making import make, room_for, sweep_for_levels
from sessionware.stores.sqlite.rows import Record, open_payload, opened, opened_link, seal_payload, sealed_link
from sessionware.stores.sqlite.tables import Tables

_UPDATE: Final = (
    "UPDATE sessions SET idle = ?, absolute_at = ?, expires_at = ?, seen_at = ?, revision = ? WHERE hash = ?"
)
_SET_PAYLOAD: Final = "UPDATE payloads SET metadata = ?, data = ? WHERE hash = ?"
_SET_BINDINGS: Final = "UPDATE sessions SET bindings = ? WHERE hash = ?"
_APPEND: Final = "INSERT INTO logs (session, log, number, item) VALUES (?, ?, ?, ?)"
_CUT: Final = "DELETE FROM logs WHERE session = ? AND log = ? AND number <= ?"
_COUNT: Final = "INSERT INTO log_counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = excluded.count"

_created = msgspec.msgpack.Decoder(Created)
_linked = msgspec.msgpack.Decoder(Linked)


class Rebinding(Struct, frozen=True):
    """Move a binding, if it still is `was`."""

    key: SessionKey
    pool: str
    was: str | None
    to: str | None
    now: int


class Linking(Struct, frozen=True):
    """Put a link into its session."""

    link: Link
    operation: bytes
    now: int
    at_most: int


class Appending(Struct, frozen=True):
    """Add an item to a log of which the newest `keep` stay."""

    key: SessionKey
    log: Log
    item: bytes
    keep: int
    now: int


def probe(tables: Tables, _: None) -> list[Ended]:
    """Whether the store can begin and end a write transaction at all."""
    tables.execute("SELECT one FROM installation").fetchone()
    return []


def create(tables: Tables, creating: tuple[NewSession, bytes, int]) -> Created:
    """Insert if absent, within the caps."""
    new, operation, now = creating
    birth = new.session.birth
    name = operations.Name(birth.owner, "create", operation)
    kept = operations.answer(tables, name, now, kind=_created)
    if kept is not None:
        return kept
    record = records.live(tables, birth.key, now)
    if record is not None:
        is_own = record.session.birth.owner == birth.owner
        return Created(Making.EXISTS, record.session.without_payload() if is_own else None)
    swept = sweep_for_levels(tables, new, now)
    room = room_for(tables, new, now)
    if isinstance(room, str):
        return Created(Making.FULL, full=room, evicted=swept)
    _, evicted = make(tables, new, room, now)
    operations.keep(tables, name, Created(Making.CREATED, new.session), now)
    return Created(Making.CREATED, new.session, evicted=swept + evicted)


def update(tables: Tables, updating: tuple[Session, int]) -> Session:
    """Compare-and-set on the revision. Raises SessionNotFound, Conflict, PayloadUnreadable."""
    given, now = updating
    record = _wanted(records.live_with_payload(tables, given.key, now))
    stored = record.session
    _check_revision(stored, given.revision)
    metadata, data = given.metadata, given.data
    if metadata is None or data is None:
        stored_metadata, stored_data = open_payload(record, tables.sealer)
        metadata = stored_metadata if metadata is None else metadata
        data = stored_data if data is None else data
    seen_at = max(now, stored.seen_at)
    written = replace(
        stored,
        idle=given.idle,
        absolute_at=given.absolute_at,
        expires_at=deadline(seen_at, given.idle, given.absolute_at),
        seen_at=seen_at,
        revision=stored.revision + 1,
        metadata=metadata,
        data=data,
    )
    hash_ = given.key.hash
    tables.execute(
        _UPDATE, (written.idle, written.absolute_at, written.expires_at, written.seen_at, written.revision, hash_)
    )
    if given.metadata is not None or given.data is not None:
        tables.execute(_SET_PAYLOAD, (*seal_payload(written, tables.sealer), hash_))
    record.session = written
    records.file_anew(tables, record)
    return written


def rebind(tables: Tables, rebinding: Rebinding) -> str | None:
    """Move a binding; answers the one that stands. Raises SessionNotFound."""
    pool, to = rebinding.pool, rebinding.to
    record = _wanted(records.live(tables, rebinding.key, rebinding.now))
    bindings = record.session.bindings
    if bindings.get(pool) != rebinding.was:
        return bindings.get(pool)
    changed = {each: upstream for each, upstream in bindings.items() if each != pool}
    if to is not None:
        changed[pool] = to
    records.count_bindings(tables, bindings, -1)
    records.count_bindings(tables, changed, 1)
    tables.execute(_SET_BINDINGS, (pack(changed) if changed else None, rebinding.key.hash))
    return to


def link(tables: Tables, linking: Linking) -> Linked:
    """Put a link into its session. Raises SessionNotFound."""
    new, now = linking.link, linking.now
    name = operations.Name(new.owner, "link", linking.operation)
    kept = operations.answer(tables, name, now, kind=_linked)
    if kept is not None:
        return kept
    _wanted(records.live(tables, new.session, now))
    unlinked = links.add(tables, sealed_link(new, tables.sealer), linking.at_most)
    operations.keep(tables, name, Linked(new), now)
    return Linked(new, tuple([ends.closing(each, tables.sealer) for each in unlinked]))


def unlink(tables: Tables, unlinking: tuple[SessionKey, int]) -> Unlinked | None:
    """End a link, and an unnamed session with its last one."""
    key, now = unlinking
    found = links.get(tables, key)
    record = records.live(tables, found.session, now) if found is not None else None
    if found is None or record is None:
        return None
    links.remove(tables, key)
    ending = record.session.birth.name is None and not links.all_of(tables, found.session)
    ended = ends.end(tables, record, EndReason.ENDED, now) if ending else None
    return Unlinked(ends.closing(found, tables.sealer), ended)


def move(tables: Tables, moving: tuple[Move, int]) -> Moved:
    """Give a session a new birth, its payload and logs sealed for the new place.

    Raises SessionNotFound, Conflict, SessionExists, TooManySessions, PayloadUnreadable.
    """
    asked, now = moving
    record = _wanted(records.live_with_payload(tables, asked.old, now))
    stored = record.session
    _check_revision(stored, asked.revision)
    new_key = asked.birth.key
    if records.live(tables, new_key, now) is not None:
        raise SessionExists("a live session already stands under the new id")
    birth = replace(asked.birth, holds=stored.birth.holds)
    full = replace(opened(record, tables.sealer), birth=birth)
    logs = records.reseal_logs(tables, Place(asked.old, stored.birth.owner, ""), Place(new_key, birth.owner, ""))
    held = links.all_of(tables, asked.old)
    carries = birth.tag == stored.birth.tag
    unlinked = () if carries else tuple([opened_link(each, tables.sealer) for each in held])
    new = NewSession(full, replace(asked.caps, levels=()))
    room = room_for(tables, new, now, leaving=record)
    if isinstance(room, str):
        raise TooManySessions(f"the new owner already has {asked.caps.per_owner} sessions and none may be evicted")
    log_counts = tables.execute("SELECT log, count FROM log_counts WHERE session = ?", (asked.old.hash,)).fetchall()
    records.remove(tables, record, keep=("links",) if carries else ())
    ends.bury(tables, stored, EndReason.ROTATED, now)
    made, evicted = make(tables, new, room, now)
    made.counters, made.open = record.counters, record.open
    records.write_back(tables, made)
    for row in logs:
        tables.execute(_APPEND, row)
    for log, count in log_counts:
        tables.execute(_COUNT, (new_key.hash, log, count))
    if carries:
        links.carry(tables, held, new_key)
    tables.publish(SessionGone(asked.old, EndReason.ROTATED), now)
    return Moved(full, unlinked, evicted)


def delete(tables: Tables, deleting: tuple[SessionKey, EndReason, int]) -> Ended | None:
    """End a live session; exactly one of many callers gets it."""
    key, reason, now = deleting
    record = records.live_with_payload(tables, key, now)
    return ends.end(tables, record, reason, now) if record is not None else None


def append(tables: Tables, appending: Appending) -> int:
    """Add to a log; answers how many were ever added. Raises SessionNotFound."""
    key, log, keep = appending.key, appending.log.value, appending.keep
    record = _wanted(records.live(tables, key, appending.now))
    row = tables.execute("SELECT count FROM log_counts WHERE session = ? AND log = ?", (key.hash, log)).fetchone()
    count = (row[0] if row is not None else 0) + 1
    sealed = tables.sealer.seal(appending.item, place=Place(key, record.session.birth.owner, log))
    tables.execute(_COUNT, (key.hash, log, count))
    if keep:
        tables.execute(_APPEND, (key.hash, log, count, sealed))
    tables.execute(_CUT, (key.hash, log, count - keep))
    return count


def _wanted(record: Record | None) -> Record:
    if record is None:
        raise SessionNotFound("there is no live session under this key")
    return record


def _check_revision(stored: Session, revision: int) -> None:
    if stored.revision != revision:
        raise Conflict(
            f"session changed since revision {revision}, it is at {stored.revision}: read it again",
            revision=stored.revision,
        )
