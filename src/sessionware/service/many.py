"""The only place that deals with many sessions at once: listed, counted, closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from sessionware.core.ids import SessionKey, handle
from sessionware.core.session import Session
from sessionware.core.store import PAGE_MAX, Query
from sessionware.errors import InvalidValue
from sessionware.service.owners import Owner
from sessionware.service.refusals import shown
from sessionware.service.runtime import Runtime
from sessionware.service.snapshot import Listing, Snapshot

PAGES_MAX: Final = 1_000  # of one owner: a million sessions; a listing that never ends must not hold its caller


async def page(runtime: Runtime, owner: Owner | None, *, cursor: str, limit: int) -> Listing:
    """One page of an owner's sessions, or of everybody's; at most PAGE_MAX. Raises InvalidValue."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidValue(f"limit must be 1..{PAGE_MAX}, got {shown(limit)}")
    query = _query(owner, cursor=cursor, limit=min(limit, PAGE_MAX))
    try:
        found = await runtime.store.list(query, now=runtime.now())
    except ValueError as error:
        raise InvalidValue(f"cursor: {error}") from error
    return Listing(tuple([Snapshot(_called(session), session) for session in found.sessions]), found.cursor)


async def count(runtime: Runtime, owner: Owner | None) -> int:
    """How many sessions live: an owner's to the one; of all, those that expired count until they are reaped."""
    if owner is None:
        return (await runtime.store.list(Query(limit=0), now=runtime.now())).total
    return sum([1 async for _ in _every(runtime, owner)])


async def close_all(runtime: Runtime, owner: Owner, *, keep: SessionKey | None) -> list[str]:
    """End all sessions of an owner but one; answers the handles of those that this call ended."""
    doomed = [session.key async for session in _every(runtime, owner) if session.key != keep]
    return [handle(key) for key in doomed if await runtime.end(key) is not None]


async def _every(runtime: Runtime, owner: Owner) -> AsyncIterator[Session]:
    cursor = ""
    for _ in range(PAGES_MAX):
        found = await runtime.store.list(_query(owner, cursor=cursor, limit=PAGE_MAX), now=runtime.now())
        for session in found.sessions:
            yield session
        cursor = found.cursor
        if not cursor:
            return


def _query(owner: Owner | None, *, cursor: str, limit: int) -> Query:
    if owner is None:
        return Query(cursor=cursor, limit=limit)
    return Query(owner.owner, owner.bucket, cursor, limit)


def _called(session: Session) -> str:
    """What a listing calls a session: never an id that would let its reader use it."""
    return session.birth.name or handle(session.key)
