"""The memory store: the contract in plain Python, and the reference that every other store is compared with.

There is no `await` between a read and a write here, so each method is atomic on its event loop.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Final, Self

from msgspec.structs import replace

from sessionware.clock import HostClock
from sessionware.core.admission import Admission, Admitted, NewSession
from sessionware.core.facts import Event, Fact, Revocation, SessionGone
from sessionware.core.ids import SALT_BYTES, Addresses, SessionKey
from sessionware.core.session import Ended, EndReason, Link, Session, deadline
from sessionware.core.store import (
    LINKS_MAX,
    REAP_MAX,
    Clock,
    Created,
    Linked,
    Log,
    Making,
    Move,
    Moved,
    Page,
    Query,
    Unlinked,
)
from sessionware.errors import Conflict, SessionExists, SessionNotFound, TooManySessions
from sessionware.stores.memory import admitting, recording
from sessionware.stores.memory.records import Record
from sessionware.stores.memory.state import State
from sessionware.stores.memory.usual import admit_usual

COUNTERS_CAP: Final = 1_000_000  # about 250 MB of counters; new clients share beyond it


class MemoryStore:
    """All state in this process; nothing is durable. One event loop at a time."""

    def __init__(self, *, clock: Clock | None = None, counters_cap: int = COUNTERS_CAP) -> None:
        self.clock: Clock = clock or HostClock()
        self.addresses = Addresses(secrets.token_bytes(SALT_BYTES))
        self._state = State(counters_cap)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state.events.close()

    async def admit(self, ask: Admission) -> Admitted:
        return admit_usual(self._state, ask) or admitting.admit(self._state, ask)

    async def create(self, new: NewSession, *, operation: bytes, now: int) -> Created:
        state, birth = self._state, new.session.birth
        kept = state.operations.answer(birth.owner, "create", operation, now)
        if kept is not None:
            return kept  # type: ignore[no-any-return]
        record = state.live(birth.key, now)
        if record is not None:
            known = record.session if record.session.birth.owner == birth.owner else None
            return Created(Making.EXISTS, known and known.without_payload())
        swept = admitting.sweep_for_levels(state, new, now)
        room = admitting.room_for(state, new, now)
        if isinstance(room, str):
            return Created(Making.FULL, full=room, evicted=swept)
        made, evicted = admitting.make(state, new, room, now)
        state.operations.keep(birth.owner, "create", operation, Created(Making.CREATED, made.session), now)
        return Created(Making.CREATED, made.session, evicted=swept + evicted)

    async def get(self, key: SessionKey, *, now: int) -> Session | None:
        record = self._state.records.by_hash(key.hash)
        if record is None or now >= record.session.expires_at:
            return None
        return record.with_links() if record.links else record.session

    async def update(self, session: Session, *, now: int) -> Session:
        record = self._wanted(session.key, now)
        stored = record.session
        if stored.revision != session.revision:
            raise Conflict(
                f"session changed since revision {session.revision}, it is at {stored.revision}: read it again",
                revision=stored.revision,
            )
        seen_at = max(now, stored.seen_at)
        written = replace(
            stored,
            idle=session.idle,
            absolute_at=session.absolute_at,
            expires_at=deadline(seen_at, session.idle, session.absolute_at),
            seen_at=seen_at,
            revision=stored.revision + 1,
            metadata=stored.metadata if session.metadata is None else session.metadata,
            data=stored.data if session.data is None else session.data,
        )
        self._state.records.put(record, written)
        return written

    async def rebind(self, key: SessionKey, *, pool: str, was: str | None, to: str | None, now: int) -> str | None:
        record = self._wanted(key, now)
        bindings = record.session.bindings
        if bindings.get(pool) != was:
            return bindings.get(pool)
        changed = {each: upstream for each, upstream in bindings.items() if each != pool}
        if to is not None:
            changed[pool] = to
        self._state.records.count_bindings(bindings, -1)
        self._state.records.count_bindings(changed, 1)
        record.session = replace(record.session, bindings=changed)
        return to

    async def link(self, link: Link, *, operation: bytes, now: int, at_most: int = LINKS_MAX) -> Linked:
        state = self._state
        kept = state.operations.answer(link.owner, "link", operation, now)
        if kept is not None:
            return kept  # type: ignore[no-any-return]
        record = self._wanted(link.session, now)
        state.release_link(link.key, keeper=record)
        unlinked = state.links.add(record, link, at_most)
        state.operations.keep(link.owner, "link", operation, Linked(link), now)
        return Linked(link, unlinked)

    async def unlink(self, key: SessionKey, *, now: int) -> Unlinked | None:
        state = self._state
        link = state.links.get(key)
        record = state.live(link.session, now) if link else None
        if link is None or record is None:
            return None
        state.links.remove(record, link)
        ends = record.session.birth.name is None and not record.links
        return Unlinked(link, state.end(record, EndReason.ENDED, now) if ends else None)

    async def move(self, move: Move, *, now: int) -> Moved:
        if move.old.bucket != move.birth.key.bucket:
            raise ValueError("a session moves within its bucket only: create it anew in the other partition")
        state, record = self._state, self._wanted(move.old, now)
        stored = record.session
        if stored.revision != move.revision:
            raise Conflict(
                f"session changed since revision {move.revision}, it is at {stored.revision}: read it again",
                revision=stored.revision,
            )
        if state.live(move.birth.key, now) is not None:
            raise SessionExists("a live session already stands under the new id")
        birth = replace(move.birth, holds=stored.birth.holds)
        moving = NewSession(replace(stored, birth=birth), replace(move.caps, levels=()))
        room = admitting.room_for(state, moving, now, leaving=record)
        if isinstance(room, str):
            raise TooManySessions(f"the new owner already has {move.caps.per_owner} sessions and none may be evicted")
        unlinked = () if birth.tag == stored.birth.tag else state.links.remove_all(record)
        state.records.remove(record)
        state.stones.set(stored, EndReason.ROTATED, now)
        made, evicted = admitting.make(state, moving, room, now)
        made.counters, made.logs, made.open = record.counters, record.logs, record.open
        state.links.carry(record, made)
        state.events.publish(SessionGone(move.old, EndReason.ROTATED))
        return Moved(made.session, unlinked, evicted)

    async def delete(self, key: SessionKey, *, now: int, reason: EndReason = EndReason.ENDED) -> Ended | None:
        record = self._state.live(key, now)
        return self._state.end(record, reason, now) if record else None

    async def list(self, query: Query, *, now: int) -> Page:
        return recording.page(self._state, query, now)

    async def reap(self, *, now: int, limit: int, idle_for: int | None = None) -> Sequence[Ended]:
        if limit <= 0 or self.clock.is_settling():
            return []
        return self._state.reap(now, min(limit, REAP_MAX), idle_for)

    async def record(self, facts: Sequence[Fact], *, now: int) -> Sequence[bool]:
        return [recording.book(self._state, fact, now) for fact in facts]

    async def revoke(self, revocation: Revocation, *, now: int) -> Sequence[Ended]:
        return recording.revoke(self._state, revocation, now)

    async def append(self, key: SessionKey, log: Log, item: bytes, *, keep: int, now: int) -> int:
        record = self._wanted(key, now)
        if record.logs is None:
            record.logs = {}
        count, items = record.logs.get(log, (0, []))
        record.logs[log] = (count + 1, [*items, item][-keep:] if keep else [])
        return count + 1

    async def tail(self, key: SessionKey, log: Log, count: int, *, now: int) -> Sequence[bytes]:
        record = self._wanted(key, now)
        items = (record.logs or {}).get(log, (0, []))[1]
        return items[-count:] if count > 0 else []

    def watch(self) -> AsyncIterator[Event]:
        return self._state.events.watch()

    def _wanted(self, key: SessionKey, now: int) -> Record:
        record = self._state.live(key, now)
        if record is None:
            raise SessionNotFound("there is no live session under this key")
        return record
