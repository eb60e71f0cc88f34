"""The only place that lets admissions travel together: what waits while one batch is on its way is the next batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from sessionware.core.admission import Admission, Admitted
from sessionware.core.store import Clock
from sessionware.errors import PayloadUnreadable, StoreUnavailable
from sessionware.stores.postgres import answers, asking
from sessionware.stores.postgres.answers import Row
from sessionware.stores.postgres.asking import Asked, Question
from sessionware.stores.postgres.calls import OVERDUE, TRIES, Calls, is_skewed
from sessionware.stores.postgres.faults import Refused
from sessionware.stores.sealing import Sealer

# Beyond it an admission costs no less, and its locks are held longer. Measured with a counter that all share, too:
# smaller batches are slower, because each holds the counter while its commit is flushed.
BATCH_MAX: Final = 32
WAITING_MAX: Final = 10_000  # admissions that wait; beyond it the server is hopelessly behind
FUNCTION: Final = "admit_batch"


class Waiting(Struct, gc=False):
    """One admission whose caller waits, as it was asked and as it travels."""

    ask: Admission
    asked: Asked
    answer: asyncio.Future[Admitted]
    is_repeated: bool = False


class Batches:
    """One batch at a time is on its way."""

    def __init__(self, calls: Calls, clock: Clock, sealer: Sealer) -> None:
        self._calls = calls
        self._clock = clock
        self._sealer = sealer
        self._queue: deque[Waiting] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def admit(self, ask: Admission) -> Admitted:
        """The answer to one admission. Raises StoreUnavailable: then it may have been applied."""
        if len(self._queue) >= WAITING_MAX:
            raise StoreUnavailable(f"PostgreSQL is behind: {WAITING_MAX} admissions wait already")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Admitted] = loop.create_future()
        self._queue.append(Waiting(ask, asking.admission(ask, self._sealer), answer))
        if self._sending is None:
            self._sending = loop.create_task(self._send_all())
        overdue = loop.call_later(self._calls.timeout, self._give_up, answer)
        try:
            return await answer
        finally:
            overdue.cancel()

    async def close(self) -> None:
        """Fail whatever waits."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        while self._queue:
            _fail([self._queue.popleft()], StoreUnavailable("the store is closed"))

    def _give_up(self, answer: asyncio.Future[Admitted]) -> None:
        if not answer.done():
            answer.set_exception(
                StoreUnavailable(f"PostgreSQL did not answer within {self._calls.timeout * 1000:.0f} ms")
            )

    async def _send_all(self) -> None:
        try:
            while batch := self._next():
                await self._send(batch)
        finally:
            self._sending = None

    def _next(self) -> list[Waiting]:
        """Those that travel together: the oldest, without those whose callers have left."""
        batch: list[Waiting] = []
        while self._queue and len(batch) < BATCH_MAX:
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
        return batch

    async def _send(self, batch: list[Waiting]) -> None:
        """Ask for all at once. A batch that was refused was rolled back, so each is asked alone; nothing else is."""
        tries = TRIES if len(batch) == 1 else 1
        try:
            rows = await self._calls.perform(FUNCTION, together(batch), admitting=True, tries=tries)
        except Refused as refused:
            if len(batch) == 1 or refused.sqlstate in OVERDUE:
                _fail(batch, refused)
                return
            for waiting in batch:
                if not waiting.answer.done():
                    await self._send([waiting])
        except StoreUnavailable as error:
            _fail(batch, error)
        except BaseException:
            _fail(batch, StoreUnavailable("an admission was asked for, and its answer never read"))
            raise
        else:
            own = _own_rows(rows, len(batch))
            late = [waiting for waiting, its in zip(batch, own, strict=True) if not self._answer(waiting, its)]
            if late:
                await self._send(self._asked_again(late, own))

    def _answer(self, waiting: Waiting, rows: Sequence[Row]) -> bool:
        """Hand over one answer; False when the server found our clock skewed, and it must be asked again."""
        if is_skewed(rows) and not waiting.is_repeated:
            return waiting.answer.done()
        if waiting.answer.done():
            return True
        try:
            waiting.answer.set_result(answers.admitted(self._calls.steady(rows), waiting.ask, self._sealer))
        except (PayloadUnreadable, StoreUnavailable, *answers.DAMAGED) as error:
            waiting.answer.set_exception(error)
        return True

    def _asked_again(self, late: Sequence[Waiting], own: Sequence[Sequence[Row]]) -> list[Waiting]:
        """The same questions at the server's time."""
        self._calls.believe(next(rows for rows in own if is_skewed(rows)))
        now = self._clock.now()
        again = [(waiting.ask.at(now), waiting.answer) for waiting in late]
        return [Waiting(ask, asking.admission(ask, self._sealer), answer, is_repeated=True) for ask, answer in again]


def together(batch: Sequence[Waiting]) -> Question:
    """One question of several: what is known by a link alone comes first, so that its session is locked, too."""
    links: list[asking.Word] = [waiting.asked.link for waiting in batch if waiting.asked.link is not None]
    whole = Question(set(), links, [len(links)])
    for waiting in batch:
        asked = waiting.asked.question
        whole.locks |= asked.locks
        whole.words += asked.words
        whole.numbers += asked.numbers
    return whole


def _own_rows(rows: Sequence[Row], count: int) -> list[list[Row]]:
    own: list[list[Row]] = [[] for _ in range(count)]
    for row in rows:
        own[row[answers.AT]].append(row)
    return own


def _fail(batch: Sequence[Waiting], error: StoreUnavailable) -> None:
    """Tell every caller that still waits, each by an error of its own: they are raised in different places."""
    for waiting in batch:
        if not waiting.answer.done():
            told = StoreUnavailable(str(error))
            told.__cause__ = error
            waiting.answer.set_exception(told)
