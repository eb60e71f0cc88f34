"""One worker process of a test: opens a store, waits for the word, does its part, prints what came of it; and again.

python -m tests.stores.worker    # reads lines: ["URL", "part", number], and "go" after it has said that it is ready
"""

import asyncio
import json
import os
import sys
from typing import Any

from sessionware.core.admission import Caps, Outcome
from sessionware.core.store import Making, Store
from sessionware.errors import Conflict
from sessionware.stores.open import open_store
from sessionware.testing.build import LEVEL, Maker

TIMEOUT_MS = 30_000  # many processes on few cores; deadlines have tests of their own
USER = "alice"


async def admit(store: Store, make: Maker, count: int) -> Any:
    """So many admissions at once of one session, under one allowance of 100."""
    work = make.session("work")
    spend = make.spend(limit="quota", allowance=100, span=LEVEL)
    answers = await asyncio.gather(*[store.admit(make.ask(work, spends=(spend,))) for _ in range(count)])
    return sum(answer.outcome is Outcome.ADMITTED for answer in answers)


async def increment(store: Store, make: Maker, count: int) -> Any:
    """So many increments of one number in a session's data, each by compare and set."""
    key = make.session("work").key

    async def one() -> None:
        while True:
            session = await store.get(key, now=store.clock.now())
            assert session is not None
            number = int(session.data or b"0") + 1
            try:
                await store.update(_with_data(session, str(number).encode()), now=store.clock.now())
            except Conflict:
                continue
            return

    for _ in range(count):
        await one()
    return count


def _with_data(session: Any, data: bytes) -> Any:
    from msgspec.structs import replace  # noqa: PLC0415

    return replace(session, data=data)


async def create_one_name(store: Store, make: Maker, count: int) -> Any:
    """So many creates of one name at once."""
    session = make.session("only-one")
    answers = await asyncio.gather(
        *[store.create(make.new(session), operation=os.urandom(16), now=make.now) for _ in range(count)]
    )
    return [answer.outcome.value for answer in answers].count(Making.CREATED.value)


async def create_under_a_cap(store: Store, make: Maker, count: int) -> Any:
    """So many sessions of one owner under a cap of five, and what is listed after each."""

    async def one() -> None:
        session = make.session(os.urandom(8).hex())
        await store.create(make.new(session, Caps(per_owner=5)), operation=os.urandom(16), now=make.now)

    await asyncio.gather(*[one() for _ in range(count)])


async def create_under_a_global_cap(store: Store, make: Maker, count: int) -> Any:
    caps = Caps(levels=(make.level(allowance=3),))
    answers = await asyncio.gather(
        *[
            store.create(make.new(make.session(os.urandom(8).hex()), caps), operation=os.urandom(16), now=make.now)
            for _ in range(count)
        ]
    )
    return [answer.outcome.value for answer in answers].count(Making.CREATED.value)


async def reap(store: Store, make: Maker, count: int) -> Any:
    """Take expired sessions, until none are left."""
    taken = []
    while ended := await store.reap(now=store.clock.now(), limit=count):
        taken += [each.session.key.hash.hex() for each in ended]
    return taken


async def take_and_die(store: Store, make: Maker, count: int) -> Any:
    """End a session, and die before anybody was told."""
    ended = await store.delete(make.session("work").key, now=make.now)
    assert ended is not None
    os._exit(9)


async def close_at_once(store: Store, make: Maker, count: int) -> Any:
    """So many closes of one session at once."""
    key = make.session("work").key
    answers = await asyncio.gather(*[store.delete(key, now=make.now) for _ in range(count)])
    return sum(answer is not None for answer in answers)


PARTS = {
    part.__name__: part
    for part in (
        admit, increment, create_one_name, create_under_a_cap, create_under_a_global_cap, reap, take_and_die,
        close_at_once,
    )
}  # fmt: skip


async def perform(url: str, part: str, count: int) -> None:
    async with open_store(url, timeout_ms=TIMEOUT_MS) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        made = Maker.of(store)
        print(json.dumps(await PARTS[part](store, made, count)), flush=True)


if __name__ == "__main__":
    while line := sys.stdin.readline():
        asyncio.run(perform(*json.loads(line)))
