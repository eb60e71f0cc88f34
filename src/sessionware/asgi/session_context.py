"""The conversation of a session as an app sees it: its newest messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sessionware.core.session import Session
from sessionware.service import context
from sessionware.service.runtime import Runtime


class Kept(Protocol):
    """A session that may have to be made before anything can be kept in it."""

    @property
    def record(self) -> Session: ...

    @property
    def is_stored(self) -> bool: ...

    async def keep(self) -> None: ...


class SessionContext:
    """`await session.context.append({"role": "user", "content": "hello"})`, `await session.context.last(2)`."""

    def __init__(self, runtime: Runtime, session: Kept) -> None:
        self._runtime = runtime
        self._session = session

    async def append(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Add a message; a UTC `timestamp` is added to it."""
        await self._session.keep()
        return await context.append(self._runtime, self._session.record.key, message)

    async def last(self, count: int | None = None) -> list[dict[str, Any]]:
        """The newest messages, oldest first."""
        if not self._session.is_stored:
            return []
        return await context.last(self._runtime, self._session.record.key, count)
