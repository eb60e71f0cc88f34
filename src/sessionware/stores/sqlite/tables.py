"""What all work inside a transaction is given: the statements of one connection, the sealer, the news it makes."""

from __future__ import annotations

import sqlite3

from sessionware.core.facts import Event
from sessionware.stores.sealing import Sealer
from sessionware.stores.sqlite.events import pack_event


class Tables:
    """The tables of one store, as one connection sees them. One cursor: read all rows before the next statement."""

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self.execute = self._cursor.execute
        self.sealer = sealer
        self.news: list[tuple[int, Event]] = []

    def publish(self, event: Event, now: int) -> None:
        """Write an event for the watchers of all processes."""
        kind, body = pack_event(event)
        cursor = self.execute("INSERT INTO events (at, kind, body) VALUES (?, ?, ?)", (now, kind, body))
        self.news.append((cursor.lastrowid or 0, event))

    def close(self) -> None:
        """Close the connection. A cursor that lives on in some traceback would keep the file open."""
        self._cursor.close()
        self._connection.close()
