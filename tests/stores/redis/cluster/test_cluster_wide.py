"""Limits that count over many partitions: never too much is let in, and what a refusal took is given back."""

# ruff: noqa: SLF001  # a worker that dies half-way is played by calling the half

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from sessionware.core.admission import Caps, Outcome
from sessionware.core.facts import Released, Renewed, Settled, UserLimits
from sessionware.core.ledger import LEASE_MS, Scope, Spend, When
from sessionware.core.session import EndReason
from sessionware.core.store import Making, Store
from sessionware.errors import StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.stores.redis.cluster import RedisClusterStore
from sessionware.stores.redis.cluster.charging import Question, charge, give_back
from sessionware.testing import ManualClock
from sessionware.testing.build import LEVEL, Maker
from tests.selection import is_selected
from tests.stores.opening import some_place_on

pytestmark = pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES")

TIMEOUT_MS = 20_000


def tell(url: str, scenario: Callable[[RedisClusterStore, Maker, ManualClock], Awaitable[None]]) -> None:
    """Live a scenario in a new installation under a clock that stands still."""

    async def story() -> None:
        clock = ManualClock()
        async with open_store(some_place_on(url), clock=clock, timeout_ms=TIMEOUT_MS) as store:
            assert isinstance(store, RedisClusterStore)
            await scenario(store, Maker.of(store), clock)

    asyncio.run(story())


async def used(store: Store, make: Maker, spend: Spend) -> int:
    looking = replace(spend.at(make.now), cost=0, binding=False)
    tally = (await store.admit(make.ask(spends=(looking,)))).tallies[0]
    assert tally is not None
    return tally.counter.used


def test_many_users_share_one_allowance_to_the_unit(redis_cluster_url):
    """B23, store.md 10: 200 at once from 40 partitions, allowance 50: never more, and all of it can be used."""

    async def scenario(store, make, _):
        spend = make.spend(scope=Scope.GLOBAL, allowance=50, span=LEVEL)
        narrow = make.spend("narrow", allowance=10**6)
        asks = [
            make.ask(
                None, owner=make.owner(f"{number % 40}"), bucket=make.bucket(f"{number % 40}"), spends=(spend, narrow)
            )
            for number in range(200)
        ]
        answers = await asyncio.gather(*[store.admit(ask) for ask in asks])
        assert [answer.outcome for answer in answers].count(Outcome.ADMITTED) == 50
        assert await used(store, make, spend) == 50

    tell(redis_cluster_url, scenario)


def test_what_the_partition_refuses_costs_nothing_elsewhere(redis_cluster_url):
    """Store.md 10: refunded, to the last unit: unknown, foreign, limited, full."""

    async def scenario(store, make, _):
        wide = (make.spend("c", scope=Scope.CLIENT, cost=3), make.spend("g", scope=Scope.GLOBAL, cost=7))
        lease = make.lease(scope=Scope.GLOBAL, allowance=1)
        work = make.session("work")
        full = Caps(per_owner=1, evict=False)
        asks = [
            make.ask(work, spends=wide, leases=(lease,)),
            make.ask(work, owner=make.owner("bob"), spends=wide, leases=(lease,)),
            make.ask(work, spends=(*wide, make.spend("narrow", allowance=0)), leases=(lease,)),
            make.ask(make.session("new"), new=make.new(make.session("new"), full), spends=wide, leases=(lease,)),
        ]
        outcomes = [(await store.admit(asks[0])).outcome]
        await store.create(make.new(work, full), operation=make.operation(), now=make.now)
        outcomes += [(await store.admit(ask)).outcome for ask in asks[1:]]
        assert outcomes == [Outcome.UNKNOWN, Outcome.FOREIGN, Outcome.LIMITED, Outcome.FULL]
        assert [await used(store, make, spend) for spend in wide] == [0, 0]
        assert (await store.admit(make.ask(leases=(lease,)))).outcome is Outcome.ADMITTED

    tell(redis_cluster_url, scenario)


def test_when_one_wide_limit_refuses_the_others_are_given_back(redis_cluster_url):
    async def scenario(store, make, _):
        roomy = [make.spend(f"roomy {number}", scope=Scope.GLOBAL) for number in range(8)]
        tight = make.spend("tight", scope=Scope.CLIENT, allowance=1)
        await store.admit(make.ask(spends=(tight,)))
        answer = await store.admit(make.ask(spends=(*roomy, tight)))
        assert answer.outcome is Outcome.LIMITED
        assert [tally.fits for tally in answer.tallies] == [True] * 8 + [False]
        assert [await used(store, make, spend) for spend in (*roomy, tight)] == [0] * 8 + [1]

    tell(redis_cluster_url, scenario)


