"""One worker process of a history: it takes, gives back and looks, and logs every attempt, until it is told to stop.

python -m tests.stores.histories.worker URL LOG NUMBER SEED SCALE

It says "ready", begins at a line on its input and ends at the next. `Counters` names what all workers share.
"""

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from sessionware.core.admission import Outcome
from sessionware.core.facts import Settled
from sessionware.core.ledger import Scope, Spend
from sessionware.core.session import Session
from sessionware.core.store import Store
from sessionware.errors import StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.testing.build import LEVEL, Maker
from tests.stores.histories.history import Answer, Attempt, Kind, Log, Seen

ALLOWANCES: Final = {"user": 60, "session": 45, "everybody": 75}
SCOPES: Final = {"user": Scope.USER, "session": Scope.SESSION, "everybody": Scope.GLOBAL}
TOGETHER: Final = (("user",), ("session",), ("everybody",), ("user", "everybody"), ("user", "session", "everybody"))
AT_ONCE: Final = 2  # calls of one worker that run at the same time
AMOUNTS: Final = (1, 1, 1, 2)
THINKS_S: Final = 0.008  # between two calls at most: more of them prove little more, and the search takes longer
RESTS_S: Final = 0.03  # after an error, so that a history is not full of them
ONCE_SHARE: Final = 0.3  # of the takes; they may be repeated, the others never are
REPEATS_SHARE: Final = 0.3  # of what may be repeated is, although it was answered
GIVES_SHARE: Final = 0.35  # of the calls, when there is something to give back
LOOKS_SHARE: Final = 0.05
TIMEOUT_MS: Final = 400  # two cores are shared by four workers, a server and the suite
TRIES_MAX: Final = 200


class Counters:
    """What the workers of one history share: a session, and three counters of it, its user and everybody.

    `scale` times ALLOWANCES is what they allow: with 1 they are reached at once, and refuse ever after. Another `seed`
    has other ones: on one store they begin at nothing once.
    """

    def __init__(self, store: Store, scale: int, seed: int) -> None:
        self._make = Maker.of(store)
        self._name = f"race-{seed}"
        self.allowances = {name: allowance * scale for name, allowance in ALLOWANCES.items()}
        self.session: Session = self._make.session("work", user=self._name)

    def spends(self, amounts: dict[str, int], *, binding: bool = True) -> tuple[Spend, ...]:
        return tuple([
            self._make.spend(
                name, allowance=self.allowances[name], cost=amount, scope=SCOPES[name], span=LEVEL, binding=binding,
                over=self._name,
            )
            for name, amount in amounts.items()
        ])  # fmt: skip

    async def create(self, store: Store) -> None:
        await store.create(self._make.new(self.session), operation=b"make the session", now=store.clock.now())

    async def take(self, store: Store, amounts: dict[str, int], operation: bytes, *, once: bool) -> tuple[Answer, Any]:
        """One admission. Anything but admitted or limited is a wrong answer, and ends the worker."""
        spends = self.spends(amounts)
        ask = self._make.ask(self.session, operation=operation, spends=spends, once=once, wants_data=False)
        answer = await store.admit(ask)
        if answer.outcome not in {Outcome.ADMITTED, Outcome.LIMITED}:
            raise AssertionError(f"the store answered {answer}")
        seen = {}
        for name, tally in zip(amounts, answer.tallies, strict=True):
            assert tally is not None, f"no tally of {name}: {answer}"
            seen[name] = Seen(tally.counter.used, tally.fits)
        return (Answer.OK if answer.outcome is Outcome.ADMITTED else Answer.DENIED), seen

    async def look(self, store: Store) -> dict[str, Seen]:
        """What all counters hold, at one instant."""
        spends = self.spends(dict.fromkeys(ALLOWANCES, 0), binding=False)
        answer = await store.admit(self._make.ask(self.session, spends=spends, touch=False, wants_data=False))
        assert answer.outcome is Outcome.ADMITTED, f"the store answered {answer}"
        tallies = zip(ALLOWANCES, answer.tallies, strict=True)
        return {name: Seen(tally.counter.used, tally.fits) for name, tally in tallies if tally is not None}

    async def give(self, store: Store, amounts: dict[str, int], operation: bytes) -> Answer:
        session = self.session
        fact = Settled(session.key.bucket, session.birth.owner, operation, session.key, self.spends(amounts))
        (booked,) = await store.record([fact], now=store.clock.now())
        return Answer.OK if booked else Answer.REPEATED


