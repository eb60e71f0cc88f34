"""What the PostgreSQL store does when the server or the network does not: no answer is wrong, nothing counts twice."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from sessionware.clock import StoreClock
from sessionware.core.admission import Admitted, Outcome
from sessionware.core.facts import Gap, OrgLimitsNow, SessionGone, Settled
from sessionware.core.ledger import Scope
from sessionware.core.session import EndReason
from sessionware.core.store import Store
from sessionware.errors import StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.testing.build import LEVEL, Maker
from tests.postgres_server import PostgresServer
from tests.selection import is_selected
from tests.stores.deeds import cancel_some_of_many
from tests.stores.faulty_wire import FaultyWire

pytestmark = pytest.mark.skipif(not is_selected("postgres"), reason="not among STORES")

DEADLINE_MS = 1000  # for the machine may be busy
PLENTY = 1_000_000


def of_its_own(url: str) -> str:
    return f"{url}?schema=test_{secrets.token_hex(8)}"


def through(wire: FaultyWire, url: str) -> str:
    """The same store behind the wire."""
    parts = urlsplit(url)
    who = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{who}@127.0.0.1:{wire.port}"))


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


async def until_it_answers(store: Store, *, within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while True:
            try:
                await store.reap(now=store.clock.now(), limit=0)
                await take(store, Maker.of(store), key_name="probe")
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def take(store: Store, make: Maker, cost: int = 1, key_name: str = "quota", allowance: int = PLENTY) -> Admitted:
    spend = make.spend(limit=key_name, scope=Scope.GLOBAL, span=LEVEL, cost=cost, allowance=allowance)
    return await store.admit(make.ask(None, spends=(spend,), touch=False))


async def used(store: Store, make: Maker, key_name: str = "quota") -> int:
    """How much of a counter is used, asked without charging."""
    tally = (await take(store, make, 0, key_name)).tallies[0]
    assert tally is not None
    return tally.counter.used


@asynccontextmanager
async def behind_a_faulty_wire(url: str) -> AsyncIterator[tuple[FaultyWire, Store, Maker]]:
    async with (
        FaultyWire(port_of(url)) as wire,
        open_store(through(wire, of_its_own(url)), timeout_ms=DEADLINE_MS) as store,
    ):
        yield wire, store, Maker.of(store)


@asynccontextmanager
async def looking_into(url: str) -> AsyncIterator[Any]:
    """A plain connection with the schema of the store."""
    plain, _, options = url.partition("?")
    schema = options.partition("schema=")[2] or "sessionware"
    connection = await asyncpg.connect(plain, server_settings={"search_path": schema})
    try:
        yield connection
    finally:
        await connection.close()


def test_a_lost_reply_is_counted_once_and_never_sent_again(postgres_url: str) -> None:
    """ST-08."""

    async def scenario() -> None:
        async with behind_a_faulty_wire(postgres_url) as (wire, store, make):
            await take(store, make)
            wire.lose_next_reply = True
            with pytest.raises(StoreUnavailable):
                await take(store, make)
            assert wire.lost.is_set()
            await until_it_answers(store)
            assert await used(store, make) == 2

    asyncio.run(scenario())


def test_a_settlement_whose_reply_was_lost_may_be_repeated(postgres_url: str) -> None:
    """ST-08: the operation id makes our own retry safe."""

    async def scenario() -> None:
        async with behind_a_faulty_wire(postgres_url) as (wire, store, make):
            spend = make.spend(limit="quota", scope=Scope.GLOBAL, span=LEVEL, cost=5, allowance=1000)
            fact = Settled(0, make.owner(), b"settlement-0001.", None, (spend,))
            earlier = Settled(0, make.owner(), b"settlement-0000.", None, (spend,))
            assert await store.record([earlier], now=make.now) == [True]
            wire.lose_next_reply = True
            with pytest.raises(StoreUnavailable):
                await store.record([fact], now=make.now)
            await until_it_answers(store)
            assert await store.record([fact], now=make.now) == [False]
            assert await used(store, make) == 10

    asyncio.run(scenario())


def test_a_server_that_hangs_costs_one_deadline(postgres_url: str) -> None:
    """ST-01."""

    async def scenario() -> None:
        async with behind_a_faulty_wire(postgres_url) as (wire, store, make):
            await take(store, make)
            wire.hang()
            begun = time.monotonic()
            answers = await asyncio.gather(*[take(store, make) for _ in range(40)], return_exceptions=True)
            took = time.monotonic() - begun
            assert {type(answer) for answer in answers} == {StoreUnavailable}
            assert DEADLINE_MS / 1000 <= took + 0.001 < DEADLINE_MS / 1000 + 1
            wire.resume()
            await until_it_answers(store)
            assert await used(store, make) in range(1, 42)

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["stop_immediately", "kill9"])
def test_a_server_stopped_under_load_loses_nothing_that_was_answered(how: str) -> None:
    """C27, C23, ST-06: back within 5 s; what was answered stands, what was not may stand, nothing counts twice."""

    async def scenario(postgres: PostgresServer) -> None:
        async with open_store(postgres.url, timeout_ms=DEADLINE_MS) as store:
            make = Maker.of(store)
            work = make.session("work")
            await store.create(make.new(work), operation=make.operation(), now=make.now)
            done = False
            admitted = unknown = 0

            async def load() -> None:
                nonlocal admitted, unknown
                while not done:
                    try:
                        answer = await take(store, make)
                    except StoreUnavailable:
                        unknown += 1
                        await asyncio.sleep(0.005)
                    else:
                        assert answer.outcome is Outcome.ADMITTED
                        admitted += 1

            tasks = [asyncio.create_task(load()) for _ in range(16)]
            for _ in range(3):
                before = admitted
                async with asyncio.timeout(10):
                    while admitted < before + 100:
                        await asyncio.sleep(0.01)
                await asyncio.to_thread(getattr(postgres, how))
                with pytest.raises(StoreUnavailable):
                    await take(store, make)
                await asyncio.to_thread(postgres.start)
                await until_it_answers(store, within=5.0)
            done = True
            await asyncio.gather(*tasks)
            assert unknown > 0
            assert admitted <= await used(store, make) <= admitted + unknown
            assert await store.get(work.key, now=make.now) is not None

    with PostgresServer() as postgres:
        asyncio.run(scenario(postgres))


def test_an_allowance_is_never_exceeded_while_backends_are_terminated(postgres_url: str) -> None:
    """ST-06, B23: exactly as much is admitted as the counter says, and never more than is allowed."""

    async def scenario() -> None:
        url = of_its_own(postgres_url)
        async with open_store(url, timeout_ms=DEADLINE_MS) as store, looking_into(url) as other:
            make = Maker.of(store)
            admitted = unknown = 0

            async def ask_for_some() -> None:
                nonlocal admitted, unknown
                for _ in range(40):
                    try:
                        answer = await take(store, make, allowance=200)
                    except StoreUnavailable:
                        unknown += 1
                        await asyncio.sleep(0.005)
                    else:
                        admitted += answer.outcome is Outcome.ADMITTED

            tasks = [asyncio.create_task(ask_for_some()) for _ in range(16)]
            kills = 0
            while any(not task.done() for task in tasks):
                kills += await other.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE query LIKE '%admit_batch%' AND pid <> pg_backend_pid()"
                )
                await asyncio.sleep(0.03)
            await asyncio.gather(*tasks)
            await until_it_answers(store)
            counted = await used(store, make)
            assert kills > 0
            assert admitted <= counted <= min(200, admitted + unknown)

    asyncio.run(scenario())


def test_a_lock_that_somebody_holds_is_waited_for_within_the_deadline(postgres_url: str) -> None:
    """ST-06: lock_timeout; the others are served meanwhile, and nothing of the refused call stands."""

    async def scenario() -> None:
        url = of_its_own(postgres_url)
        async with open_store(url, timeout_ms=DEADLINE_MS) as store, looking_into(url) as other:
            make = Maker.of(store)
            work, free = make.session("work"), make.session("free")
            for session in (work, free):
                await store.create(make.new(session), operation=make.operation(), now=make.now)
            async with other.transaction():
                await other.execute("SELECT * FROM sessions WHERE hash = $1 FOR UPDATE", work.key.hash)
                begun = time.monotonic()
                with pytest.raises(StoreUnavailable):
                    await store.admit(make.ask(work))
                assert time.monotonic() - begun < DEADLINE_MS / 1000 + 0.5
                assert (await store.get(free.key, now=make.now)) is not None
            admitted = await store.admit(make.ask(work))
            assert admitted.session is not None
            assert admitted.session.hits == 1

    asyncio.run(scenario())


def test_a_cancelled_caller_shifts_nobody_elses_answer(postgres_url: str) -> None:
    """Cancel at every await: the k-th of 60 concurrent calls, after each number of turns of the loop."""

    async def scenario() -> None:
        async with open_store(of_its_own(postgres_url), timeout_ms=10_000) as store:
            await cancel_some_of_many(store)
            await until_it_answers(store)

    asyncio.run(scenario())


def test_a_subscription_that_was_cut_says_that_something_may_be_missing(postgres_url: str) -> None:
    """SES-09: ends are heard by the other worker within a second; after a cut there is a Gap first."""

    async def scenario() -> None:
        url = of_its_own(postgres_url)
        async with (
            FaultyWire(port_of(url)) as wire,
            open_store(through(wire, url), timeout_ms=5000) as watcher,
            open_store(url, timeout_ms=5000) as worker,
        ):
            make = Maker.of(worker)
            watch = watcher.watch()
            assert await anext(watch) == Gap()
            for name in ("one", "two"):
                session = make.session(name)
                await worker.create(make.new(session), operation=make.operation(), now=make.now)
                async with asyncio.timeout(5):
                    begun = time.monotonic()
                    await worker.delete(session.key, now=make.now)
                    assert await anext(watch) == SessionGone(session.key, EndReason.ENDED)
                    assert time.monotonic() - begun < 1
                wire.cut()
                async with asyncio.timeout(5):
                    assert await anext(watch) == Gap()

    asyncio.run(scenario())


def test_whatever_else_is_told_on_the_channel_is_ignored_and_warned_about_once(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        url = of_its_own(postgres_url)
        async with open_store(url, timeout_ms=5000) as store, looking_into(url) as other:
            make = Maker.of(store)
            watch = store.watch()
            assert await anext(watch) == Gap()
            for nonsense in ("", "G", "Gzz", "W", "Wzz", "T" + "0" * 10, "?" * 7000):
                await other.execute("SELECT pg_notify('sessionware:' || current_schema(), $1)", nonsense)
            org = make.addresses.org("https://issuer.test", "acme")
            await other.execute("SELECT pg_notify('sessionware:' || current_schema(), $1)", "W" + org.hex())
            async with asyncio.timeout(5):
                assert await anext(watch) == OrgLimitsNow(org, {})

    with caplog.at_level(logging.WARNING, "sessionware.store"):
        asyncio.run(scenario())
    assert caplog.text.count("cannot be read and is ignored") == 1


def test_a_worker_with_a_wrong_clock_is_corrected_and_counted_once(postgres_url: str) -> None:
    """Store.md 7: an hour off, the function answers with its own time and nothing was written."""

    async def scenario() -> None:
        async with open_store(of_its_own(postgres_url), timeout_ms=5000) as store:
            make = Maker.of(store)
            clock = store.clock
            assert isinstance(clock, StoreClock)
            right = clock.now()
            clock.calibrate([(0, right - 3_600_000, 0)])
            wrong = Maker.of(store)
            await take(store, wrong)
            assert abs(clock.now() - right) < 60_000
            assert await used(store, make) == 1

    asyncio.run(scenario())
