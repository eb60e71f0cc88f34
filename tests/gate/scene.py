"""One gate in front of a store that fails on command, and what a test asks of it."""

import asyncio
from contextlib import asynccontextmanager

from sessionware.core.limit_grammar import parse_limits
from sessionware.core.policy import Caller, admission, compile_policy, plan
from sessionware.core.request import Facts
from sessionware.gate import FailurePolicy, Gate
from sessionware.stores.memory import MemoryStore
from sessionware.telemetry import Telemetry
from sessionware.testing import FaultyStore, Maker, ManualClock


class Monotonic:
    """Milliseconds that pass when a test says so."""

    def __init__(self):
        self.ms = 0

    def __call__(self):
        return self.ms


class Scene:
    """A gate, its two stores, and a policy."""

    def __init__(self, rules="100/minute per session", /, **failure):
        self.clock, self.monotonic = ManualClock(), Monotonic()
        self.store = FaultyStore(MemoryStore(clock=self.clock))
        self.local = FaultyStore(MemoryStore(clock=self.clock))
        self.telemetry = Telemetry(monotonic=self.monotonic)
        self.gate = Gate(
            self.store,
            local=self.local,
            failure=FailurePolicy(**({"deadline_ms": 0} | failure)),
            telemetry=self.telemetry,
            nanoseconds=lambda: self.monotonic() * 1_000_000,
        )
        self.make = Maker.of(self.store)
        self.policy = compile_policy(parse_limits(rules), addresses=self.store.addresses)
        self.counts = self.telemetry.counts

    @asynccontextmanager
    async def running(self):
        self.gate.start()
        try:
            yield self
        finally:
            await self.gate.aclose()

    async def session(self, name="work"):
        session = self.make.session(name)
        await self.store.create(self.make.new(session), operation=self.make.operation(), now=self.clock.now())
        return session

    def ask(self, session=None, *, client="192.0.2.1", **facts):
        """The admission of one request; without a session its client counts."""
        caller = Caller(session=None if session is None else session.key, bucket=0)
        planned = plan(self.policy, caller, Facts(method="GET", path="/", client=client, **facts), now=self.clock.now())
        asked = admission(caller, planned, now=self.clock.now(), operation=self.make.operation())
        return asked if session is None else self.make.ask(session, spends=asked.spends, leases=asked.leases)

    async def decide(self, session=None, *, ask=None, **how):
        """Ask for one request, as the middleware would."""
        ask = ask or self.ask(session)
        return await self.gate.decide(ask, self.policy, about_session=ask.key is not None, **how)

    def degraded(self):
        return {tuple(map(str, label)): number for label, number in self.counts.degraded.items()}


async def until(condition):
    """Let other tasks run until the condition holds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)
