"""The Redis store: one script per call, one round trip per admission."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

from msgspec.structs import replace

from sessionware.core.admission import Admission, Admitted, NewSession
from sessionware.core.facts import Event, Fact, Revocation, TokenRevocation
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
    Move,
    Moved,
    Page,
    Query,
    Unlinked,
)
from sessionware.errors import Conflict, SessionExists, SessionNotFound, StoreUnavailable, TooManySessions
from sessionware.stores.codec import pack
from sessionware.stores.cursor import read_cursor, write_cursor
from sessionware.stores.redis import answers, asking, telling
from sessionware.stores.redis.calls import Calls
from sessionware.stores.redis.servers import Servers
from sessionware.stores.redis.watching import Subscription
from sessionware.stores.sealing import NO_OWNER, Place, Sealer

MOVE_TRIES: Final = 3
LOG_MAX: Final = 100_000  # items of a log kept or asked for at once: more would stall the server
_LOG_COUNT: Final = {Log.CONTEXT: "gc", Log.EVENTS: "ge"}


class RedisStore:
    """Shared by any number of workers. Durable as far as the server's own persistence goes (`appendonly yes`)."""

    def __init__(self, calls: Calls[Servers], *, sealer: Sealer | None = None) -> None:
        self.clock: Clock = calls.clock
        self._calls = calls
        self._run = calls.run
        self._servers = calls.servers
        self._sealer = sealer or Sealer()
        self._subscription = Subscription(self._servers, calls.keys, calls.known)

    @property
    def addresses(self) -> Addresses:
        return self._servers.addresses

    async def __aenter__(self) -> Self:
        try:
            await self._servers.start()
        except BaseException:
            await self._servers.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._subscription.close()
        await self._servers.close()

    async def admit(self, ask: Admission) -> Admitted:
        calls, sealer = self._calls, self._sealer
        asked = asking.admission(ask, sealer)
        raw = await calls.servers.evaluate(calls.scripts["admit"], ask.bucket, ask.now, calls.skew, asked)
        if raw[0] == b"SKEW":

            def asked_at(now: int) -> list[asking.Argument]:
                nonlocal ask
                ask = ask.at(now)
                return asking.admission(ask, sealer)

            raw = await calls.again("admit", ask.bucket, raw, asked_at)
        return answers.admitted(raw, ask, sealer)

    async def create(self, new: NewSession, *, operation: bytes, now: int) -> Created:
        bucket = new.session.key.bucket

        def asked_at(then: int) -> list[asking.Argument]:
            return [operation.hex(), *asking.new_session(new.later(then - now), self._sealer)]

        return answers.created(await self._calls.run_at("create", bucket, now, asked_at), bucket, self._sealer)

    async def get(self, key: SessionKey, *, now: int) -> Session | None:
        raw = await self._run("get", key.bucket, now, [key.hash.hex()])
        if not raw:
            return None
        links = answers.links(raw[1], key.bucket, self._sealer)
        return answers.session(raw[0], self._sealer, with_payload=True, links=links)

    async def update(self, session: Session, *, now: int) -> Session:
        key = session.key
        metadata, data = asking.sealed(session, self._sealer)
        asked = [
            key.hash.hex(), session.revision, session.idle, session.absolute_at,
            int(session.metadata is not None), metadata, int(session.data is not None), data,
        ]  # fmt: skip
        raw = _found(await self._run("update", key.bucket, now, asked))
        if raw[0] == b"conflict":
            raise _conflict(session.revision, raw[1])
        return answers.session(raw[1], self._sealer, with_payload=True)

    async def rebind(self, key: SessionKey, *, pool: str, was: str | None, to: str | None, now: int) -> str | None:
        asked = [key.hash.hex(), pool, was or "", to or ""]
        raw = _found(await self._run("rebind", key.bucket, now, asked))
        return raw[1].decode() or None

    async def link(self, link: Link, *, operation: bytes, now: int, at_most: int = LINKS_MAX) -> Linked:
        bucket = link.session.bucket
        handshake = self._sealer.seal(link.handshake, place=Place(link.key, link.owner, "handshake"))
        asked = [
            operation.hex(), link.owner.hex(), link.session.hash.hex(), link.key.hash.hex(),
            pack(replace(link, handshake=b"")), link.seen_at, handshake, at_most,
        ]  # fmt: skip
        raw = _found(await self._run("link", bucket, now, asked))
        return Linked(answers.link(raw[1], bucket, self._sealer), answers.links(raw[2], bucket, self._sealer))

    async def unlink(self, key: SessionKey, *, now: int) -> Unlinked | None:
        raw = await self._run("unlink", key.bucket, now, [key.hash.hex()])
        if raw[0] == b"missing":
            return None
        ended = answers.ended(raw[2], key.bucket, self._sealer) if raw[2] else None
        return Unlinked(answers.link(raw[1], key.bucket, self._sealer), ended)

    async def move(self, move: Move, *, now: int) -> Moved:
        if move.old.bucket != move.birth.key.bucket:
            raise ValueError("a session moves within its bucket only: create it anew in the other partition")
        for _ in range(MOVE_TRIES):
            before = await self._run("moving", move.old.bucket, now, [move.old.hash.hex()])
            if not before:
                raise _missing()
            raw = _found(await self._run("move", move.old.bucket, now, telling.moving(move, before, self._sealer)))
            match raw[0]:
                case b"conflict":
                    raise _conflict(move.revision, raw[1])
                case b"exists":
                    raise SessionExists("a live session already stands under the new id")
                case b"full":
                    raise TooManySessions(
                        f"the new owner already has {move.caps.per_owner} sessions and none may be evicted"
                    )
                case b"moved":
                    return telling.moved(raw, move.old.bucket, self._sealer)
        raise StoreUnavailable(f"the session's logs kept growing while it was moved, {MOVE_TRIES} times: try again")

    async def delete(self, key: SessionKey, *, now: int, reason: EndReason = EndReason.ENDED) -> Ended | None:
        raw = await self._run("delete", key.bucket, now, [key.hash.hex(), reason.value])
        return answers.ended(raw, key.bucket, self._sealer) if raw else None

    async def list(self, query: Query, *, now: int) -> Page:
        created_at, hash_ = read_cursor(query.cursor)
        owner = query.owner.hex() if query.owner is not None else ""
        asked = [owner, created_at, hash_.hex(), max(min(query.limit, PAGE_MAX), 0)]
        total, page, upstreams, last, last_created = await self._run("list", query.bucket, now, asked)
        shown = answers.page(page, self._sealer)
        cursor = write_cursor(last_created, bytes.fromhex(last.decode())) if last else ""
        return Page(shown, total, cursor, telling.upstream_counts(upstreams))

    async def reap(self, *, now: int, limit: int, idle_for: int | None = None) -> Sequence[Ended]:
        if limit <= 0:
            await self._servers.command("PING")
            return []
        if self.clock.is_settling():
            return []
        return await self.reap_bucket(0, now=now, limit=min(limit, REAP_MAX), idle_for=idle_for)

    async def reap_bucket(self, bucket: int, *, now: int, limit: int, idle_for: int | None) -> Sequence[Ended]:
        """Sweep one bucket."""
        ended: list[Ended] = []
        left, rank = limit, 0
        while rank >= 0:
            asked = [left, "" if idle_for is None else idle_for, rank]
            raw, rank = await self._run("reap", bucket, now, asked)
            ended += answers.ends(raw, bucket, self._sealer)
            left -= len(raw)
        return ended

    async def record(self, facts: Sequence[Fact], *, now: int) -> Sequence[bool]:
        told = [telling.fact(fact, now) for fact in facts]
        replies = await asyncio.gather(*[self._run("record", bucket, now, asked) for bucket, asked in told])
        return [reply == 1 for reply in replies]

    async def revoke(self, revocation: Revocation, *, now: int) -> Sequence[Ended]:
        bucket = 0 if isinstance(revocation, TokenRevocation) else revocation.bucket
        self._calls.known.note(revocation)  # before it is written: a failover may come between
        raw, more = await self._run("revoke", bucket, now, telling.revocation(revocation))
        await self._servers.command("PUBLISH", self._calls.keys.events, telling.revoked(revocation))
        ended = list(answers.ends(raw, bucket, self._sealer))
        return [*ended, *(await self.revoke_in(bucket, revocation, now=now) if more else ())]

    async def revoke_in(self, bucket: int, revocation: Revocation, *, now: int) -> Sequence[Ended]:
        """Write a revocation into one bucket, and end there what it reaches; nobody is told."""
        ended: list[Ended] = []
        more = 1
        while more:
            raw, more = await self._run("revoke", bucket, now, telling.revocation(revocation))
            ended += answers.ends(raw, bucket, self._sealer)
        return ended

    async def append(self, key: SessionKey, log: Log, item: bytes, *, keep: int, now: int) -> int:
        sealed = self._sealer.seal(item, place=Place(key, NO_OWNER, log.value))
        asked = [key.hash.hex(), log.value, _LOG_COUNT[log], min(keep, LOG_MAX), sealed]
        count: int = _found(await self._run("append", key.bucket, now, asked))[1]
        return count

    async def tail(self, key: SessionKey, log: Log, count: int, *, now: int) -> Sequence[bytes]:
        raw = _found(await self._run("tail", key.bucket, now, [key.hash.hex(), log.value, min(count, LOG_MAX)]))
        place = Place(key, NO_OWNER, log.value)
        return [self._sealer.open(item, place=place) for item in raw[1]]

    def watch(self) -> AsyncIterator[Event]:
        return self._subscription.watch()


def _found(raw: Any) -> Any:
    if raw[0] == b"missing":
        raise _missing()
    return raw


def _missing() -> SessionNotFound:
    return SessionNotFound("there is no live session under this key")


def _conflict(revision: int, standing: int) -> Conflict:
    return Conflict(f"session changed since revision {revision}, it is at {standing}: read it again", revision=standing)
