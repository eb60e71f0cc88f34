"""The session for `def` handlers, which run in a thread: the same names, and every call waits for its answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self


class SyncSession:
    """Whatever is awaited in a coroutine is simply called here; `reserve` is a plain `with`."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not inspect.iscoroutinefunction(found):
            return found

        def call(*values: Any, **named: Any) -> Any:
            return _wait(self._loop, name, found(*values, **named))

        return call

    @property
    def context(self) -> SyncSession:
        """The conversation: `append`, `last`."""
        return SyncSession(self._target.context, self._loop)

    def reserve(self, **estimate: int) -> SyncReservation:
        """`with session.sync.reserve(tokens=1000) as hold: ... hold.settle(tokens=532)`."""
        return SyncReservation(self._target.reserve(**estimate), self._loop)


class SyncReservation:
    """A reservation in a thread."""

    def __init__(self, reservation: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._reservation = reservation
        self._loop = loop

    def __enter__(self) -> Self:
        _wait(self._loop, "reserve", self._reservation.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _wait(self._loop, "reserve", self._reservation.__aexit__(kind, error, trace))

    def settle(self, **actual: int) -> bool:
        """Say what was really used; only the first call counts."""
        settled: bool = _wait(self._loop, "settle", self._reservation.settle(**actual))
        return settled


def _wait(loop: asyncio.AbstractEventLoop, name: str, work: Coroutine[Any, Any, Any]) -> Any:
    """Let the loop do it. Raises RuntimeError on the loop's own thread, which would wait for itself."""
    try:
        is_own = asyncio.get_running_loop() is loop
    except RuntimeError:
        is_own = False
    if is_own:
        work.close()
        raise RuntimeError(f"session.sync.{name} would wait for itself here: write `await session.{name}(...)`")
    return asyncio.run_coroutine_threadsafe(work, loop).result()
