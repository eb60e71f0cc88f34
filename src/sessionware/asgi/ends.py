"""The only place that knows which streams and sockets of this worker must close when a session ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sessionware.core.ids import SessionKey


class Told:
    """One that waits to be told; `is_over` once its session has ended."""

    def __init__(self, close: Callable[[], object]) -> None:
        self.is_over = False
        self._close = close

    def tell(self) -> None:
        self.is_over = True
        self._close()


class Ends:
    """Who must be told of which session's end."""

    def __init__(self) -> None:
        self._waiting: dict[SessionKey, set[Told]] = {}

    @contextmanager
    def told(self, key: SessionKey | None, close: Callable[[], object]) -> Iterator[Told]:
        """While in the block, call `close` when the session ends."""
        told = Told(close)
        if key is None:
            yield told
            return
        self._waiting.setdefault(key, set()).add(told)
        try:
            yield told
        finally:
            waiting = self._waiting[key]
            waiting.discard(told)
            if not waiting:
                del self._waiting[key]

    def ended(self, key: SessionKey) -> None:
        """A session is no more: everything of it that is open here closes."""
        for told in tuple(self._waiting.get(key, ())):
            told.tell()

    def waiting(self) -> list[SessionKey]:
        """The sessions that something here belongs to: to be looked at again after a gap."""
        return list(self._waiting)
