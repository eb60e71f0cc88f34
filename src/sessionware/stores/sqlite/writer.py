"""The only place that begins and ends write transactions: what waits together is committed together.

Every call decides before its first write, so no savepoints are needed. If a statement raises, the whole batch is
rolled back and each call is done again by itself; so a fault hits the call that it belongs to and no other.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Sequence
from typing import Final

from sessionware.clock import monotonic_ms
from sessionware.core.facts import Event
from sessionware.errors import SessionwareError, StoreUnavailable
from sessionware.stores.sqlite.faults import is_busy, is_full, moved, unavailable
from sessionware.stores.sqlite.files import FileIdentity
from sessionware.stores.sqlite.lane import Call
from sessionware.stores.sqlite.recording import Reaping
from sessionware.stores.sqlite.reserve import Reserve
from sessionware.stores.sqlite.tables import Tables

BUSY_RETRY_S: Final = 0.000_25  # shorter than the pause between two batches of a busy process: nobody starves
BUSY_MARGIN: Final = 10  # the last tenth of a deadline is for saying what was waited for

_log = logging.getLogger(__name__)


class Writer:
    """Runs batches on the one connection that writes."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        tables: Tables,
        *,
        reserve: Reserve,
        identity: FileIdentity,
        patience_ms: int,
    ) -> None:
        self._connection = connection
        self._execute = tables.execute
        self._tables = tables
        self._reserve = reserve
        self._identity = identity
        self._margin_ms = patience_ms // BUSY_MARGIN
        self._pause = threading.Event()

    def run(self, calls: Sequence[Call]) -> list[tuple[int, Event]] | None:
        """Answer the calls after they are committed; returns the events that they wrote, with their numbers."""
        self._tables.news = []
        if not self._identity.stands():
            for call in calls:
                call.error = moved(self._identity.path)
            return None
        error = self._together(calls)
        if error is not None:
            if is_busy(error):
                for call in calls:
                    call.error = unavailable(error, self._identity.path)
                return None
            self._singly(calls, error)
        self._reserve.restore()
        return self._tables.news or None

    def close(self) -> None:
        self._tables.close()

    def _together(self, calls: Sequence[Call]) -> sqlite3.Error | None:
        """One transaction for all; the error that spoiled it. A busy file has left nothing behind."""
        try:
            self._begin(calls)
        except sqlite3.Error as error:
            return error
        try:
            for call in calls:
                self._apply(call)
            self._execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            return error
        except Exception as error:  # noqa: BLE001  # a mistake in one call: done singly, it is told to that call
            self._roll_back()
            return sqlite3.InternalError(str(error))
        return None

    def _singly(self, calls: Sequence[Call], spoiled_by: sqlite3.Error) -> None:
        _log.warning("session store %s: a batch is done again singly: %s", self._identity.path, spoiled_by)
        if is_full(spoiled_by):
            self._reserve.empty_wal(self._connection)
        news: list[tuple[int, Event]] = []
        for call in calls:
            call.answer = call.error = None
            self._tables.news = []
            error = self._alone(call)
            if error is not None and is_full(error) and call.frees:
                with self._reserve.opened(self._connection):
                    error = self._alone(call)
                    while error is not None and is_full(error) and _takes_less(call):
                        error = self._alone(call)
            if error is None:
                news += self._tables.news
            else:
                call.answer, call.error = None, unavailable(error, self._identity.path)
        self._tables.news = news

    def _alone(self, call: Call) -> sqlite3.Error | None:
        try:
            self._begin([call])
            self._apply(call)
            self._execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            return error
        except Exception as error:  # noqa: BLE001  # told to its caller, like any other answer
            self._roll_back()
            self._tables.news = []
            call.answer, call.error = None, error
        return None

    def _apply(self, call: Call) -> None:
        """Do one call; a refusal raised before the first write is an answer, not a fault."""
        if call.is_over():
            call.error = StoreUnavailable("the deadline had passed before it was begun: nothing was applied")
            return
        try:
            call.answer = call.work(self._tables, call.argument)
        except SessionwareError as refusal:
            call.error = refusal

    def _begin(self, calls: Sequence[Call]) -> None:
        """Take the write lock, waiting for other processes nearly as long as somebody waits for us."""
        until = max(call.deadline for call in calls) - self._margin_ms
        while True:
            try:
                self._execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not is_busy(error) or monotonic_ms() >= until:
                    raise
                self._pause.wait(BUSY_RETRY_S)
            else:
                return

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # SQLite rolls back by itself on some faults
            try:
                self._execute("ROLLBACK")
            except sqlite3.Error:
                _log.exception("session store %s: cannot roll back", self._identity.path)


def _takes_less(call: Call) -> bool:
    """Have a reap remove fewer sessions at once, so that its transaction fits into what room there is."""
    smaller = call.argument.smaller() if isinstance(call.argument, Reaping) else None
    if smaller is None:
        return False
    call.argument = smaller
    return True
