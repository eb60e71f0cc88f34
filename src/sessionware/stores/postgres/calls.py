"""The only place that calls the SQL functions, and calls again what is proved to have been rolled back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from sessionware.core.store import Clock
from sessionware.errors import StoreUnavailable
from sessionware.stores.postgres.answers import NUMBER, OUTCOME, Row
from sessionware.stores.postgres.asking import Question
from sessionware.stores.postgres.faults import Refused
from sessionware.stores.postgres.server import Server

TRIES: Final = 20  # of a call that turns out to need one more lock each time, or loses against another
MAX_SKEW_MS: Final = 2_000
WANTS_LOCK: Final = "SW001"  # our own: the detail names a lock that another call holds (locks.sql)
OVERDUE: Final = frozenset({"57014", "55P03"})  # statement_timeout, lock_timeout: no time is left to ask again
# Nothing was written, and the same call may well succeed: deadlock and serialization failure are the server's words.
_AGAIN: Final = frozenset({WANTS_LOCK, "40P01", "40001"})


class Calls:
    """The functions of one installation. `max_skew` 0: the clock is a test's own."""

    def __init__(self, server: Server, clock: Clock, *, max_skew: int, timeout: float) -> None:
        self.timeout = timeout  # seconds
        self._server = server
        self._clock = clock
        self._max_skew = max_skew

    async def ask(self, function: str, asked: Question) -> Sequence[Row]:
        """Ask a function whose first number is `now`; once more with the server's time when that is far from ours."""

        def asked_at(now: int) -> Question:
            asked.numbers[0] = now
            return asked

        return await self.ask_at(function, asked, asked_at)

    async def ask_at(self, function: str, asked: Question, asked_at: Callable[[int], Question]) -> Sequence[Row]:
        """The same with another question at the server's time."""
        rows = await self.perform(function, asked)
        if is_skewed(rows):
            self.believe(rows)
            rows = self.steady(await self.perform(function, asked_at(self._clock.now())))
        return rows

    async def perform(
        self, function: str, asked: Question, *, admitting: bool = False, tries: int = TRIES
    ) -> Sequence[Row]:
        """Call a function; again, with a lock more, while its refusal proves that it may help and there is time."""
        statement = f"SELECT * FROM {function}($1, $2, $3, $4)"  # noqa: S608  # our own names
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self.timeout
        while True:
            tries -= 1
            try:
                return await self._server.call(
                    statement, sorted(asked.locks), asked.words, asked.numbers, self._max_skew, admitting=admitting
                )
            except Refused as refused:
                if refused.sqlstate not in _AGAIN or tries <= 0 or clock() >= give_up_at:
                    raise
                if refused.sqlstate == WANTS_LOCK:
                    asked.locks.add(int(refused.detail))

    def believe(self, rows: Sequence[Row]) -> None:
        """Take the time that came with a refusal for skew."""
        self._server.calibrate_with(rows[0][NUMBER])

    def steady(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Answers that are no second refusal for skew. Raises StoreUnavailable."""
        if is_skewed(rows):
            raise StoreUnavailable(
                f"the clock of PostgreSQL at {self._server.address!r} moves too fast to agree on a time"
            )
        return rows


def is_skewed(rows: Sequence[Row]) -> bool:
    return bool(rows) and rows[0][OUTCOME] == "skew"
