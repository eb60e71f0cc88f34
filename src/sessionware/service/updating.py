"""The only place that changes a stored session against other writers: read, change, write if nobody else has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from sessionware.core.ids import SessionKey
from sessionware.core.session import Session
from sessionware.errors import Conflict, SessionNotFound
from sessionware.service.data import Edit, SessionData, edited
from sessionware.service.data import save as save_data
from sessionware.service.runtime import Runtime

# Writers of one worker wait for each other, so only workers race: of eight, one loses a hundred times in a row
# once in a million updates.
UPDATE_TRIES: Final = 100


async def save(runtime: Runtime, session: Session, data: SessionData) -> Session:
    """Write what has changed in the data on top of the stored record; `session` is the record as it was read.

    Raises as `sessionware.service.data.save`.
    """
    async with _alone(runtime, session.key):
        saved = await save_data(runtime.store, session, data, now=runtime.now(), at_most=runtime.terms.max_data)
    if saved.overwritten:
        runtime.telemetry.conflict()
    return saved.session


async def edit_data(runtime: Runtime, key: SessionKey, edit: Edit) -> Session:
    """Let `edit` change the session's data in place, or return other data; it may run several times.

    What `edit` raises goes through and nothing is written. Raises SessionNotFound, PayloadTooLarge, TypeError,
    Conflict when others are always faster, StoreUnavailable.
    """

    def changed(session: Session) -> Session:
        data = edited(session.data or b"", edit, at_most=runtime.terms.max_data)
        return replace(session, metadata=None, data=data)

    return await rewrite(runtime, key, changed)


async def set_idle(runtime: Runtime, key: SessionKey, idle_ms: int | None) -> Session:
    """Another idle time from now on; None lifts it. Raises SessionNotFound, Conflict, StoreUnavailable."""
    return await rewrite(runtime, key, lambda session: replace(session, idle=idle_ms or 0, metadata=None, data=None))


async def rewrite(
    runtime: Runtime, key: SessionKey, change: Callable[[Session], Session], *, revision: int | None = None
) -> Session:
    """Write what `change` makes of the stored session; with a `revision`, only of that one (else Conflict)."""
    async with _alone(runtime, key):
        newest = 0
        for _ in range(UPDATE_TRIES):
            now = runtime.now()
            session = await runtime.store.get(key, now=now)
            if session is None:
                raise SessionNotFound("Session not found")
            if revision is not None and session.revision != revision:
                raise Conflict(f"it is at revision {session.revision}, not at {revision}", revision=session.revision)
            changed = change(session)
            try:
                written = await runtime.store.update(changed, now=now)
            except Conflict as conflict:
                newest = conflict.revision
                runtime.telemetry.conflict()
                continue
            return replace(
                written,
                metadata=session.metadata if changed.metadata is None else changed.metadata,
                data=session.data if changed.data is None else changed.data,
                links=session.links,
            )
        raise Conflict(f"others changed the session {UPDATE_TRIES} times in between: try again", revision=newest)


def _alone(runtime: Runtime, key: SessionKey) -> asyncio.Lock:
    """The lock that lets the writers of one session in this worker wait for each other."""
    lock = runtime.locks.get(key)
    if lock is None:
        lock = runtime.locks[key] = asyncio.Lock()
    return lock
