"""What the store does when the primary that Sentinel watches dies, hangs, is replaced or loses its last writes."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from sessionware.core.admission import Outcome
from sessionware.core.facts import Gap, OwnerRevocation, SessionGone, TokenRevocation
from sessionware.core.session import EndReason
from sessionware.core.store import Store
from sessionware.errors import StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.testing.build import Maker
from tests.redis_groups import MASTER_NAME, RedisReplicas
from tests.redis_words import say
from tests.selection import is_selected
from tests.servers import RedisServer
from tests.stores.deeds import take, until_it_answers, used

pytestmark = [
    pytest.mark.skipif(not is_selected("sentinel"), reason="not among STORES"),
    pytest.mark.timeout(120),
]

DEADLINE_MS = 250
BACK_WITHIN_S = 5.0  # C27
PAUSE_S = 0.01  # between two calls of one worker under load


@pytest.fixture
def group() -> Iterator[RedisReplicas]:
    """A primary, two replicas and three sentinels that a test may harm."""
    with RedisReplicas() as group:
        yield group


def url_of(group: RedisReplicas, **options: object) -> str:
    return f"{group.url}?prefix=sw:" + "".join(f"&{name}={value}" for name, value in options.items())


class Worker:
    """Takes one unit after the other, and keeps what it was answered and how long each answer took."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.taken = 0
        self.unknown = 0
        self.slowest = 0.0
        self.answered_at = 0.0

    async def work(self, until: Callable[[], bool]) -> None:
        make = Maker.of(self.store)
        while not until():
            begun = time.monotonic()
            try:
                answer = await take(self.store, make)
            except StoreUnavailable:
                self.unknown += 1
            else:
                assert answer.outcome is Outcome.ADMITTED
                self.taken += 1
                self.answered_at = time.monotonic()
            self.slowest = max(self.slowest, time.monotonic() - begun)
            await asyncio.sleep(PAUSE_S)


async def away_for(workers: list[Worker], harm: Callable[[], object]) -> list[float]:
    """Let all work, do the harm, and let them work until each was answered again: how long each was without."""
    harmed_at = float("inf")

    def all_are_back() -> bool:
        return all(worker.answered_at > harmed_at + DEADLINE_MS / 1000 for worker in workers)

    async def do_harm() -> None:
        nonlocal harmed_at
        while not all(worker.taken >= 10 for worker in workers):
            await asyncio.sleep(PAUSE_S)
        harm()
        harmed_at = time.monotonic()
        for worker in workers:
            worker.unknown = 0

    async def last_answer_before(worker: Worker) -> float:
        while worker.answered_at <= harmed_at + DEADLINE_MS / 1000:
            await asyncio.sleep(PAUSE_S)
        return worker.answered_at - harmed_at

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for worker in workers:
            tasks.create_task(worker.work(all_are_back))
        tasks.create_task(do_harm())
        waits = [tasks.create_task(last_answer_before(worker)) for worker in workers]
    return [wait.result() for wait in waits]


