"""The session object of one request: what an app finds on `request.state.session`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from sessionware.core.identity import Identity
from sessionware.core.ids import ref
from sessionware.core.payload import unpack
from sessionware.core.session import EndReason, Session, deadline
from sessionware.core.standing import Standing
from sessionware.errors import LimitExceeded
from sessionware.service import amounts, context
from sessionware.service.amounts import Reservation, Stand
from sessionware.service.data import SessionData, save
from sessionware.service.runtime import Runtime
from sessionware.service.times import moment
from sessionware.service.updating import Updates

_ENDED: Final = "Session not found"


class RequestSession:
    """One session as one request sees it. Writing to `data` is noticed and saved when the response starts."""

    def __init__(self, runtime: Runtime, record: Session, *, text: str, is_new: bool, stand: Stand) -> None:
        self._runtime = runtime
        self._record = record
        self._stand = stand
        self._loop = asyncio.get_running_loop()
        self._is_over = False
        self.has_begun = False  # whether the first byte of the response has left
        self.id = text
        self.is_new = is_new
        self.identity: Identity | None = stand.caller.identity
        self.refusal: LimitExceeded | None = None  # what `spend` raised last, for an app that does not catch it
        self.data = SessionData(record.data or b"")
        self.context = SessionContext(runtime, self)

    def __repr__(self) -> str:
        return f"<session {self.ref}>"

    @property
    def ref(self) -> str:
        return ref(self._record.key)

    @property
    def record(self) -> Session:
        """The record as it was read or last written."""
        return self._record

    @property
    def name(self) -> str | None:
        return self._record.birth.name

    @property
    def user_id(self) -> str | None:
        return self._record.birth.user_id

    @property
    def org_id(self) -> str | None:
        return self._record.birth.org_id

    @property
    def groups(self) -> tuple[str, ...]:
        return self._record.birth.groups

    @property
    def metadata(self) -> dict[str, Any]:
        """What the client said of itself: never trusted, and a copy."""
        return unpack(self._record.metadata or b"")

    @property
    def created_at(self) -> datetime | None:
        return moment(self._record.birth.created_at)

    @property
    def last_activity(self) -> datetime | None:
        return moment(self._record.seen_at)

    @property
    def expires_at(self) -> datetime | None:
        return moment(self._record.expires_at)

    @property
    def total_requests(self) -> int:
        return self._record.hits

    hits = total_requests

    @property
    def sync(self) -> SyncSession:
        """The same for `def` handlers, which run in a thread beside the event loop."""
        return SyncSession(self, self._loop)

    async def save(self) -> None:
        """Write what has changed, on top of whatever another request wrote meanwhile. Does nothing without a change."""
        if self._is_over:
            return
        runtime = self._runtime
        saved = await save(runtime.store, self._record, self.data, now=runtime.now(), at_most=runtime.terms.max_data)
        self._record = saved.session
        if saved.overwritten:
            runtime.telemetry.conflict()

    async def update(self, change: Callable[[dict[str, Any]], Mapping[str, Any] | None]) -> dict[str, Any]:
        """Change the data atomically: `change` may run again when another request was faster.

        What `change` raises goes through and nothing is written.
        """
        await self.save()
        self._record = await Updates(self._runtime).data(self._record.key, change)
        self.data = SessionData(self._record.data or b"")
        return dict(self.data)

    async def spend(self, **taken: int) -> tuple[Standing, ...]:
        """Take amounts from the quotas, all or nothing. Raises LimitExceeded (429)."""
        try:
            return await amounts.spend(self._runtime, self._stand, taken)
        except LimitExceeded as error:
            self.refusal = error
            raise

    async def charge(self, **used: int) -> bool:
        """Book what has happened already; it may pass the allowance. False when the store could not be told."""
        return await amounts.charge(self._runtime, self._stand, used)

    def reserve(self, **estimate: int) -> Reservation:
        """`async with session.reserve(tokens=1000) as hold: ... await hold.settle(tokens=532)`."""
        return amounts.reserve(self._runtime, self._stand, estimate, has_begun=lambda: self.has_begun)

    async def set_ttl(self, seconds: float | None) -> None:
        """Another idle time from now on; None lifts it. The absolute deadline stays."""
        idle = 0 if seconds is None else max(round(seconds * 1000), 1)
        record, now = self._record, self._runtime.now()
        changed = replace(
            record, idle=idle, expires_at=deadline(now, idle, record.absolute_at), data=None, metadata=None
        )
        written = await self._runtime.store.update(changed, now=now)
        self._record = replace(written, data=record.data, metadata=record.metadata)

    async def end(self) -> None:
        """End the session; ending it again does nothing. What was not saved is lost with it."""
        self._is_over = True
        ended = await self._runtime.store.delete(self._record.key, now=self._runtime.now(), reason=EndReason.ENDED)
        if ended is not None:
            await self._runtime.tell_ended([ended])


class SessionContext:
    """The conversation of a session: its newest messages."""

    def __init__(self, runtime: Runtime, session: RequestSession) -> None:
        self._runtime = runtime
        self._session = session

    async def append(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Add a message; a UTC `timestamp` is added to it."""
        return await context.append(self._runtime, self._session.record.key, message)

    async def last(self, count: int | None = None) -> list[dict[str, Any]]:
        """The newest messages, oldest first."""
        return await context.last(self._runtime, self._session.record.key, count)


class SyncSession:
    """The session for `def` handlers: the same names, and every call waits for its answer."""

    def __init__(self, session: RequestSession, loop: asyncio.AbstractEventLoop) -> None:
        self._session = session
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._session, name)
        if not inspect.iscoroutinefunction(found):
            return found

        def call(*values: Any, **named: Any) -> Any:
            if _is_running(self._loop):
                raise RuntimeError(f"session.sync.{name} would wait for itself here: write `await session.{name}(...)`")
            return asyncio.run_coroutine_threadsafe(found(*values, **named), self._loop).result()

        return call


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this thread is the loop's own."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
