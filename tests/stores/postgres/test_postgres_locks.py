"""Many workers on the same rows: locks are taken in order, so nobody ever waits in a ring."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import asyncpg
import pytest

from sessionware.clock import StoreClock
from sessionware.core.admission import Admitted, Caps, Outcome
from sessionware.core.facts import Acknowledged, OwnerRevocation, Released, Settled, Touched, UserLimits
from sessionware.core.ledger import Scope
from sessionware.core.store import Making, Query, Store
from sessionware.errors import Conflict, SessionNotFound, StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.stores.postgres.address import read_address
from sessionware.stores.postgres.asking import creation, lock_of
from sessionware.stores.sealing import Sealer
from sessionware.testing.build import LEVEL, Maker
from tests.postgres_server import PostgresServer
from tests.selection import is_selected
from tests.stores.opening import TIMEOUT_MS, some_place_on

pytestmark = [
    pytest.mark.skipif(not is_selected("postgres"), reason="not among STORES"),
    pytest.mark.timeout(120),
]

WORKERS = 4
BATCHES = 240
BATCH = 16
SEEN_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def server():
    """A server that nobody else uses: its log tells of every deadlock."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def url(server):
    return some_place_on(server.url)


@asynccontextmanager
async def workers(url: str, count: int = WORKERS) -> AsyncIterator[list[Store]]:
    """Several workers, each with connections of its own."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_store(url, timeout_ms=TIMEOUT_MS)) for _ in range(count)]


@asynccontextmanager
async def looking_on(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the store's, that knows its tables."""
    address = read_address(url)
    connection = await asyncpg.connect(url.partition("?")[0])
    try:
        await connection.execute(f'SET search_path = "{address.schema}"')
        yield connection
    finally:
        await connection.close()


def deadlocks(server: PostgresServer) -> int:
    return server.log.count("deadlock detected")


def used(answer: Admitted | BaseException) -> int:
    """What the first counter of an admission holds now."""
    assert isinstance(answer, Admitted)
    (tally, *_) = answer.tallies
    assert tally is not None
    return tally.counter.used


