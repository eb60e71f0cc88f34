"""The PostgreSQL store: one function per call, one round trip; admissions that wait together travel together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

from sessionware.clock import StoreClock
from sessionware.core.admission import Admission, Admitted, NewSession
from sessionware.core.facts import Event, Fact, Revocation
from sessionware.core.ids import Addresses, SessionKey
from sessionware.core.session import Ended, EndReason, Link, Session
from sessionware.core.store import (
    LINKS_MAX,
    PAGE_MAX,
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
from sessionware.errors import Conflict, SessionExists, SessionNotFound, StoreUnavailable, TooManySessions
from sessionware.stores.cursor import read_cursor, write_cursor
from sessionware.stores.postgres import answers, asking, slicing, telling
from sessionware.stores.postgres.address import PostgresAddress
from sessionware.stores.postgres.answers import FULL_NAME, HASH, NUMBER, OUTCOME, POOLS, UPSTREAMS, Row
from sessionware.stores.postgres.asking import question
from sessionware.stores.postgres.batching import Batches
from sessionware.stores.postgres.calls import MAX_SKEW_MS, Calls
from sessionware.stores.postgres.server import Server
from sessionware.stores.postgres.watching import Subscription
from sessionware.stores.sealing import NO_OWNER, Place, Sealer

MOVE_TRIES: Final = 3
LOG_MAX: Final = 100_000  # items of a log kept or asked for at once


class PostgresStore:
    """Shared by any number of workers, durable as PostgreSQL is: what was answered has been written."""

    def __init__(
        self,
        address: PostgresAddress,
        *,
        clock: Clock | None = None,
        sealer: Sealer | None = None,
        timeout_ms: int = 250,
        salt: bytes | None = None,
    ) -> None:
        own = StoreClock() if clock is None else None
        self.clock: Clock = clock or own or StoreClock()
        self._sealer = sealer or Sealer()
        self._server = Server(address, timeout=timeout_ms / 1000, calibrated=own, salt=salt)
        self._calls = Calls(
            self._server, self.clock, max_skew=MAX_SKEW_MS if own is not None else 0, timeout=timeout_ms / 1000
        )
        self._batches = Batches(self._calls, self.clock, self._sealer)
        self._subscription = Subscription(self._server)

    @property
    def addresses(self) -> Addresses:
        if self._server.addresses is None:
            raise StoreUnavailable(f"the store {self._server.address!r} was not entered: use `async with`")
        return self._server.addresses

    async def __aenter__(self) -> Self:
        try:
            await self._server.start()
        except BaseException:
            await self._server.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._subscription.close()
        await self._batches.close()
        await self._server.close()

    async def admit(self, ask: Admission) -> Admitted:
        return await self._batches.admit(ask)

    async def create(self, new: NewSession, *, operation: bytes, now: int) -> Created:
        born = new

        def asked_at(then: int) -> asking.Question:
            nonlocal born
            born = new.later(then - now)
            return asking.creation(born, operation, then, self._sealer)

        rows = await self._calls.ask_at("create_session", asked_at(now), asked_at)
        row = rows[0]
        gone = answers.ends(rows[1:], self._sealer)
        if row[NUMBER] == 1:
            return Created(Making.CREATED, born.session, evicted=gone)
        shown = answers.session(row, self._sealer, with_payload=False) if row[HASH] is not None else None
        full = row[FULL_NAME].decode() if row[FULL_NAME] is not None else ""
        return Created(Making(row[OUTCOME]), shown, full, gone)

    async def get(self, key: SessionKey, *, now: int) -> Session | None:
        rows = await self._calls.ask("get_session", question([], [key.hash], [now]))
        return answers.full(rows[0], self._sealer) if rows else None

    async def update(self, session: Session, *, now: int) -> Session:
        row = _found(await self._calls.ask("update_session", asking.change(session, now, self._sealer)))
        if row[OUTCOME] == "conflict":
            raise _conflict(session.revision, row[NUMBER])
        return answers.session(row, self._sealer, with_payload=True)

    async def rebind(self, key: SessionKey, *, pool: str, was: str | None, to: str | None, now: int) -> str | None:
        words = [key.hash, *[each.encode() if each is not None else None for each in (pool, was, to)]]
        row = _found(await self._calls.ask("rebind", question([key.hash], words, [now])))
        standing = row[FULL_NAME]
        return standing.decode() if standing is not None else None

    async def link(self, link: Link, *, operation: bytes, now: int, at_most: int = LINKS_MAX) -> Linked:
        asked = asking.linking(link, operation, now=now, at_most=at_most, sealer=self._sealer)
        rows = await self._calls.ask("put_link", asked)
        _found(rows)
        first, *others = [each for row in rows for each in answers.links(row, self._sealer)]
        return Linked(first, tuple(others))

    async def unlink(self, key: SessionKey, *, now: int) -> Unlinked | None:
        rows = await self._calls.ask("unlink", question([key.hash], [key.hash], [now]))
        if not rows:
            return None
        ended = answers.ended(rows[1], self._sealer) if len(rows) > 1 else None
        return Unlinked(answers.links(rows[0], self._sealer)[0], ended)

    async def move(self, move: Move, *, now: int) -> Moved:
        if move.old.bucket != move.birth.key.bucket:
            raise ValueError("a session moves within its bucket only: create it anew in the other partition")
        for _ in range(MOVE_TRIES):
            before = await self._calls.ask("read_for_move", question([move.old.hash], [move.old.hash], [now]))
            if not before:
                raise _missing()
            rows = await self._calls.ask("move_session", telling.moving(move, before, now, self._sealer))
            row = _found(rows)
            match row[OUTCOME]:
                case "conflict":
                    raise _conflict(move.revision, row[NUMBER])
                case "exists":
                    raise SessionExists("a live session already stands under the new id")
                case "full":
                    raise TooManySessions(
                        f"the new owner already has {move.caps.per_owner} sessions and none may be evicted"
                    )
                case "moved":
                    return telling.moved(rows, self._sealer)
        raise StoreUnavailable(f"the session's logs kept growing while it was moved, {MOVE_TRIES} times: try again")

    async def delete(self, key: SessionKey, *, now: int, reason: EndReason = EndReason.ENDED) -> Ended | None:
        words: list[asking.Word] = [key.hash, reason.value.encode()]
        rows = await self._calls.ask("delete_session", question([key.hash], words, [now]))
        return answers.ended(rows[0], self._sealer) if rows else None

    async def list(self, query: Query, *, now: int) -> Page:
        created_at, hash_ = read_cursor(query.cursor)
        wanted = max(min(query.limit, PAGE_MAX), 0)
        asked = question([], [query.owner, hash_], [now, created_at, wanted])
        head, *rows = await self._calls.ask("list_sessions", asked)
        if not wanted:
            upstreams = {(row[POOLS][0].decode(), row[UPSTREAMS][0].decode()): row[NUMBER] for row in rows}
            return Page((), head[NUMBER], upstreams=upstreams)
        shown = rows[:wanted]
        cursor = write_cursor(shown[-1][NUMBER], shown[-1][HASH]) if len(rows) > wanted else ""
        return Page(answers.page(shown, self._sealer), head[NUMBER], cursor)

    async def reap(self, *, now: int, limit: int, idle_for: int | None = None) -> Sequence[Ended]:
        if limit <= 0:
            await self._server.call("SELECT 1")
            return []
        if self.clock.is_settling():
            return []
        rows = await slicing.reap(self._calls, now=now, limit=min(limit, REAP_MAX), idle_for=idle_for)
        return [*answers.ends(rows, self._sealer)]

    async def record(self, facts: Sequence[Fact], *, now: int) -> Sequence[bool]:
        return await slicing.record(self._calls, facts, now)

    async def revoke(self, revocation: Revocation, *, now: int) -> Sequence[Ended]:
        asked = telling.revocation(revocation, now=now, at_most=slicing.SLICE)
        rows = await slicing.revoke(self._calls, asked)
        return [*answers.ends(rows, self._sealer)]

    async def append(self, key: SessionKey, log: Log, item: bytes, *, keep: int, now: int) -> int:
        sealed = self._sealer.seal(item, place=Place(key, NO_OWNER, log.value))
        words: list[asking.Word] = [key.hash, log.value.encode(), sealed]
        row = _found(await self._calls.ask("append_item", question([key.hash], words, [now, min(keep, LOG_MAX)])))
        count: int = row[NUMBER]
        return count

    async def tail(self, key: SessionKey, log: Log, count: int, *, now: int) -> Sequence[bytes]:
        words: list[asking.Word] = [key.hash, log.value.encode()]
        rows = await self._calls.ask("tail_items", question([], words, [now, max(min(count, LOG_MAX), 0)]))
        _found(rows)
        place = Place(key, NO_OWNER, log.value)
        return [self._sealer.open(row[answers.DATA], place=place) for row in rows[1:]]

    def watch(self) -> AsyncIterator[Event]:
        return self._subscription.watch()


def _found(rows: Sequence[Any]) -> Row:
    if rows[0][OUTCOME] == "missing":
        raise _missing()
    return rows[0]


def _missing() -> SessionNotFound:
    return SessionNotFound("there is no live session under this key")


def _conflict(revision: int, standing: int) -> Conflict:
    return Conflict(f"session changed since revision {revision}, it is at {standing}: read it again", revision=standing)
