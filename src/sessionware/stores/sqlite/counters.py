"""The only place that keeps, in SQLite, the counters and lease sets that outlive sessions."""

from __future__ import annotations

from typing import Final

from sessionware.core.ledger import Counter, Lease, Scope, Spend
from sessionware.core.windows import NEVER
from sessionware.stores.sqlite.rows import Record
from sessionware.stores.sqlite.tables import Tables

SWEEP: Final = 4  # stale counters dropped per new counter: more than one, so that sweeping catches up

_GET: Final = "SELECT window, used, before, stale_at FROM counters WHERE key = ?"
_SET: Final = "UPDATE counters SET window = ?, used = ?, before = ? WHERE key = ?"
_PUT: Final = (
    "INSERT INTO counters (key, window, used, before, stale_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "window = excluded.window, used = excluded.used, before = excluded.before, stale_at = excluded.stale_at"
)
_RAISE_LEVEL: Final = (
    "INSERT INTO counters VALUES (?, 0, ?, 0, ?, 1) ON CONFLICT DO UPDATE SET "
    "window = 0, used = used + excluded.used, before = 0, stale_at = excluded.stale_at, is_level = 1"
)
_DROP_STALE: Final = (
    "DELETE FROM counters WHERE key IN (SELECT key FROM counters WHERE stale_at <= ? ORDER BY stale_at LIMIT ?)"
)
_RUNNING: Final = "SELECT count(*), total(operation = ?) FROM leases WHERE key = ? AND until > ?"
_HOLD: Final = "INSERT INTO leases VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until"


class Found:
    """The counters that one call has looked at, so that writing one knows how it was stored."""

    __slots__ = ("_stale_at", "_tables")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._stale_at: dict[bytes, int] = {}

    def get(self, record: Record | None, spend: Spend) -> Counter | None:
        """A field of the session record, or a counter of its own."""
        if spend.scope is Scope.SESSION:
            return record.counter(spend.key) if record is not None else None
        row = self._tables.execute(_GET, (spend.key,)).fetchone()
        if row is None:
            return None
        self._stale_at[spend.key] = row[3]
        return Counter(row[0], row[1], row[2])

    def put(self, record: Record | None, spend: Spend, counter: Counter, now: int) -> None:
        """Write one counter where its scope says; a session counter without a session has nowhere to go."""
        if spend.scope is Scope.SESSION:
            if record is not None:
                record.set_counter(spend.key, counter)
            return
        key, execute = spend.key, self._tables.execute
        if self._stale_at.get(key, -1) >= spend.stale_at:  # the usual case leaves the index alone; a lagging clock, too
            execute(_SET, (counter.window, counter.used, counter.before, key))
            return
        if key not in self._stale_at:
            execute(_DROP_STALE, (now, SWEEP))
        execute(_PUT, (key, counter.window, counter.used, counter.before, spend.stale_at))
        self._stale_at[key] = spend.stale_at


def level(tables: Tables, key: bytes) -> int:
    row = tables.execute("SELECT used FROM counters WHERE key = ?", (key,)).fetchone()
    return row[0] if row is not None else 0


def add_level(tables: Tables, key: bytes, change: int) -> None:
    """Raise or lower a level that counts live sessions; an empty one is dropped."""
    if level(tables, key) + change > 0:
        tables.execute(_RAISE_LEVEL, (key, change, NEVER))
    else:
        tables.execute("DELETE FROM counters WHERE key = ?", (key,))


def running(tables: Tables, lease: Lease, operation: bytes, now: int) -> tuple[int, bool]:
    """How many run, and whether this operation is among them."""
    count, held = tables.execute(_RUNNING, (operation, lease.key, now)).fetchone()
    return count, held > 0


def hold(tables: Tables, lease: Lease, operation: bytes, until: int) -> None:
    tables.execute(_HOLD, (lease.key, operation, until))


def release(tables: Tables, lease: Lease, operation: bytes, now: int) -> bool:
    """Whether the operation still held it: a lease that has run out is gone, swept or not."""
    name = (lease.key, operation)
    row = tables.execute("SELECT until FROM leases WHERE key = ? AND operation = ?", name).fetchone()
    tables.execute("DELETE FROM leases WHERE key = ? AND operation = ?", name)
    return row is not None and row[0] > now
