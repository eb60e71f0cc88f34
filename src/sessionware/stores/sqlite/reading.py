"""What the SQLite store answers without writing: a second thread, so that a long listing holds nobody up."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.facts import Event
from sessionware.core.ids import SessionKey
from sessionware.core.session import Override, Session
from sessionware.core.store import PAGE_MAX, Log, Page, Query
from sessionware.errors import SessionNotFound, SessionwareError, StoreUnavailable
from sessionware.stores.cursor import read_cursor, write_cursor
from sessionware.stores.sealing import Place
from sessionware.stores.sqlite import links, owners, records
from sessionware.stores.sqlite.events import unpack_event
from sessionware.stores.sqlite.faults import moved, unavailable
from sessionware.stores.sqlite.files import FileIdentity
from sessionware.stores.sqlite.lane import Call
from sessionware.stores.sqlite.rows import COLUMNS, opened, opened_link
from sessionware.stores.sqlite.tables import Tables

TAIL_MAX: Final = 10_000  # items of one log in one answer
NEWS_MAX: Final = 1000  # events in one poll; when there are so many, the next one follows at once

_PAGE: Final = (
    f"SELECT {COLUMNS}, s.created_at, s.hash FROM sessions s "  # noqa: S608  # constants only
    "WHERE (s.created_at, s.hash) > (?, ?) AND s.expires_at > ? ORDER BY s.created_at, s.hash LIMIT ?"
)
_OWNED_PAGE: Final = (
    f"SELECT {COLUMNS}, s.created_at, s.hash FROM sessions s "  # noqa: S608
    "WHERE s.owner = ? AND (s.created_at, s.hash) > (?, ?) AND s.expires_at > ? "
    "ORDER BY s.created_at, s.hash LIMIT ?"
)
_IDLE: Final = (
    f"SELECT {COLUMNS}, s.hash FROM sessions s WHERE s.seen_at <= ? "  # noqa: S608
    "ORDER BY s.created_at, s.hash"
)
_TAIL: Final = "SELECT item FROM logs WHERE session = ? AND log = ? ORDER BY number DESC LIMIT ?"


class News(Struct, frozen=True):
    """What the events table said: up to which number, what happened, whether some of it was pruned unread."""

    number: int
    events: tuple[Event, ...] = ()
    has_missed: bool = False
    orgs: dict[bytes, dict[str, Override]] | None = None


class Reader:
    """Answers what waits together from one snapshot, which is younger than any answer that was given before."""

    def __init__(self, connection: sqlite3.Connection, tables: Tables, *, identity: FileIdentity) -> None:
        self._connection = connection
        self._tables = tables
        self._identity = identity

    def run(self, calls: Sequence[Call]) -> None:
        """Answer the calls, each by itself; whatever happens, no snapshot outlives its batch."""
        if not self._identity.stands():
            for call in calls:
                call.error = moved(self._identity.path)
            return
        try:
            self._tables.execute("BEGIN")
            for call in calls:
                self._apply(call)
        except sqlite3.Error as error:
            for call in calls:
                call.error = call.error or unavailable(error, self._identity.path)
        finally:
            if self._connection.in_transaction:
                self._tables.execute("ROLLBACK")

    def close(self) -> None:
        self._tables.close()

    def _apply(self, call: Call) -> None:
        if call.is_over():
            call.error = StoreUnavailable("the deadline had passed before it was begun")
            return
        try:
            call.answer = call.work(self._tables, call.argument)
        except SessionwareError as refusal:
            call.error = refusal
        except sqlite3.Error as error:
            call.error = unavailable(error, self._identity.path)
        except Exception as error:  # noqa: BLE001  # told to its caller, like any other answer
            call.error = error


def get(tables: Tables, question: tuple[SessionKey, int]) -> Session | None:
    """The live session with its payload and links. Raises PayloadUnreadable."""
    key, now = question
    record = records.live_with_payload(tables, key, now)
    if record is None:
        return None
    session = opened(record, tables.sealer)
    held = links.all_of(tables, key)
    return replace(session, links=tuple([opened_link(link, tables.sealer) for link in held])) if held else session


def page(tables: Tables, question: tuple[Query, int]) -> Page:
    """One page of live sessions, oldest first. One that cannot be read is left out: it hides no other."""
    query, now = question
    if query.owner is None:
        total = tables.execute("SELECT sessions FROM installation").fetchone()[0]
    else:
        total = records.owned_count(tables, query.owner)
    if query.limit <= 0:
        return Page((), total, upstreams=_upstreams(tables) if query.owner is None else {})
    place = (*read_cursor(query.cursor), now)
    wanted = min(query.limit, PAGE_MAX)
    if query.owner is None:
        rows = tables.execute(_PAGE, (*place, wanted + 1)).fetchall()
    else:
        rows = tables.execute(_OWNED_PAGE, (query.owner, *place, wanted + 1)).fetchall()
    shown = tuple([record.session for record in records.readable(rows[:wanted])])
    cursor = write_cursor(*rows[wanted - 1][-2:]) if len(rows) > wanted else ""
    return Page(shown, total, cursor)


def tail(tables: Tables, question: tuple[SessionKey, Log, int, int]) -> list[bytes]:
    """The newest items of a log, oldest first. Raises SessionNotFound, PayloadUnreadable."""
    key, log, count, now = question
    record = records.live(tables, key, now)
    if record is None:
        raise SessionNotFound("there is no live session under this key")
    if count <= 0:
        return []
    place = Place(key, record.session.birth.owner, log.value)
    rows = tables.execute(_TAIL, (key.hash, log.value, min(count, TAIL_MAX))).fetchall()
    return [tables.sealer.open(row[0], place=place) for row in reversed(rows)]


def idle(tables: Tables, question: tuple[int, int, int]) -> tuple[SessionKey, ...]:
    """The oldest sessions that nothing has touched for a while and that are not open; at most `limit`."""
    now, limit, idle_for = question
    found = []
    for record in records.readable(tables.execute(_IDLE, (now - idle_for,))):
        if not record.is_open(now):
            found.append(record.session.key)
            if len(found) >= limit:
                break
    return tuple(found)


def news(tables: Tables, question: tuple[int, bool]) -> News:
    """What was published since a number; with the organisations' overrides if asked for, or some was missed."""
    since, wants_orgs = question
    row = tables.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    newest = row[0] if row is not None else 0
    if newest <= since:
        return News(newest, orgs=owners.all_org_limits(tables) if wants_orgs else None)
    rows = tables.execute(
        "SELECT number, kind, body FROM events WHERE number > ? ORDER BY number LIMIT ?", (since, NEWS_MAX)
    ).fetchall()
    has_missed = not rows or rows[0][0] != since + 1
    return News(
        rows[-1][0] if rows else newest,
        tuple([unpack_event(kind, body) for _, kind, body in rows]),
        has_missed,
        owners.all_org_limits(tables) if wants_orgs or has_missed else None,
    )


def _upstreams(tables: Tables) -> dict[tuple[str, str], int]:
    rows = tables.execute("SELECT pool, upstream, sessions FROM upstreams").fetchall()
    return {(pool, upstream): count for pool, upstream, count in rows}