class Worker:
    """Does as its dice say, and logs it."""

    def __init__(self, store: Store, log: Log, number: int, counters: Counters, dice: random.Random) -> None:
        self._store, self._log, self._number, self._dice = store, log, number, dice
        self._counters = counters
        self._mine: list[dict[str, int]] = []  # what was taken and may be given back
        self._calls = 0
        self.stops = asyncio.Event()

    async def work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(self._until_it_stops())

    async def _until_it_stops(self) -> None:
        while not self.stops.is_set():
            draw = self._dice.random()
            if self._mine and draw < GIVES_SHARE:
                await self._give()
            elif draw > 1 - LOOKS_SHARE:
                await self._try(Kind.LOOK, dict.fromkeys(ALLOWANCES, 0), self._operation())
            else:
                await self._take()
            await asyncio.sleep(self._dice.random() * THINKS_S)

    async def _take(self) -> None:
        names = self._dice.choice(TOGETHER)
        amounts = dict.fromkeys(names, self._dice.choice(AMOUNTS))
        operation, once = self._operation(), self._dice.random() < ONCE_SHARE
        answer = await self._try(Kind.TAKE, amounts, operation, once=once)
        if once:
            answer = await self._insist(Kind.TAKE, amounts, operation, answer)
        if answer is Answer.OK:
            self._mine.append(amounts)
        elif answer is Answer.UNKNOWN:  # all counters at once: whatever was applied is seen by its sums
            await self._try(Kind.LOOK, dict.fromkeys(ALLOWANCES, 0), self._operation())

    async def _give(self) -> None:
        taken = self._mine.pop(self._dice.randrange(len(self._mine)))
        operation, amounts = self._operation(), {name: -amount for name, amount in taken.items()}
        await self._insist(Kind.GIVE, amounts, operation, await self._try(Kind.GIVE, amounts, operation))

    async def _insist(self, kind: Kind, amounts: dict[str, int], operation: bytes, answer: Answer) -> Answer:
        """Try again under the same operation id until there is an answer; sometimes once more after it."""
        for _ in range(TRIES_MAX):
            if self.stops.is_set() or answer is not Answer.UNKNOWN:
                break
            answer = await self._try(kind, amounts, operation, once=True)
        if answer is Answer.OK and self._dice.random() < REPEATS_SHARE:
            await self._try(kind, amounts, operation, once=True)
        return answer

    async def _try(self, kind: Kind, amounts: dict[str, int], operation: bytes, *, once: bool = False) -> Answer:
        attempt = Attempt(self._number, operation.hex(), kind, amounts, time.monotonic_ns())
        self._log.write(attempt)
        seen: dict[str, Seen] = {}
        try:
            match kind:
                case Kind.TAKE:
                    answer, seen = await self._counters.take(self._store, amounts, operation, once=once)
                case Kind.LOOK:
                    answer, seen = Answer.OK, await self._counters.look(self._store)
                case Kind.GIVE:
                    answer = await self._counters.give(self._store, amounts, operation)
        except StoreUnavailable:
            self._log.write(replace(attempt, completed=time.monotonic_ns()))
            await asyncio.sleep(RESTS_S)
            return Answer.UNKNOWN
        self._log.write(replace(attempt, completed=time.monotonic_ns(), answer=answer, seen=seen))
        return answer

    def _operation(self) -> bytes:
        self._calls += 1
        return self._number.to_bytes(4, "big") + self._calls.to_bytes(12, "big")


async def main(url: str, log: Path, number: int, seed: int, scale: int) -> None:
    async with open_store(url, timeout_ms=TIMEOUT_MS) as store:
        worker = Worker(store, Log(log), number, Counters(store, scale, seed), random.Random(seed * 1000 + number))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        working = asyncio.ensure_future(worker.work())
        listening = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
        await asyncio.wait([working, listening], return_when=asyncio.FIRST_COMPLETED)
        worker.stops.set()
        await working
        await listening


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])))
