"""The only place that fans events out to the watchers of one process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Self
from weakref import WeakSet

from sessionware.core.facts import Event, Gap

GAP_EVERY_S: Final = 15.0  # a watcher that hears nothing re-checks what it holds this often
BACKLOG_MAX: Final = 10_000  # events that wait for a slow watcher; beyond it the backlog becomes one Gap


class Watch:
    """One watcher's view: an async iterator that hears everything from the moment it was made."""

    def __init__(self, greeting: Callable[[], Sequence[Event]], leave: Callable[[Watch], None]) -> None:
        self._leave = leave
        self._waiting: deque[Event] = deque()
        self._greeting = greeting
        self._wake = asyncio.Event()
        self._next_gap: float | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        clock = asyncio.get_running_loop().time
        if self._next_gap is None:
            self._next_gap = clock() + GAP_EVERY_S
        while True:
            if clock() >= self._next_gap:
                self._next_gap = clock() + GAP_EVERY_S
                return Gap()
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            try:
                async with asyncio.timeout_at(self._next_gap):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True
        self._leave(self)
        self._wake.set()

    def hear(self, event: Event) -> None:
        if len(self._waiting) >= BACKLOG_MAX:
            self._waiting.clear()
            self._waiting.extend([Gap(), *self._greeting()])
        self._waiting.append(event)
        self._wake.set()

    def resync(self) -> None:
        """Something may have been missed: say so, and repeat the greeting; what still waited is part of it."""
        if len(self._waiting) >= BACKLOG_MAX:
            self._waiting.clear()
        self._waiting.extend([Gap(), *self._greeting()])
        self._wake.set()


class Broadcast:
    """The watchers of one store object. `greeting` is what each hears first, after its Gap."""

    def __init__(self, greeting: Callable[[], Sequence[Event]] = tuple) -> None:
        self._greeting = greeting
        self._watches: WeakSet[Watch] = WeakSet()

    def watch(self, *, connected: bool = True) -> Watch:
        """A new watcher, greeted at once, or by the next `resync` when events do not arrive yet."""
        watch = Watch(self._greeting, self._watches.discard)
        self._watches.add(watch)
        if connected:
            watch.resync()
        return watch

    def publish(self, event: Event) -> None:
        for watch in list(self._watches):
            watch.hear(event)

    def resync(self) -> None:
        for watch in list(self._watches):
            watch.resync()

    def close(self) -> None:
        for watch in list(self._watches):
            watch.close()