def test_a_users_override_holds_for_a_wide_limit_too(redis_cluster_url):
    """Store.md 15: it lies beside the user, the counter does not."""

    async def scenario(store, make, _):
        spend = make.spend(scope=Scope.CLIENT, allowance=1)
        ask = make.ask(owner=make.owner(), spends=(spend,))
        await store.record([UserLimits(make.bucket(), make.owner(), {"calls": 3})], now=make.now)
        outcomes = [(await store.admit(ask)).outcome for _ in range(4)]
        assert outcomes == [Outcome.ADMITTED] * 3 + [Outcome.LIMITED]
        await store.record([UserLimits(make.bucket(), make.owner(), {"calls": 0})], now=make.now)
        refused = await store.admit(ask)
        assert (refused.outcome, refused.tallies[0].allowance) == (Outcome.LIMITED, 0)
        assert await used(store, make, spend) == 3

    tell(redis_cluster_url, scenario)


def test_an_operation_that_is_repeated_charges_every_bucket_once(redis_cluster_url):
    """ST-08."""

    async def scenario(store, make, _):
        work = make.session("work")
        spends = (
            make.spend("c", scope=Scope.CLIENT), make.spend("n"),
            make.spend("g", scope=Scope.GLOBAL, when=When.CREATED),
        )  # fmt: skip
        ask = make.ask(work, new=make.new(work), spends=spends, once=True)
        first = await store.admit(ask)
        answers = await asyncio.gather(*[store.admit(ask) for _ in range(10)])
        assert first.is_new
        assert {answer.tallies for answer in answers} == {first.tallies}
        assert [await used(store, make, replace(spend, when=When.ALWAYS)) for spend in spends] == [1, 1, 1]

    tell(redis_cluster_url, scenario)


@pytest.mark.parametrize("loses", ["wide", "narrow"])
def test_an_admission_whose_reply_is_lost_counts_once(redis_cluster_url, loses):
    """Store.md 12: it is never retried by the store; repeated by its operation it is charged once, wherever it was."""

    async def scenario() -> None:
        async with open_store(some_place_on(redis_cluster_url), timeout_ms=300) as store:
            assert isinstance(store, RedisClusterStore)
            make = Maker.of(store)
            owners = store._calls.servers.map.owners
            own = make.spend("own", span=LEVEL)
            elsewhere = [make.spend(span=LEVEL, scope=Scope.GLOBAL, over=str(number)) for number in range(20)]
            wide = next(each for each in elsewhere if owners[each.key[0]] is not owners[make.bucket()])
            ask = make.ask(spends=(wide, own), once=True)
            wire = await store._calls.servers.wire_of(wide.key[0] if loses == "wide" else ask.bucket)
            wire.call("CLIENT", "REPLY", "OFF").add_done_callback(lambda answer: answer.exception())
            with pytest.raises(StoreUnavailable, match="did not answer"):
                await store.admit(ask)
            wire.close("it stays dumb")
            again = await store.admit(ask)
            assert again.outcome is Outcome.ADMITTED
            assert [await used(store, make, spend) for spend in (wide, own)] == [1, 1]

    asyncio.run(scenario())


def test_a_repeat_that_is_let_in_keeps_what_the_first_try_wants_back(redis_cluster_url):
    """Two tries of one operation at once: the one that is refused must not undo what lets the other one in."""

    async def scenario(store, make, _):
        spend = make.spend(scope=Scope.GLOBAL, span=LEVEL)
        ask = make.ask(spends=(spend,), once=True)
        first_try = await charge(store._calls, Question(ask, (0,)))
        assert (await store.admit(ask)).outcome is Outcome.ADMITTED
        await give_back(store._calls, first_try)
        assert await used(store, make, spend) == 1
        other = replace(ask, operation=make.operation())
        given_back = await give_back(store._calls, await charge(store._calls, Question(other, (0,))))
        assert [part.is_taken for part in given_back] == [False]
        assert await used(store, make, spend) == 1

    tell(redis_cluster_url, scenario)


def test_facts_reach_the_buckets_of_wide_limits(redis_cluster_url):
    """A lease over all is renewed and released, a settlement is booked once, wherever its counters lie."""

    async def scenario(store, make, clock):
        lease, spend = make.lease(scope=Scope.GLOBAL, allowance=1), make.spend(scope=Scope.CLIENT, span=LEVEL, cost=5)
        operation, bucket = make.operation(), make.bucket()
        await store.admit(make.ask(leases=(lease,), operation=operation))
        clock.advance(LEASE_MS - 1)
        assert await store.record([Renewed(bucket, operation, None, (lease,), make.now + LEASE_MS)], now=make.now) == [
            True
        ]
        clock.advance(LEASE_MS - 1)
        assert (await store.admit(make.ask(leases=(lease,)))).outcome is Outcome.LIMITED
        released = Released(bucket, operation, None, (lease,))
        assert await store.record([released], now=make.now) == [True]
        assert await store.record([released], now=make.now) == [False]
        assert (await store.admit(make.ask(leases=(lease,)))).outcome is Outcome.ADMITTED
        settled = Settled(bucket, make.owner(), operation, None, (spend,))
        assert await store.record([settled, settled], now=make.now) == [True, False]
        assert await used(store, make, spend) == 5

    tell(redis_cluster_url, scenario)


