"""The only place that keeps running requests and streams alive in the store: renewed while they run, freed after."""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import Struct

from sessionware.core.admission import Admission
from sessionware.core.facts import Released, Renewed, Touched
from sessionware.core.ids import SessionKey
from sessionware.core.ledger import LEASE_MS, Lease
from sessionware.core.store import Clock
from sessionware.gate.facts import FactQueue

RENEW_EVERY_MS: Final = 10_000  # a third of a lease: two renewals may be lost before a slot frees itself


class Running(Struct, frozen=True, gc=False):
    """One running request or stream: the session that it keeps open, and the leases that it holds.

    `opens`: its admission has made the session open already.
    """

    bucket: int
    session: SessionKey | None = None
    leases: tuple[Lease, ...] = ()
    opens: bool = False

    @classmethod
    def of(cls, ask: Admission) -> Running:
        """What an admission that was granted has begun."""
        return cls(ask.bucket, ask.key, ask.leases, ask.opens)


class LeaseKeeper:
    """Everything of this worker that is running now, by operation.

    A request that holds no lease is told to the store at its first renewal only: most end before, and from
    then on its session is open.
    """

    def __init__(self, facts: FactQueue, *, clock: Clock, every_ms: int = RENEW_EVERY_MS) -> None:
        self._facts = facts
        self._clock = clock
        self._every_ms = every_ms
        self._begun: dict[bytes, SessionKey] = {}  # requests that nobody was told of, which most never are
        self._running: dict[bytes, tuple[Running, FactQueue]] = {}
        self._known: set[bytes] = set()  # operations that the store was told of, so that it must be told of their end
        self._stopping = asyncio.Event()
        self._renewing: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """How many operations run in this worker."""
        return len(self._begun) + len(self._running)

    def begin(self, operation: bytes, key: SessionKey) -> None:
        """A request of this session has begun: cheaper than to register it, and nothing to add where that was done."""
        if operation not in self._running:
            self._begun[operation] = key

    def register(self, operation: bytes, running: Running, *, facts: FactQueue | None = None) -> None:
        """The operation has begun; `facts` leads to another store that holds its leases.

        Registered again, what it is now replaces what it was: the key of a rotated session, say, with its leases.
        """
        self._begun.pop(operation, None)
        self._running[operation] = (running, self._facts if facts is None else facts)
        if running.leases or running.opens:
            self._known.add(operation)

    def release(self, operation: bytes) -> None:
        """The operation has finished, however it did. Does nothing when it is not running."""
        if self._begun.pop(operation, None) is not None:
            return
        found = self._running.pop(operation, None)
        if found is None or operation not in self._known:
            return
        self._known.discard(operation)
        running, facts = found
        facts.add(Released(running.bucket, operation, running.session, running.leases))

    def renew(self) -> None:
        """Tell the store that everything is still running, which keeps its sessions from running out of idle time."""
        now = self._clock.now()
        until = now + LEASE_MS
        for operation, key in list(self._begun.items()):
            self.register(operation, Running(key.bucket, key))
        for operation, (running, facts) in self._running.items():
            facts.add(Renewed(running.bucket, operation, running.session, running.leases, until))
            if running.session is not None:
                facts.add(Touched(running.session, now))
        self._known.update(self._running)

    def start(self) -> None:
        """Begin to renew. Does nothing when it has begun; needs a running event loop."""
        if self._renewing is None:
            self._stopping.clear()
            self._renewing = asyncio.get_running_loop().create_task(self._run(), name="sessionware-leases")

    async def aclose(self) -> None:
        """Stop renewing and release everything: this worker runs nothing any more."""
        renewing, self._renewing = self._renewing, None
        self._begun.clear()
        for operation in list(self._running):
            self.release(operation)
        if renewing is not None:
            self._stopping.set()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(self._every_ms / 1000):
                    await self._stopping.wait()
            except TimeoutError:
                self.renew()
