"""A store that fails on command: refuses, loses its answer, times out, holds a call, or has its caller cancelled.

    store = FaultyStore(MemoryStore())
    store.on("admit", Fault.LOST_REPLY)              # the next admit is applied, and raises
    store.on("update", Fault.REFUSED, after=2)       # the third update from now on
    store.always("any", Fault.TIMED_OUT)             # everything, until heal()
    gate = store.hold("create")                      # slow: waits at the gate until gate.open()

Nothing here sleeps: a test decides when a slow call goes on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Final, NoReturn, Self, TypeVar

from sessionware.core.admission import Admission, Admitted, NewSession
from sessionware.core.facts import Event, Fact, Revocation
from sessionware.core.ids import Addresses, SessionKey
from sessionware.core.session import Ended, EndReason, Link, Session
from sessionware.core.store import (
    LINKS_MAX,
    Clock,
    Created,
    Linked,
    Log,
    Move,
    Moved,
    Page,
    Query,
    Store,
    Unlinked,
)
from sessionware.errors import StoreUnavailable

Answer = TypeVar("Answer")

METHODS: Final = frozenset({
    "admit", "create", "get", "update", "rebind", "link", "unlink", "move", "delete", "list", "reap", "record",
    "revoke", "append", "tail",
})  # fmt: skip
ANY: Final = "any"


class Fault(StrEnum):
    """How a call fails."""

    REFUSED = "refused"  # nothing was applied
    LOST_REPLY = "lost_reply"  # it was applied, and nobody is told
    TIMED_OUT = "timed_out"  # nothing was applied, and that took until the deadline
    TIMED_OUT_LATE = "timed_out_late"  # it was applied, but not in time
    CANCELLED = "cancelled"  # the caller is cancelled before it was applied
    CANCELLED_LATE = "cancelled_late"  # the caller is cancelled after it was applied


_LATE: Final = frozenset({Fault.LOST_REPLY, Fault.TIMED_OUT_LATE, Fault.CANCELLED_LATE})


class Gate:
    """Where a slow call waits. `reached` is set when one is there."""

    def __init__(self, *, late: bool) -> None:
        self.late = late
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let everybody through, now and later."""
        self._opened.set()

    async def wait(self) -> None:
        self.reached.set()
        await self._opened.wait()


