"""The SQLite store: the contract over one file, by one thread that writes and one that reads."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from os import PathLike
from types import TracebackType
from typing import Final, Self, get_args

from sessionware.clock import HostClock
from sessionware.core.admission import Admission, Admitted, NewSession
from sessionware.core.facts import Event, Fact, Revocation
from sessionware.core.ids import Addresses, SessionKey
from sessionware.core.session import Ended, EndReason, Link, Session
from sessionware.core.store import (
    LINKS_MAX,
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
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.cursor import read_cursor
from sessionware.stores.sealing import Sealer
from sessionware.stores.sqlite import changing, reading, recording
from sessionware.stores.sqlite.admitting import admit
from sessionware.stores.sqlite.files import FileIdentity, FileLock, absolute, connect
from sessionware.stores.sqlite.lane import Lane
from sessionware.stores.sqlite.opening import Synchronous, open_file
from sessionware.stores.sqlite.reading import News, Reader
from sessionware.stores.sqlite.reserve import Reserve
from sessionware.stores.sqlite.tables import Tables
from sessionware.stores.sqlite.watching import Watching
from sessionware.stores.sqlite.writer import Writer

_NO_KEYS: Final = Sealer()


class SqliteStore:
    """Sessions in one SQLite file, shared by all processes of a host.

    What is answered survives a crash or kill -9 of every process. A power failure or a crash of the operating
    system can take the last moments with it, revocations among them, unless `synchronous` is "full".

    `timeout_ms` is the deadline of every call; `max_pages` bounds the file (4096 bytes a page); `poll_ms` is how
    late a watcher may hear what other processes did. Needs a local POSIX file system; opened once per process,
    after any fork, on one event loop at a time.
    """

    def __init__(  # noqa: PLR0913  # each keyword is one choice of the operator
        self,
        path: str | PathLike[str],
        *,
        clock: Clock | None = None,
        sealer: Sealer = _NO_KEYS,
        timeout_ms: int = 250,
        max_pages: int | None = None,
        poll_ms: int = 250,
        synchronous: Synchronous = "normal",
        salt: bytes | None = None,
    ) -> None:
        if synchronous not in get_args(Synchronous):
            raise ConfigError(f"synchronous must be one of {', '.join(get_args(Synchronous))}, got {synchronous!r}")
        self.clock: Clock = clock or HostClock()
        self.path = absolute(path)
        self._sealer = sealer
        self._timeout_ms = timeout_ms
        self._max_pages = max_pages
        self._salt = salt  # what a file that is not there yet is made with
        self._synchronous: Synchronous = synchronous
        self._stop = threading.Event()
        self._lock: FileLock | None = None
        self._addresses: Addresses | None = None
        self._watching = Watching(self._read_news, poll_ms=poll_ms)
        name = f"session store {self.path}"
        self._writes: Lane[Writer] = Lane(name, timeout_ms=timeout_ms, tell=self._watching.published)
        self._reads: Lane[Reader] = Lane(name, timeout_ms=timeout_ms)

    @property
    def addresses(self) -> Addresses:
        if self._addresses is None:
            raise StoreUnavailable(f"session store {self.path} is not open: use it inside `async with store`")
        return self._addresses

    async def __aenter__(self) -> Self:
        try:
            await self._writes.open(self._open_writer)
            await self._reads.open(self._open_reader)
            self._watching.start(await self._read_news(0, True))  # noqa: FBT003  # with the organisations
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def admit(self, ask: Admission) -> Admitted:
        return await self._writes.ask(admit, ask)

    async def create(self, new: NewSession, *, operation: bytes, now: int) -> Created:
        return await self._writes.ask(changing.create, (new, operation, now))

    async def get(self, key: SessionKey, *, now: int) -> Session | None:
        return await self._reads.ask(reading.get, (key, now))

    async def update(self, session: Session, *, now: int) -> Session:
        return await self._writes.ask(changing.update, (session, now))

    async def rebind(self, key: SessionKey, *, pool: str, was: str | None, to: str | None, now: int) -> str | None:
        return await self._writes.ask(changing.rebind, changing.Rebinding(key, pool, was, to, now))

    async def link(self, link: Link, *, operation: bytes, now: int, at_most: int = LINKS_MAX) -> Linked:
        return await self._writes.ask(changing.link, changing.Linking(link, operation, now, at_most))

    async def unlink(self, key: SessionKey, *, now: int) -> Unlinked | None:
        return await self._writes.ask(changing.unlink, (key, now), frees=True)

    async def move(self, move: Move, *, now: int) -> Moved:
        if move.old.bucket != move.birth.key.bucket:
            raise ValueError("a session moves within its bucket only: create it anew in the other partition")
        return await self._writes.ask(changing.move, (move, now))

    async def delete(self, key: SessionKey, *, now: int, reason: EndReason = EndReason.ENDED) -> Ended | None:
        return await self._writes.ask(changing.delete, (key, reason, now), frees=True)

    async def list(self, query: Query, *, now: int) -> Page:
        read_cursor(query.cursor if query.limit > 0 else "")
        return await self._reads.ask(reading.page, (query, now))

    async def reap(self, *, now: int, limit: int, idle_for: int | None = None) -> Sequence[Ended]:
        if limit <= 0:
            return await self._writes.ask(changing.probe, None)
        if self.clock.is_settling():
            return []
        limit = min(limit, REAP_MAX)
        idle: tuple[SessionKey, ...] = ()
        if idle_for is not None:
            idle = await self._reads.ask(reading.idle, (now, limit, idle_for))
        return await self._writes.ask(recording.reap, recording.Reaping(now, limit, idle_for, idle), frees=True)

    async def record(self, facts: Sequence[Fact], *, now: int) -> Sequence[bool]:
        return await self._writes.ask(recording.book_all, (facts, now), frees=True)

    async def revoke(self, revocation: Revocation, *, now: int) -> Sequence[Ended]:
        return await self._writes.ask(recording.revoke, (revocation, now), frees=True)

    async def append(self, key: SessionKey, log: Log, item: bytes, *, keep: int, now: int) -> int:
        return await self._writes.ask(changing.append, changing.Appending(key, log, item, keep, now))

    async def tail(self, key: SessionKey, log: Log, count: int, *, now: int) -> Sequence[bytes]:
        return await self._reads.ask(reading.tail, (key, log, count, now))

    def watch(self) -> AsyncIterator[Event]:
        return self._watching.watch()

    async def _read_news(self, since: int, wants_orgs: bool) -> News:  # noqa: FBT001  # one private caller
        return await self._reads.ask(reading.news, (since, wants_orgs))

    def _open_writer(self) -> Writer:
        """Runs in the writing thread: everything that may block for long."""
        opened = open_file(self.path, synchronous=self._synchronous, stop=self._stop, salt=self._salt)
        self._lock, self._addresses = opened.lock, opened.addresses
        try:
            reserve = Reserve(self.path, max_pages=self._max_pages)
            reserve.prepare(opened.connection)
            return Writer(
                opened.connection,
                Tables(opened.connection, self._sealer),
                reserve=reserve,
                identity=FileIdentity(self.path),
                patience_ms=self._timeout_ms,
            )
        except BaseException:
            opened.connection.close()
            raise

    def _open_reader(self) -> Reader:
        identity = FileIdentity(self.path)
        connection = connect(self.path, "ro")
        connection.execute(f"PRAGMA busy_timeout = {self._timeout_ms}")
        return Reader(connection, Tables(connection, self._sealer), identity=identity)

    async def _close(self) -> None:
        """Close all, whatever happens: each `finally` holds even when the wait before it was cancelled."""
        self._stop.set()
        try:
            await self._watching.close()
        finally:
            try:
                await self._reads.close()
            finally:
                await self._close_writes()

    async def _close_writes(self) -> None:
        try:
            await self._writes.close()
        finally:
            self._stop.clear()
            if self._lock is not None:
                self._lock.close()
                self._lock = None