def test_a_level_that_a_dead_worker_took_is_found_out_when_it_is_full(redis_cluster_url):
    """Store.md 10: it died between taking the level and making the session, or between the end and the giving back."""

    async def scenario(store, make, clock):
        caps = Caps(levels=(make.level(allowance=2),))
        for _ in range(2):  # taken, and nothing made
            await store._levels.take(make.new(make.anonymous(), caps), now=make.now)
        refused = await store.create(make.new(make.anonymous(), caps), operation=make.operation(), now=make.now)
        assert (refused.outcome, refused.full) == (Making.FULL, "MAX_SESSIONS")
        clock.advance(60_000)
        made = [make.anonymous() for _ in range(3)]
        outcomes = [
            (await store.create(make.new(session, caps), operation=make.operation(), now=make.now)).outcome
            for session in made
        ]
        assert outcomes == [Making.CREATED, Making.CREATED, Making.FULL]
        await store._narrow.delete(made[0].key, now=make.now, reason=EndReason.ENDED)  # and the level is not given back
        clock.advance(60_000)
        outcomes = [
            (await store.create(make.new(make.anonymous(), caps), operation=make.operation(), now=make.now)).outcome
            for _ in range(2)
        ]
        assert outcomes == [Making.CREATED, Making.FULL]

    tell(redis_cluster_url, scenario)


def test_an_end_that_is_handed_out_again_gives_its_level_back_once(redis_cluster_url):
    """Store.md 18: whoever is handed the claim gives back what the worker that died did not."""

    async def scenario(store, make, clock):
        caps = Caps(levels=(make.level(allowance=1),))
        session = make.session("work")
        await store.create(make.new(session, caps), operation=make.operation(), now=make.now)
        await store._narrow.delete(session.key, now=make.now, reason=EndReason.ENDED)
        other = make.new(make.session("work"), caps)
        assert (await store.create(other, operation=make.operation(), now=make.now)).outcome is Making.FULL
        clock.advance(30_000)
        assert len(await store.reap(now=make.now, limit=10)) == 1
        assert (await store.create(other, operation=make.operation(), now=make.now)).outcome is Making.CREATED
        clock.advance(30_000)
        assert len(await store.reap(now=make.now, limit=10)) == 1
        third = make.new(make.session("third"), caps)
        assert (await store.create(third, operation=make.operation(), now=make.now)).outcome is Making.FULL

    tell(redis_cluster_url, scenario)


def test_a_level_stays_with_a_session_that_is_given_another_id(redis_cluster_url):
    async def scenario(store, make, clock):
        from sessionware.core.store import Move  # noqa: PLC0415

        caps = Caps(levels=(make.level(allowance=1),))
        old = make.session(None)
        await store.create(make.new(old, caps), operation=make.operation(), now=make.now)
        birth = make.session(None).birth
        moved = await store.move(Move(old.key, birth, 1), now=make.now)
        clock.advance(60_000)
        another = make.new(make.anonymous(), caps)
        assert (await store.create(another, operation=make.operation(), now=make.now)).outcome is Making.FULL
        await store.delete(moved.session.key, now=make.now)
        assert (await store.create(another, operation=make.operation(), now=make.now)).outcome is Making.CREATED

    tell(redis_cluster_url, scenario)


def test_with_partition_org_an_organisation_lies_in_one_bucket(redis_cluster_url):
    """Store.md 10: then its limits are narrow, one wait."""

    async def scenario() -> None:
        spends = {}
        for partition in ("owner", "org"):
            url = some_place_on(redis_cluster_url)
            async with open_store(url, timeout_ms=TIMEOUT_MS, partition=partition) as store:
                make = Maker.of(store)
                spend = make.spend(scope=Scope.ORG, allowance=1)
                ask = make.ask(owner=make.owner(), spends=(spend,))
                assert (await store.admit(ask)).outcome is Outcome.ADMITTED
                assert (await store.admit(ask)).outcome is Outcome.LIMITED
                where = [bucket for bucket in range(256) if await counts(store, bucket, spend)]
                spends[partition] = (where, spend.key[0], make.bucket())
        assert spends["owner"][0] == [spends["owner"][1]]
        assert spends["org"][0] == [spends["org"][2]]

    asyncio.run(scenario())


async def counts(store, bucket: int, spend: Spend) -> bool:
    key = f"{store._calls.keys.base(bucket)}c:{spend.key.hex()}"
    return bool(await store._calls.servers.on(bucket, "EXISTS", key))


def test_a_caller_that_leaves_takes_no_refund_with_it(redis_cluster_url):
    """Store.md 10: cancelled at any of its waits, a request that is refused has cost nothing elsewhere."""

    async def scenario(store, make, _):
        wide = make.spend("g", scope=Scope.GLOBAL, span=LEVEL)
        for ticks in range(12):
            ask = make.ask(owner=make.owner(), spends=(wide, make.spend("none", allowance=0)))
            leaving = asyncio.create_task(store.admit(ask))
            for _ in range(ticks):
                await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.wait([leaving])
        async with asyncio.timeout(5):
            while await used(store, make, wide):
                await asyncio.sleep(0.01)

    tell(redis_cluster_url, scenario)
