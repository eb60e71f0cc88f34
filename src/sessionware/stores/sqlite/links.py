"""The only place that keeps, in SQLite, the legacy MCP sessions inside our sessions. Handshakes stay sealed here."""

from __future__ import annotations

import logging
from typing import Final

from msgspec.structs import replace

from sessionware.core.ids import SessionKey, ref
from sessionware.core.session import Link
from sessionware.errors import PayloadUnreadable
from sessionware.stores.codec import pack
from sessionware.stores.sqlite.rows import read_link
from sessionware.stores.sqlite.tables import Tables

_GET: Final = "SELECT body, seen_at, handshake FROM links WHERE hash = ?"
_ALL: Final = "SELECT body, seen_at, handshake FROM links WHERE session = ? ORDER BY id"
_PUT: Final = (
    "INSERT INTO links (hash, session, seen_at, body, handshake) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (hash) DO UPDATE SET session = excluded.session, seen_at = excluded.seen_at, "
    "body = excluded.body, handshake = excluded.handshake"
)

_log = logging.getLogger(__name__)


def get(tables: Tables, key: SessionKey) -> Link | None:
    row = tables.execute(_GET, (key.hash,)).fetchone()
    return read_link(*row) if row is not None else None


def all_of(tables: Tables, session: SessionKey) -> tuple[Link, ...]:
    """A session's links in the order in which they came; one that cannot be read is logged and left out."""
    found = []
    for row in tables.execute(_ALL, (session.hash,)).fetchall():
        try:
            found.append(read_link(*row))
        except PayloadUnreadable as error:
            _log.error("session %s: %s", ref(session), error)  # a known condition
    return tuple(found)


def add(tables: Tables, link: Link, at_most: int) -> tuple[Link, ...]:
    """Put a sealed link into its session; answers the least recently seen ones that had to go for it."""
    others = [each for each in all_of(tables, link.session) if each.key != link.key]
    known = get(tables, link.key)
    is_known = known is not None and known.session == link.session
    put(tables, link)
    excess = 0 if is_known else len(others) + 1 - at_most
    doomed = sorted(others, key=lambda each: (each.seen_at, each.key.hash))[: max(excess, 0)]
    for each in doomed:
        remove(tables, each.key)
    return tuple(doomed)


def put(tables: Tables, link: Link) -> None:
    body = pack(replace(link, handshake=b""))
    tables.execute(_PUT, (link.key.hash, link.session.hash, link.seen_at, body, link.handshake))


def touch(tables: Tables, link: Link, now: int) -> Link:
    """The link after one more request; a lagging clock takes nothing back."""
    seen_at = max(now, link.seen_at)
    if seen_at != link.seen_at:
        tables.execute("UPDATE links SET seen_at = ? WHERE hash = ?", (seen_at, link.key.hash))
    return replace(link, seen_at=seen_at)


def remove(tables: Tables, key: SessionKey) -> None:
    tables.execute("DELETE FROM links WHERE hash = ?", (key.hash,))


def carry(tables: Tables, links: tuple[Link, ...], session: SessionKey) -> None:
    """Move links to another session: it got a new id. Their handshakes are bound to their own keys and stay."""
    for link in links:
        put(tables, replace(link, session=session))
