"""What the PostgreSQL store leaves behind: on the hot path nothing that an index must follow, later nothing at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from sessionware.core.admission import Caps, Outcome
from sessionware.core.facts import Acknowledged, Settled, TokenRevocation, Touched
from sessionware.core.ledger import Scope
from sessionware.core.store import ENDED_KEEP_MS, ENDED_MAX, OPERATION_KEEP_MS, Log, Store
from sessionware.stores.open import open_store
from sessionware.stores.postgres.address import read_address
from sessionware.testing import ManualClock
from sessionware.testing.build import Maker
from tests.postgres_server import PostgresServer
from tests.selection import is_selected
from tests.stores.opening import TIMEOUT_MS, some_place_on

pytestmark = pytest.mark.skipif(not is_selected("postgres"), reason="not among STORES")

TOLD_WITHIN_S = 10.0  # a backend tells its updates when it ends
DAY_MS = 86_400_000
TABLES = (
    "sessions", "payloads", "links", "logs", "counters", "leases", "tombstones", "operations", "tokens", "ended",
    "counts",
)  # fmt: skip


@pytest.fixture
def url(postgres_url):
    return some_place_on(postgres_url)


@asynccontextmanager
async def opened(url: str, clock: ManualClock | None = None) -> AsyncIterator[tuple[Store, asyncpg.Connection]]:
    """A store, and a connection beside it that knows its tables."""
    async with open_store(url, clock=clock, timeout_ms=TIMEOUT_MS) as store, looking_on(url) as connection:
        yield store, connection


@asynccontextmanager
async def looking_on(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url.partition("?")[0])
    try:
        await connection.execute(f'SET search_path = "{read_address(url).schema}"')
        yield connection
    finally:
        await connection.close()


async def updates_of(connection: asyncpg.Connection, table: str, *, at_least: int) -> tuple[int, int]:
    """How many updates a table has had, and how many of them moved no index, once the server has counted them."""
    counted = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = $1::regclass"
    async with asyncio.timeout(TOLD_WITHIN_S):
        while (found := await connection.fetchrow(counted, table))[0] < at_least:
            await asyncio.sleep(0.05)
    return found[0], found[1]


def test_requests_update_their_rows_in_place(url):
    """Performance.md 2: no index follows an admission, so the tables do not bloat."""

    async def main():
        async with open_store(url, timeout_ms=TIMEOUT_MS) as store:
            make = Maker.of(store)
            sessions = [make.session(f"work-{number}") for number in range(4)]
            for session in sessions:
                await store.create(make.new(session), operation=make.operation(), now=make.now)
            for _ in range(100):
                spends = (
                    make.spend("own", allowance=10**6, scope=Scope.SESSION),
                    make.spend("mine", allowance=10**6),
                    make.spend("all", allowance=10**6, scope=Scope.GLOBAL),
                )
                answers = await asyncio.gather(*[store.admit(make.ask(each, spends=spends)) for each in sessions])
                assert [answer.outcome for answer in answers] == [Outcome.ADMITTED] * 4
        async with looking_on(url) as connection:
            for table, wanted in (("sessions", 400), ("counters", 700)):
                updates, hot = await updates_of(connection, table, at_least=wanted)
                assert hot >= updates * 0.9, f"{table}: {updates} updates, of which only {hot} moved no index"

    asyncio.run(main())


async def rows_of(connection: asyncpg.Connection) -> dict[str, int]:
    """How many rows each table has that has any."""
    return {table: found for table in TABLES if (found := await connection.fetchval(f"SELECT count(*) FROM {table}"))}


def test_all_that_is_worth_nothing_any_more_is_collected(url):
    """A reap leaves nothing of what has run out: sessions, counters, leases, answers, tombstones, revocations."""

    async def main():
        clock = ManualClock()
        async with opened(url, clock) as (store, connection):
            make = Maker.of(store)
            for number in range(20):
                session = make.session(f"work-{number}")
                await store.create(make.new(session), operation=make.operation(), now=make.now)
                ask = make.ask(
                    session, spends=(make.spend(over=str(number)),), leases=(make.lease(over=str(number)),), once=True
                )
                await store.admit(ask)
                settled = Settled(0, session.birth.owner, make.operation(), None, ask.spends)
                link = make.link(session, f"legacy-{number}")
                await store.record([settled], now=make.now)
                await store.link(link, operation=make.operation(), now=make.now)
            await store.revoke(TokenRevocation(make.token().hash, clock.now() + 1000), now=clock.now())
            await store.append(make.session("work-0").key, Log.EVENTS, b"item", keep=5, now=make.now)
            await store.delete(make.session("work-1").key, now=make.now)
            assert sorted(await rows_of(connection)) == sorted(TABLES)
            clock.advance(DAY_MS)
            ended = await store.reap(now=clock.now(), limit=1000)
            assert len(ended) == 19  # nobody was ever told of the one that was deleted: too long ago
            await store.record([Acknowledged(0, each.receipt) for each in ended], now=clock.now())
            clock.advance(DAY_MS)
            await store.reap(now=clock.now(), limit=1000)
            assert await rows_of(connection) == {}

    asyncio.run(main())


def test_only_so_many_unacknowledged_ends_are_kept(url):
    """Core/store.py: ENDED_MAX, the oldest go first."""

    async def main():
        clock = ManualClock()
        async with opened(url, clock) as (store, connection):
            make = Maker.of(store)
            await store.create(make.new(make.session()), operation=make.operation(), now=make.now)
            ended = await store.delete(make.session().key, now=make.now)
            assert ended is not None
            await connection.execute(
                "INSERT INTO ended (ended_at, claimed_until, answer) "
                "SELECT ended_at, claimed_until, answer FROM ended, generate_series(1, $1)", ENDED_MAX,
            )  # fmt: skip
            await store.reap(now=make.now, limit=1)
            kept, oldest = await connection.fetchrow("SELECT count(*), min(number) FROM ended")
            assert (kept, oldest) == (ENDED_MAX, int(ended.receipt) + 1)

    asyncio.run(main())


def test_a_reap_of_many_sessions_hands_over_each_once(url):
    """A slice ends few, so that no other call waits long; a reap does as many slices as it was asked for."""

    async def main():
        clock = ManualClock()
        async with opened(url, clock) as (store, connection):
            make = Maker.of(store)
            for number in range(250):
                new = make.new(make.session(f"work-{number}", idle=1000))
                await store.create(new, operation=make.operation(), now=make.now)
            clock.advance(1000)
            taken = [await store.reap(now=clock.now(), limit=limit) for limit in (120, 1000, 1000)]
            assert [len(each) for each in taken] == [120, 130, 0]
            assert len({each.session.key for ended in taken for each in ended}) == 250
            clock.advance(max(ENDED_KEEP_MS, OPERATION_KEEP_MS))
            await store.reap(now=clock.now(), limit=1000)
            assert await rows_of(connection) == {}

    asyncio.run(main())


def test_thousands_of_facts_at_once_are_booked_in_their_order(url):
    """A slice holds few locks: the server's table of locks is shared by all workers."""

    async def main():
        async with opened(url) as (store, connection):
            make = Maker.of(store)
            sessions = [make.session(f"work-{number}") for number in range(10)]
            for session in sessions:
                await store.create(make.new(session), operation=make.operation(), now=make.now)
            missing = make.session("missing")
            facts = [Touched(each.key, make.now, 1) for _ in range(200) for each in [*sessions, missing]]
            assert await store.record(facts, now=make.now) == ([True] * 10 + [False]) * 200
            assert await connection.fetchval("SELECT array_agg(DISTINCT hits) FROM sessions") == [200]
            assert await store.record([], now=make.now) == []

    asyncio.run(main())


def test_a_server_with_few_locks_is_swept_in_smaller_slices():
    """ST-06: its table of locks is shared by all that use the server."""
    few = ("max_locks_per_transaction=10", "max_connections=8", "max_worker_processes=1", "max_wal_senders=0")

    async def main(url: str) -> None:
        clock = ManualClock()
        async with opened(url, clock) as (store, connection):
            make = Maker.of(store)
            for number in range(100):
                levels = tuple([make.level(f"level {number}-{each}", allowance=1) for each in range(20)])
                new = make.new(make.session(f"work-{number}", idle=1000), Caps(levels=levels))
                await store.create(new, operation=make.operation(), now=make.now)
            clock.advance(1000)
            assert len(await store.reap(now=clock.now(), limit=1000)) == 100
            assert await connection.fetchval("SELECT count(*) FROM counters") == 0

    with PostgresServer(*few) as server:
        asyncio.run(main(some_place_on(server.url)))
        assert "out of shared memory" in server.log
