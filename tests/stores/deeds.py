"""What tests of servers do to a store and wait for, again and again."""

import asyncio
import secrets
from collections.abc import Callable

from sessionware.core.admission import Admitted
from sessionware.core.ledger import Scope
from sessionware.core.store import Store
from sessionware.errors import StoreUnavailable
from sessionware.testing.build import LEVEL, Maker


def some_prefix() -> str:
    return f"test-{secrets.token_hex(8)}:"


async def until(what: Callable[[], object], *, within: float = 10.0) -> None:
    """Wait for a condition, turn by turn of the event loop."""
    async with asyncio.timeout(within):
        while not what():
            await asyncio.sleep(0.01)


async def until_it_answers(store: Store, *, within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while True:
            try:
                await store.reap(now=store.clock.now(), limit=0)
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def used(store: Store, make: Maker, key_name: str = "quota") -> int:
    """How much of a counter is used, asked without charging."""
    spend = make.spend(limit=key_name, scope=Scope.GLOBAL, span=LEVEL, cost=0, allowance=1000)
    answer = await store.admit(make.ask(None, spends=(spend,), touch=False))
    tally = answer.tallies[0]
    assert tally is not None
    return tally.counter.used


async def take(store: Store, make: Maker, cost: int = 1, key_name: str = "quota", *, allowance: int = 1000) -> Admitted:
    spend = make.spend(limit=key_name, scope=Scope.GLOBAL, span=LEVEL, cost=cost, allowance=allowance)
    return await store.admit(make.ask(None, spends=(spend,), touch=False))


async def cancel_some_of_many(store: Store) -> None:
    """Cancel every third of 60 calls, after each number of turns of the loop: the others get their own answers."""
    make = Maker.of(store)
    for turns in range(6):
        tasks = [
            asyncio.ensure_future(take(store, make, cost=number + 1, key_name=f"{turns}-{number}"))
            for number in range(60)
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for number, answer in enumerate(answers):
            if isinstance(answer, asyncio.CancelledError):
                assert number % 3 == 0
                continue
            assert isinstance(answer, Admitted)
            tally = answer.tallies[0]
            assert tally is not None
            assert tally.counter.used == number + 1