async def two_workers(group: RedisReplicas, stack: AsyncExitStack, **options: object) -> list[Worker]:
    stores = [open_store(url_of(group, **options), timeout_ms=DEADLINE_MS) for _ in range(2)]
    return [Worker(await stack.enter_async_context(store)) for store in stores]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(RedisServer.kill9, id="killed"),
        pytest.param(RedisServer.pause, id="hanging", marks=pytest.mark.faults),
    ],
)
def test_a_primary_that_is_gone_under_load_is_replaced_within_five_seconds(
    group: RedisReplicas, harm: Callable[[RedisServer], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """C27: without a restart of ours; calls in between fail within their deadline; no answer is wrong."""

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            workers = await two_workers(group, stack)
            old = group.primary
            waits = await away_for(workers, lambda: harm(old))
            new = group.wait_for_new_primary(old)
            assert new is not old
            counted = await used(workers[0].store, Maker.of(workers[0].store))
            taken = sum(worker.taken for worker in workers)
            unknown = sum(worker.unknown for worker in workers)
            slowest = max(worker.slowest for worker in workers)
            with capsys.disabled():
                print(
                    f"\n{harm.__name__}: away for {max(waits):.2f} s, slowest call {slowest * 1000:.0f} ms, "
                    f"{taken} taken, {unknown} unknown, {counted} counted"
                )
            assert max(waits) < BACK_WITHIN_S
            assert slowest < DEADLINE_MS / 1000 * 2 + 0.5
            # The promise: at most what was acknowledged in the lag window (under a second) is lost, none twice.
            assert taken - 1.0 / PAUSE_S * len(workers) <= counted <= taken + unknown

    asyncio.run(scenario())


@pytest.mark.faults
def test_while_there_is_no_primary_calls_fail_at_once_and_name_the_group(group: RedisReplicas) -> None:
    """ST-01, C27: nobody waits for a server that has just been found away."""

    async def scenario() -> None:
        async with open_store(url_of(group), timeout_ms=DEADLINE_MS) as store:
            make = Maker.of(store)
            await take(store, make)
            group.kill_primary()
            begun, said = time.monotonic(), set[str]()
            for _ in range(100):
                with pytest.raises(StoreUnavailable) as caught:
                    await take(store, make)
                said.add(str(caught.value).partition(" is away: ")[0])
            assert time.monotonic() - begun < 1
            assert f"Redis at {group.url}?prefix=sw:" in said

    asyncio.run(scenario())


@pytest.mark.faults
def test_a_primary_that_hung_and_comes_back_is_not_believed(group: RedisReplicas) -> None:
    """C27: it wakes up as a primary and would still take writes on our old connections."""

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            workers = await two_workers(group, stack)
            old = group.primary
            await away_for(workers, old.pause)
            make = Maker.of(workers[0].store)
            before = await used(workers[0].store, make)
            old.resume()
            for number in range(50):
                await take(workers[number % 2].store, make)
            assert await used(workers[0].store, make) == before + 50
            group.wait_until_ok()
            assert await used(workers[1].store, make) == before + 50

    asyncio.run(scenario())


@pytest.mark.faults
@pytest.mark.parametrize("is_watched", [False, True], ids=["alone", "while-somebody-begins-to-watch"])
def test_a_primary_that_was_cut_off_is_left_although_it_answers(group: RedisReplicas, is_watched: bool) -> None:
    """Nobody told it that it was replaced, and it goes on admitting: the Sentinels are asked twice a second.

    A new connection of any kind may learn it first; then all others follow it.
    """

    async def scenario() -> None:
        async with open_store(url_of(group), timeout_ms=DEADLINE_MS) as store:
            make = Maker.of(store)
            await take(store, make)
            old, new = group.primary, group.replicas[0]
            move_to(group, new)
            if is_watched:
                async with asyncio.timeout(BACK_WITHIN_S):
                    assert await anext(store.watch()) == Gap()
            async with asyncio.timeout(BACK_WITHIN_S):
                while say(new.port, "INFO", "commandstats").count("cmdstat_evalsha") == 0:
                    try:
                        await take(store, make)
                    except StoreUnavailable:
                        continue
                    await asyncio.sleep(PAUSE_S)
            assert say(old.port, "ROLE")[0] == "master"

    asyncio.run(scenario())


def move_to(group: RedisReplicas, new: RedisServer) -> None:
    """Make another node the primary behind everybody's back, and tell only the sentinels."""
    say(new.port, "REPLICAOF", "NO", "ONE")
    for sentinel in group.sentinels:
        say(sentinel.port, "SENTINEL", "REMOVE", MASTER_NAME)
        say(sentinel.port, "SENTINEL", "MONITOR", MASTER_NAME, "127.0.0.1", new.port, 2)


@pytest.mark.faults
def test_a_call_that_finds_the_primary_demoted_is_made_once_on_the_new_one(group: RedisReplicas) -> None:
    """ST-02: READONLY proves that nothing ran: the caller notices nothing, and it counts once."""

    async def scenario() -> None:
        async with open_store(url_of(group), timeout_ms=5_000) as store:
            make = Maker.of(store)
            await take(store, make)
            old, new = group.primary, group.replicas[0]
            await until_replicated(group, new)
            move_to(group, new)
            say(old.port, "REPLICAOF", "127.0.0.1", new.port)
            assert (await take(store, make)).outcome is Outcome.ADMITTED
            assert await used(store, make) == 2
            refusals = str(say(old.port, "INFO", "errorstats"))
            assert "errorstat_READONLY" in refusals or "errorstat_ERR" in refusals  # Redis 6 wraps what scripts meet

    asyncio.run(scenario())


async def until_replicated(group: RedisReplicas, replica: RedisServer) -> None:
    """Wait until the replica has everything that the primary has."""
    async with asyncio.timeout(5):
        while group.replication(replica)["slave_repl_offset"] != group.replication(group.primary)["master_repl_offset"]:
            await asyncio.sleep(PAUSE_S)


def lose_what_follows(group: RedisReplicas) -> list[RedisServer]:
    """From here on the primary's writes reach no replica; answers the replicas, which are to be resumed."""
    replicas = group.replicas
    for replica in replicas:
        replica.pause()
    say(group.primary.port, "CLIENT", "KILL", "TYPE", "replica")  # what was under way to them is gone too
    return replicas


def kill_with_the_last_writes(group: RedisReplicas, replicas: list[RedisServer]) -> RedisServer:
    old = group.kill_primary()
    for replica in replicas:
        replica.resume()
    return old


@pytest.mark.faults
def test_a_revocation_that_was_lost_with_the_primary_is_said_again_by_who_is_alive(
    group: RedisReplicas, caplog: pytest.LogCaptureFixture
) -> None:
    """Security.md 4: by the worker that made it, and by one that only heard of it."""

    async def scenario() -> None:
        async with open_store(url_of(group, wait_replicas=0), timeout_ms=DEADLINE_MS) as author:
            make = Maker.of(author)
            token, late = make.token("stolen"), make.now + 3_600_000
            work = make.session("work", user="mallory")
            await author.create(make.new(work), operation=make.operation(), now=make.now)
            await until_replicated(group, group.replicas[0])
            await until_replicated(group, group.replicas[1])
            async with open_store(url_of(group), timeout_ms=DEADLINE_MS) as listener:
                watch = listener.watch()
                assert await anext(watch) == Gap()
                replicas = lose_what_follows(group)
                await author.revoke(TokenRevocation(token.hash, late), now=make.now)
                owner = OwnerRevocation(make.bucket("mallory"), make.owner("mallory"), make.now)
                await author.revoke(owner, now=make.now)
                async with asyncio.timeout(5):
                    for _ in range(3):  # two revocations, one end
                        assert await anext(watch) != Gap()
                await author.__aexit__(None, None, None)  # the author does not live to say it again
                kill_with_the_last_writes(group, replicas)
                await until_it_answers(listener, within=10)
                assert "had lost 2 revocations" in caplog.text
                async with asyncio.timeout(5):
                    while await anext(watch) != Gap():
                        pass
            async with open_store(url_of(group), timeout_ms=DEADLINE_MS) as stranger:
                answer = await stranger.admit(make.ask(None, token=token, touch=False))
                assert answer.outcome is Outcome.REVOKED
                assert await stranger.get(work.key, now=make.now) is None

    with caplog.at_level(logging.WARNING, "sessionware.store"):
        asyncio.run(scenario())


@pytest.mark.faults
def test_a_revocation_that_replicas_confirmed_survives_its_author_and_the_primary(group: RedisReplicas) -> None:
    """Store.md 26, security.md 4: WAIT, without which only a live worker could say it again."""

    async def scenario() -> None:
        async with open_store(url_of(group), timeout_ms=DEADLINE_MS) as author:
            make = Maker.of(author)
            token = make.token("stolen")
            await author.revoke(TokenRevocation(token.hash, make.now + 3_600_000), now=make.now)
            old = group.kill_primary()
        group.wait_for_new_primary(old)
        async with open_store(url_of(group), timeout_ms=DEADLINE_MS) as stranger:
            answer = await stranger.admit(make.ask(None, token=token, touch=False))
            assert answer.outcome is Outcome.REVOKED

    asyncio.run(scenario())


@pytest.mark.faults
def test_what_no_replica_confirms_stands_after_a_short_wait_and_is_warned_about_once_a_second(
    group: RedisReplicas, caplog: pytest.LogCaptureFixture
) -> None:
    """Security.md 4: and whoever does something else meanwhile does not wait with it."""

    async def scenario() -> None:
        async with open_store(url_of(group), timeout_ms=DEADLINE_MS) as store:
            make = Maker.of(store)
            sessions = [make.session(f"work-{number}") for number in range(20)]
            for session in sessions:
                await store.create(make.new(session), operation=make.operation(), now=make.now)
            replicas = lose_what_follows(group)
            begun = time.monotonic()
            ends = asyncio.gather(*[store.delete(session.key, now=make.now) for session in sessions])
            await take(store, make)
            admitted_after = time.monotonic() - begun
            assert all(await ends)
            took = time.monotonic() - begun
            for replica in replicas:
                replica.resume()
            assert admitted_after < 0.05 <= took < DEADLINE_MS / 1000 + 0.5

    with caplog.at_level(logging.WARNING, "sessionware.store"):
        asyncio.run(scenario())
    warnings = [line for line in caplog.messages if "is not held by replicas yet" in line]
    assert len(warnings) == 1
    assert "0 of 1 replicas confirmed within 50 ms" in warnings[0]


@pytest.mark.faults
def test_watchers_hear_a_gap_after_the_failover_and_then_each_other(group: RedisReplicas) -> None:
    """Store.md 24."""

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            watcher, worker = await two_workers(group, stack)
            make = Maker.of(worker.store)
            work = make.session("work")
            watch = watcher.store.watch()
            assert await anext(watch) == Gap()
            group.kill_primary()
            async with asyncio.timeout(10):
                assert await anext(watch) == Gap()
            await until_it_answers(worker.store)
            await worker.store.create(make.new(work), operation=make.operation(), now=make.now)
            begun = time.monotonic()
            await worker.store.delete(work.key, now=make.now)
            async with asyncio.timeout(5):
                assert await anext(watch) == SessionGone(work.key, EndReason.ENDED)
            assert time.monotonic() - begun < 1

    asyncio.run(scenario())


@pytest.mark.faults
def test_each_new_primary_is_looked_at_for_what_it_may_forget(
    group: RedisReplicas, caplog: pytest.LogCaptureFixture
) -> None:
    """ST-03: the replicas' settings are not the primary's."""

    async def scenario() -> None:
        async with open_store(url_of(group), timeout_ms=DEADLINE_MS) as store:
            for replica in group.replicas:
                say(replica.port, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            assert "maxmemory-policy" not in caplog.text
            old = group.kill_primary()
            await until_it_answers(store, within=10)
            assert "maxmemory-policy is 'allkeys-lru'" in caplog.text
            assert group.wait_for_new_primary(old) is not old

    with caplog.at_level(logging.WARNING, "sessionware.store"):
        asyncio.run(scenario())


@pytest.mark.faults
def test_a_planned_failover_is_followed_too(group: RedisReplicas) -> None:
    """`SENTINEL FAILOVER`, as before a maintenance: nothing is lost, for the primary still replicates."""

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            workers = await two_workers(group, stack)
            old = group.primary
            waits = await away_for(workers, lambda: say(group.sentinels[0].port, "SENTINEL", "FAILOVER", MASTER_NAME))
            assert max(waits) < BACK_WITHIN_S
            group.wait_for_new_primary(old)
            await until_it_answers(workers[0].store)

    asyncio.run(scenario())