def test_batches_over_shared_sessions_and_counters_never_deadlock_and_lose_nothing(server, url):
    """ST-06: 240 concurrent batches of several workers, in an order of their own each."""

    async def main():
        async with workers(url) as stores, looking_on(url) as connection:
            make = Maker.of(stores[0])
            sessions = [make.session(f"work-{number}", user=f"user-{number % 5}") for number in range(40)]
            for session in sessions:
                await stores[0].create(make.new(session), operation=make.operation(), now=make.now)
            every = make.spend("all", allowance=10**9, scope=Scope.GLOBAL, span=LEVEL)

            async def one_worker(store: Store, seed: int) -> int:
                random, admitted = Random(seed), 0
                for _ in range(BATCHES // WORKERS):
                    asked = []
                    for session in random.sample(sessions, BATCH):
                        mine = make.spend("mine", allowance=10**9, over=session.birth.user_id, span=LEVEL)
                        spends = random.sample([every, mine], 2)
                        asked.append(
                            store.admit(make.ask(session, spends=tuple(spends), leases=(make.lease(allowance=10**6),)))
                        )
                    answers = await asyncio.gather(*asked)
                    admitted += sum(answer.outcome is Outcome.ADMITTED for answer in answers)
                return admitted

            admitted = sum(await asyncio.gather(*[one_worker(store, n) for n, store in enumerate(stores)]))
            used = await connection.fetchval("SELECT used FROM counters WHERE key = $1", every.key)
            assert (admitted, used) == (BATCHES * BATCH, BATCHES * BATCH)
            assert await connection.fetchval("SELECT sum(hits) FROM sessions") == admitted

    asyncio.run(main())
    assert deadlocks(server) == 0


async def live_a_little(store: Store, make: Maker, random: Random) -> None:
    """One call of any kind about a few sessions that everybody uses."""
    now, user = store.clock.now(), f"user-{random.randrange(3)}"
    session = make.session(f"work-{random.randrange(6)}", user=user, idle=random.choice((0, 20, 60_000)))
    caps = Caps(random.choice((0, 2)), levels=(make.level("MAX_SESSIONS", allowance=8), make.level(user, allowance=4)))
    spend = make.spend("all", allowance=10**9, scope=Scope.GLOBAL)
    lease = make.lease(allowance=5)
    match random.randrange(11):
        case 0 | 1:
            await store.create(make.new(session, caps), operation=random.randbytes(16), now=now)
        case 2 | 3:
            await store.admit(make.ask(session, new=make.new(session, caps), spends=(spend,), leases=(lease,)))
        case 4:
            operation = random.randbytes(16)
            link = make.link(session, f"legacy-{random.randrange(4)}")
            await store.link(link, operation=operation, now=now, at_most=2)
            await store.admit(make.ask(session, key=None, link=link.key, spends=(spend,)))
            await store.unlink(link.key, now=now)
        case 5:
            await store.delete(session.key, now=now)
        case 6:
            ended = await store.reap(now=now, limit=50, idle_for=random.choice((None, 10)))
            await store.record([Acknowledged(0, each.receipt) for each in ended], now=now)
        case 7:
            await store.record(
                [
                    Touched(session.key, now, 1),
                    Settled(0, session.birth.owner, random.randbytes(16), session.key, (spend,)),
                    Released(0, random.randbytes(16), session.key, (lease,)),
                    UserLimits(0, session.birth.owner, {"all": random.randrange(10**9)}),
                ],
                now=now,
            )
        case 8:
            await store.revoke(OwnerRevocation(0, session.birth.owner, now - 50), now=now)
        case 9:
            found = await store.get(session.key, now=now)
            if found is not None:
                await store.update(found, now=now)
        case _:
            await store.list(Query(limit=10), now=now)


def test_calls_of_every_kind_at_once_never_deadlock_and_every_level_counts_what_lives(server, url):
    """ST-06: evictions, sweeps and links learn what they need only when they have begun."""

    async def main():
        async with workers(url) as stores, looking_on(url) as connection:

            async def one_task(store: Store, seed: int) -> None:
                make, random = Maker.of(store), Random(seed)
                for _ in range(40):
                    try:
                        await live_a_little(store, make, random)
                    except (Conflict, SessionNotFound):
                        continue

            await asyncio.gather(*[one_task(store, 10 * n + k) for n, store in enumerate(stores) for k in range(6)])
            alive, told = await connection.fetchrow(
                "SELECT (SELECT count(*) FROM sessions), (SELECT sum(change) FROM counts WHERE pool IS NULL)"
            )
            assert alive == told
            wrong = await connection.fetch(
                "SELECT h.hold, h.n, c.used "
                "FROM (SELECT unnest(holds) AS hold, count(*) AS n FROM sessions GROUP BY 1) AS h "
                "FULL JOIN (SELECT key, used FROM counters WHERE kept_until > 9007199254740990) c ON c.key = h.hold "
                "WHERE h.n IS DISTINCT FROM c.used"
            )
            assert wrong == []

    asyncio.run(main())
    assert deadlocks(server) == 0


async def until_somebody_waits(connection: asyncpg.Connection, lock: int) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid::bigint = $1"
    async with asyncio.timeout(SEEN_WITHIN_S):
        while await connection.fetchval(waiting, lock & 0xFFFFFFFF) == 0:
            await asyncio.sleep(0.01)


def test_who_learns_late_of_a_lock_that_another_holds_comes_again_and_waits_for_it(url):
    """ST-06: the session to be evicted is in use elsewhere; nothing was written meanwhile, and nothing is lost."""

    async def main():
        async with workers(url, 1) as (store,), looking_on(url) as connection:
            make = Maker.of(store)
            oldest = make.session("oldest")
            await store.create(make.new(oldest), operation=make.operation(), now=make.now)
            held = lock_of(oldest.key.hash)
            await connection.execute("SELECT pg_advisory_lock($1)", held)
            one = Caps(per_owner=1)
            newcomer = make.session("newcomer")
            asked = asyncio.ensure_future(
                asyncio.gather(
                    store.admit(make.ask(newcomer, new=make.new(newcomer, one))),
                    store.admit(make.ask(spends=(make.spend(),))),
                )
            )
            await until_somebody_waits(connection, held)
            await connection.execute("SELECT pg_advisory_unlock($1)", held)
            made, neighbour = await asked
            assert (made.is_new, [each.session.key for each in made.evicted]) == (True, [oldest.key])
            assert neighbour.outcome is Outcome.ADMITTED
            assert used(neighbour) == 1

    asyncio.run(main())


def test_a_question_that_cannot_be_asked_fails_alone(url):
    """Store.md 27: a batch that errors is redone singly, and its neighbours are charged once."""

    async def main():
        async with workers(url, 1) as (store,):
            make = Maker.of(store)
            spend, absurd = make.spend(allowance=100), make.spend("absurd", allowance=1 << 70)
            asked = [store.admit(make.ask(spends=(each,))) for each in [*[spend] * 5, absurd, *[spend] * 5]]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(answers.pop(5), StoreUnavailable)
            assert sorted(map(used, answers)) == list(range(1, 11))

    asyncio.run(main())


def test_a_caller_that_leaves_takes_nobody_with_it(url):
    async def main():
        async with workers(url, 1) as (store,):
            make = Maker.of(store)
            tasks = [
                asyncio.ensure_future(store.admit(make.ask(spends=(make.spend(allowance=100),)))) for _ in range(40)
            ]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in answers[::2])
            assert all(isinstance(each, Admitted) for each in answers[1::2])
            assert len({used(each) for each in answers[1::2]}) == 20

    asyncio.run(main())


def test_a_batch_with_a_wrong_clock_comes_again_as_a_whole_and_counts_once(url):
    """Store.md 7: SKEW(store_now), nothing was written; the same questions at the server's time."""

    async def main():
        async with workers(url, 1) as (store,):
            make, clock = Maker.of(store), store.clock
            assert isinstance(clock, StoreClock)
            right = clock.now()
            clock.calibrate([(0, right - 3_600_000, 0)])
            asked = [store.admit(make.ask(spends=(make.spend(allowance=100, span=LEVEL),))) for _ in range(20)]
            answers = await asyncio.gather(*asked)
            assert sorted(map(used, answers)) == list(range(1, 21))
            assert all(abs(answer.now - right) < 60_000 for answer in answers)

    asyncio.run(main())


def test_two_who_begin_without_a_token_do_not_wait_for_each_other(url):
    """Store.md 27: derived sessions and anonymous ones have no token in common, so no lock either."""

    async def main():
        async with workers(url, 1) as (store,), looking_on(url) as somebody_else:
            make = Maker.of(store)
            theirs, mine = make.session("work", user="bob"), make.session("work", user="alice")
            asked = creation(make.new(theirs), make.operation(), make.now, Sealer())
            for lock in asked.sorted_locks():
                await somebody_else.execute("SELECT pg_advisory_lock($1)", lock)
            created = await store.create(make.new(mine), operation=make.operation(), now=make.now)
            assert created.outcome is Making.CREATED

    asyncio.run(main())