class FaultyStore:
    """Any store, with faults in front of it; without any it is that store. `watch` never fails.

    `calls` counts what was asked, `applied` what reached the store, by method.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._scripts: dict[str, list[tuple[int, Fault | Gate]]] = {}
        self._always: dict[str, Fault] = {}
        self.calls: Counter[str] = Counter()
        self.applied: Counter[str] = Counter()

    # -------------------------------------------------------------- the script

    def on(self, method: str, fault: Fault, *, after: int = 0) -> None:
        """Let `after` calls of `method` ("any": of any) pass from now on, then fail one."""
        self._put(method, after, fault)

    def always(self, method: str, fault: Fault) -> None:
        """Fail every call of `method` ("any": of all) until `heal`. What `on` scripted comes first."""
        self._always[_checked(method)] = fault

    def hold(self, method: str, *, after: int = 0, late: bool = False) -> Gate:
        """Stop one call at a gate, before it is applied (or after, if `late`), until the test opens it."""
        gate = Gate(late=late)
        self._put(method, after, gate)
        return gate

    def heal(self) -> None:
        """Forget every fault that has not struck. Calls at a gate stay there."""
        self._scripts.clear()
        self._always.clear()

    # -------------------------------------------------------------- the store

    @property
    def addresses(self) -> Addresses:
        return self._store.addresses

    @property
    def clock(self) -> Clock:
        return self._store.clock

    async def __aenter__(self) -> Self:
        await self._store.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._store.__aexit__(kind, error, trace)

    async def admit(self, ask: Admission) -> Admitted:
        return await self._call("admit", lambda: self._store.admit(ask))

    async def create(self, new: NewSession, *, operation: bytes, now: int) -> Created:
        return await self._call("create", lambda: self._store.create(new, operation=operation, now=now))

    async def get(self, key: SessionKey, *, now: int) -> Session | None:
        return await self._call("get", lambda: self._store.get(key, now=now))

    async def update(self, session: Session, *, now: int) -> Session:
        return await self._call("update", lambda: self._store.update(session, now=now))

    async def rebind(self, key: SessionKey, *, pool: str, was: str | None, to: str | None, now: int) -> str | None:
        return await self._call("rebind", lambda: self._store.rebind(key, pool=pool, was=was, to=to, now=now))

    async def link(self, link: Link, *, operation: bytes, now: int, at_most: int = LINKS_MAX) -> Linked:
        return await self._call("link", lambda: self._store.link(link, operation=operation, now=now, at_most=at_most))

    async def unlink(self, key: SessionKey, *, now: int) -> Unlinked | None:
        return await self._call("unlink", lambda: self._store.unlink(key, now=now))

    async def move(self, move: Move, *, now: int) -> Moved:
        return await self._call("move", lambda: self._store.move(move, now=now))

    async def delete(self, key: SessionKey, *, now: int, reason: EndReason = EndReason.ENDED) -> Ended | None:
        return await self._call("delete", lambda: self._store.delete(key, now=now, reason=reason))

    async def list(self, query: Query, *, now: int) -> Page:
        return await self._call("list", lambda: self._store.list(query, now=now))

    async def reap(self, *, now: int, limit: int, idle_for: int | None = None) -> Sequence[Ended]:
        return await self._call("reap", lambda: self._store.reap(now=now, limit=limit, idle_for=idle_for))

    async def record(self, facts: Sequence[Fact], *, now: int) -> Sequence[bool]:
        return await self._call("record", lambda: self._store.record(facts, now=now))

    async def revoke(self, revocation: Revocation, *, now: int) -> Sequence[Ended]:
        return await self._call("revoke", lambda: self._store.revoke(revocation, now=now))

    async def append(self, key: SessionKey, log: Log, item: bytes, *, keep: int, now: int) -> int:
        return await self._call("append", lambda: self._store.append(key, log, item, keep=keep, now=now))

    async def tail(self, key: SessionKey, log: Log, count: int, *, now: int) -> Sequence[bytes]:
        return await self._call("tail", lambda: self._store.tail(key, log, count, now=now))

    def watch(self) -> AsyncIterator[Event]:
        return self._store.watch()

    # -------------------------------------------------------------- inside

    async def _call(self, method: str, apply: Callable[[], Awaitable[Answer]]) -> Answer:
        self.calls[method] += 1
        fault = self._next(method)
        late = fault.late if isinstance(fault, Gate) else fault in _LATE
        if fault is not None and not late:
            await _strike(fault, method)
        self.applied[method] += 1
        answer = await apply()
        if fault is not None and late:
            await _strike(fault, method)
        return answer

    def _put(self, method: str, after: int, fault: Fault | Gate) -> None:
        if after < 0:
            raise ValueError(f"after={after}: how many calls pass before the fault is 0 or more")
        self._scripts.setdefault(_checked(method), []).append((self._made(method) + after + 1, fault))

    def _next(self, method: str) -> Fault | Gate | None:
        for name in (method, ANY):
            script = self._scripts.get(name, [])
            for number, (nth, fault) in enumerate(script):
                if nth == self._made(name):
                    del script[number]
                    return fault
        return self._always.get(method, self._always.get(ANY))

    def _made(self, method: str) -> int:
        return self.calls.total() if method == ANY else self.calls[method]


def _checked(method: str) -> str:
    if method not in METHODS and method != ANY:
        raise ValueError(f"a store has no method {method!r} that can fail: {', '.join(sorted(METHODS))}, or {ANY}")
    return method


async def _strike(fault: Fault | Gate, method: str) -> None:
    match fault:
        case Gate():
            await fault.wait()
        case Fault.CANCELLED | Fault.CANCELLED_LATE:
            await _cancel_the_caller()
        case Fault.TIMED_OUT | Fault.TIMED_OUT_LATE:
            raise StoreUnavailable(f"{method} did not answer in time (a fault of this test)") from TimeoutError()
        case _:
            raise StoreUnavailable(f"{method} failed (a fault of this test)")


async def _cancel_the_caller() -> NoReturn:
    """Cancel the task that is calling, as its owner would: it sees CancelledError at this await."""
    task = asyncio.current_task()
    assert task is not None, "a store is called inside a task"
    task.cancel()
    await asyncio.get_running_loop().create_future()
    raise AssertionError("a cancelled task went on")
