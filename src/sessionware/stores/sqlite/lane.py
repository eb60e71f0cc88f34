"""The only place where calls cross from the event loop to a thread and back.

A lane is one thread with one connection. What is asked for in one turn of the event loop crosses together, and
what waits together is run together: its engine decides what that means.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, Protocol, TypeVar

from sessionware.clock import monotonic_ms
from sessionware.errors import StoreUnavailable

WAITING_MAX: Final = 10_000  # calls that wait for an answer; beyond it a call is refused at once
BATCH_MAX: Final = 512  # calls in one transaction: other processes wait for its end

Answer = TypeVar("Answer")


class Call:
    """One question on its way: what to do with what, until when; later its answer or its error."""

    __slots__ = ("answer", "argument", "deadline", "error", "frees", "future", "work")

    def __init__(
        self, future: asyncio.Future[Any], work: Callable[[Any, Any], Any], argument: Any, *, deadline: int, frees: bool
    ) -> None:
        self.future = future
        self.work = work
        self.argument = argument
        self.deadline = deadline
        self.frees = frees
        self.answer: Any = None
        self.error: BaseException | None = None

    def is_over(self) -> bool:
        """Whether nobody waits any more: cancelled, or its deadline has passed. It must not be begun then."""
        return self.future.done() or monotonic_ms() >= self.deadline


class Engine(Protocol):
    """What runs in a lane's thread."""

    def run(self, calls: Sequence[Call]) -> Any:
        """Answer the calls, each by `answer` or `error`; returns news for the lane's owner, or None."""
        ...

    def close(self) -> None: ...


EngineT = TypeVar("EngineT", bound=Engine)


class Lane(Generic[EngineT]):
    """A thread that answers calls in the order in which they came, each before its deadline or not at all."""

    def __init__(self, name: str, *, timeout_ms: int, tell: Callable[[Any], None] | None = None) -> None:
        self._name = name
        self._timeout_ms = timeout_ms
        self._tell = tell
        self._queue: SimpleQueue[list[Call] | None] = SimpleQueue()
        self._waiting: deque[Call] = deque()
        self._fresh: list[Call] = []
        self._timer: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._stopped: asyncio.Future[None]
        self._loop: asyncio.AbstractEventLoop
        self._pid = 0
        self.is_open = False

    async def open(self, make: Callable[[], EngineT]) -> EngineT:
        """Start the thread and make its engine there. Raises what `make` raises."""
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._stopped = self._loop.create_future()
        opened: asyncio.Future[EngineT] = self._loop.create_future()
        self._thread = threading.Thread(target=self._main, args=(make, opened), name=self._name, daemon=True)
        self._thread.start()
        engine = await opened
        self.is_open = True
        return engine

    async def close(self) -> None:
        """Answer what waits, close the engine and join the thread. Does nothing when it was never opened."""
        thread, self._thread = self._thread, None
        self.is_open = False
        if thread is None:
            return
        if self._pid != os.getpid():
            return  # the thread stayed behind in the parent process
        self._flush()
        self._queue.put(None)
        try:
            await self._stopped
        finally:
            thread.join()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._give_up(self._waiting)
            self._waiting.clear()

    def ask(self, work: Callable[[Any, Any], Answer], argument: Any, *, frees: bool = False) -> asyncio.Future[Answer]:
        """Have `work(engine's tables, argument)` done. With `frees` it may use the reserve of a full disk.

        Raises StoreUnavailable at once when the lane is closed or too many calls wait.
        """
        if not self.is_open:
            raise StoreUnavailable(f"{self._name} is not open: use it inside `async with store`")
        if self._pid != os.getpid():
            raise StoreUnavailable(f"{self._name} was opened before this process was forked: open one in each process")
        if len(self._waiting) >= WAITING_MAX:
            raise StoreUnavailable(f"{self._name}: {WAITING_MAX} calls wait already, nothing was applied")
        future: asyncio.Future[Answer] = self._loop.create_future()
        call = Call(future, work, argument, deadline=monotonic_ms() + self._timeout_ms, frees=frees)
        self._waiting.append(call)
        if not self._fresh:
            self._loop.call_soon(self._flush)
        self._fresh.append(call)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_ms / 1000, self._watch_oldest)
        return future

    def _flush(self) -> None:
        """Send over what was asked for in this turn of the event loop."""
        if self._fresh:
            self._queue.put(self._fresh)
            self._fresh = []

    def _watch_oldest(self) -> None:
        """Give up what has waited too long; calls wait in the order of their deadlines, so one timer is enough."""
        self._timer = None
        self._drop_answered()
        late: list[Call] = []
        now = monotonic_ms()
        while self._waiting and (self._waiting[0].deadline <= now or self._waiting[0].future.done()):
            late.append(self._waiting.popleft())
        self._give_up(late)
        if self._waiting:
            delay = (self._waiting[0].deadline - now) / 1000
            self._timer = self._loop.call_later(delay, self._watch_oldest)

    def _give_up(self, calls: Sequence[Call] | deque[Call]) -> None:
        for call in calls:
            if not call.future.done():
                call.future.set_exception(
                    StoreUnavailable(
                        f"{self._name} did not answer within {self._timeout_ms} ms: the outcome is unknown"
                    )
                )

    def _drop_answered(self) -> None:
        while self._waiting and self._waiting[0].future.done():
            self._waiting.popleft()

    def _deliver(self, calls: Sequence[Call], news: Any) -> None:
        for call in calls:
            if call.future.done():
                continue
            if call.error is None:
                call.future.set_result(call.answer)
            else:
                call.future.set_exception(call.error)
        self._drop_answered()
        if news is not None and self._tell is not None:
            self._tell(news)

    # ------------------------------------------------------------------ in the thread

    def _main(self, make: Callable[[], EngineT], opened: asyncio.Future[EngineT]) -> None:
        try:
            engine = make()
        except BaseException as error:  # noqa: BLE001  # whoever opens the lane is told
            self._post(_settle, opened, None, error)
        else:
            self._post(_settle, opened, engine, None)
            try:
                self._serve(engine)
            finally:
                engine.close()
        self._post(_settle, self._stopped, None, None)

    def _serve(self, engine: EngineT) -> None:
        is_last = False
        while not is_last:
            calls, is_last = self._take()
            for start in range(0, len(calls), BATCH_MAX):
                batch = calls[start : start + BATCH_MAX]
                try:
                    news = engine.run(batch)
                except Exception as error:  # noqa: BLE001  # the thread must outlive any mistake of its engine
                    news = None
                    for call in batch:
                        call.error = call.error or error
                self._post(self._deliver, batch, news)

    def _take(self) -> tuple[list[Call], bool]:
        """Everything that waits, and whether it is the last of all."""
        calls: list[Call] = []
        more = self._queue.get()
        while more is not None:
            calls += more
            try:
                more = self._queue.get_nowait()
            except Empty:
                return calls, False
        return calls, True

    def _post(self, tell: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(tell, *arguments)
        except RuntimeError:
            return  # the event loop is closed: nobody is left to be told


def _settle(future: asyncio.Future[Any], answer: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(answer)
    else:
        future.set_exception(error)
