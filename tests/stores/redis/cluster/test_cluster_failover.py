"""One master is killed: its buckets are back within five seconds, the others were never away, and nothing is missed."""

import asyncio
import contextlib
from time import monotonic

import pytest

from sessionware.core.admission import Outcome, Token
from sessionware.core.facts import Gap, Interrupted, TokenRevocation
from sessionware.core.ids import SessionKey
from sessionware.core.ledger import Scope
from sessionware.core.session import Session
from sessionware.core.store import CLAIM_MS, Store
from sessionware.core.windows import NEVER
from sessionware.errors import StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.stores.redis.cluster import RedisClusterStore
from sessionware.stores.redis.cluster.topology import slot_of
from sessionware.testing import ManualClock
from sessionware.testing.build import LEVEL, Maker
from tests.redis_groups import NODE_TIMEOUT_MS, RedisCluster
from tests.redis_words import say
from tests.selection import is_selected
from tests.servers import RedisServer

pytestmark = [
    pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES"), pytest.mark.timeout(120),
]  # fmt: skip

BACK_WITHIN_S = 5.0
TIMEOUT_MS = 500
PAUSE_S = 0.02


def slot_of_session(session: Session) -> int:
    return slot_of(f"{{{session.key.bucket:02x}}}")


async def sessions(store: Store, make: Maker, count: int = 60) -> list[Session]:
    made = [make.session("work", user=f"user {number}") for number in range(count)]
    for session in made:
        await store.create(make.new(session), operation=make.operation(), now=make.now)
    return made


def owned(cluster: RedisCluster, made: list[Session], node: RedisServer) -> tuple[list[Session], list[Session]]:
    """Those that lie on a node, and the others."""
    here = [session for session in made if cluster.master_of(slot_of_session(session)) is node]
    return here, [session for session in made if session not in here]


async def in_step(cluster: RedisCluster) -> None:
    """Nothing is on its way to a replica: what a failover loses is measured elsewhere."""
    await asyncio.to_thread(cluster.wait_until_in_step)


def test_a_master_that_dies_takes_away_its_own_buckets_and_only_for_seconds(cluster: RedisCluster) -> None:
    """C27: service back within 5 s for its buckets, never away for the others; readiness says so."""

    async def scenario() -> None:
        async with open_store(f"{cluster.url}?prefix=killed:", timeout_ms=TIMEOUT_MS) as store:
            assert isinstance(store, RedisClusterStore)
            make = Maker.of(store)
            made = await sessions(store, make)
            await in_step(cluster)
            doomed = cluster.masters()[0]
            here, others = owned(cluster, made, doomed)
            assert here
            assert others
            killed_at = monotonic()
            cluster.kill9(doomed)
            is_ready = True
            waits, failed = [], 0
            while True:
                try:
                    answers = [await store.admit(make.ask(session)) for session in here]
                except StoreUnavailable:
                    failed += 1
                else:
                    break
                finally:
                    for session in others[:4]:
                        asked_at = monotonic()
                        assert (await store.admit(make.ask(session))).outcome is Outcome.ADMITTED
                        waits.append(monotonic() - asked_at)
                try:
                    await store.reap(now=make.now, limit=0)
                except StoreUnavailable:
                    is_ready = False
                assert monotonic() - killed_at < NODE_TIMEOUT_MS / 1000 + BACK_WITHIN_S
                await asyncio.sleep(PAUSE_S)
            away = monotonic() - killed_at
            assert failed
            assert not is_ready
            assert away < BACK_WITHIN_S, f"back only after {away:.1f} s"
            assert max(waits) < TIMEOUT_MS / 1000
            assert {answer.outcome for answer in answers} == {Outcome.ADMITTED}
            assert await store.reap(now=make.now, limit=0) == []
            known = {place[1] for place in store._calls.servers.map.members}  # noqa: SLF001  # who left is let go
            assert known == {master.port for master in cluster.masters()}
        await asyncio.to_thread(cluster.restart, doomed)
        await in_step(cluster)

    asyncio.run(scenario())


@pytest.mark.faults
def test_a_watcher_hears_a_gap_and_then_everything_again(cluster: RedisCluster) -> None:
    """Store.md 24: an event of the dead master's buckets is heard within a second of their coming back."""

    async def scenario() -> None:
        async with open_store(f"{cluster.url}?prefix=watched:", timeout_ms=TIMEOUT_MS) as store:
            make = Maker.of(store)
            made = await sessions(store, make)
            await in_step(cluster)
            doomed = cluster.masters()[0]
            here, others = owned(cluster, made, doomed)
            watch = store.watch()
            assert await anext(watch) == Gap()
            cluster.kill9(doomed)
            await store.record([Interrupted(others[0].key, 1)], now=make.now)
            async with asyncio.timeout(1):
                assert await anext(watch) == Interrupted(others[0].key, 1)
            async with asyncio.timeout(BACK_WITHIN_S):
                while not await booked(store, Interrupted(here[0].key, 2)):
                    await asyncio.sleep(PAUSE_S)
            async with asyncio.timeout(1):
                heard = [await anext(watch)]
                while heard[-1] != Gap():
                    heard.append(await anext(watch))
            assert await booked(store, Interrupted(here[0].key, 3))
            await store.record([Interrupted(others[0].key, 4)], now=make.now)
            wanted = [Interrupted(here[0].key, 3), Interrupted(others[0].key, 4)]
            heard = []
            async with asyncio.timeout(1):
                while not all(event in heard for event in wanted):
                    heard.append(await anext(watch))
            assert [heard.count(event) for event in wanted] == [1, 1], "an event was heard twice"
        await asyncio.to_thread(cluster.restart, doomed)
        await in_step(cluster)

    asyncio.run(scenario())


async def booked(store: Store, fact: Interrupted) -> bool:
    try:
        return (await store.record([fact], now=store.clock.now()))[0]
    except StoreUnavailable:
        return False


@pytest.mark.faults
def test_a_token_is_refused_everywhere_or_the_revocation_says_that_it_is_not(cluster: RedisCluster) -> None:
    """Store.md 19, JWT-13: a node that is away for a moment delays the answer; one that stays away is an error."""

    async def scenario() -> None:
        async with open_store(f"{cluster.url}?prefix=revoked:", timeout_ms=TIMEOUT_MS) as store:
            make = Maker.of(store)
            made = await sessions(store, make, 20)
            token = make.token("bad")
            await store.revoke(TokenRevocation(token.hash, NEVER), now=make.now)
            outcomes = {(await store.admit(make.ask(session, token=token))).outcome for session in made}
            assert outcomes == {Outcome.REVOKED}
            await in_step(cluster)
            doomed = cluster.masters()[0]
            worse, slot = make.token("worse"), slot_of_session(owned(cluster, made, doomed)[0][0])
            cluster.kill9(doomed)
            with pytest.raises(StoreUnavailable, match="not refused everywhere yet"):
                await store.revoke(TokenRevocation(worse.hash, NEVER), now=make.now)
            await asyncio.to_thread(cluster.wait_for_new_master_of, slot, doomed)
            for session in made:  # an error is no end: whoever was asked says it to the new master before anything else
                assert await outcome_at_last(store, make, session, worse) is Outcome.REVOKED
            await store.revoke(TokenRevocation(worse.hash, NEVER), now=make.now)
            outcomes = {(await store.admit(make.ask(session, token=worse))).outcome for session in made}
            assert outcomes == {Outcome.REVOKED}
        await asyncio.to_thread(cluster.restart, doomed)
        await in_step(cluster)

    asyncio.run(scenario())


@pytest.mark.faults
def test_a_revocation_that_a_failover_loses_is_said_again_by_a_worker_that_lives(
    cluster: RedisCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """ST-02: the replica never heard of it, and takes over."""

    async def scenario() -> None:
        async with open_store(f"{cluster.url}?prefix=again:", timeout_ms=TIMEOUT_MS) as store:
            make = Maker.of(store)
            made = await sessions(store, make, 30)
            token = make.token("bad")
            await in_step(cluster)
            doomed = cluster.masters()[0]
            slot = slot_of_session(owned(cluster, made, doomed)[0][0])
            (heir,) = cluster.replicas_of(slot)
            heir.pause()
            assert say(doomed.port, "CLIENT", "KILL", "TYPE", "replica") == 1  # so that nothing waits in its socket
            await store.revoke(TokenRevocation(token.hash, NEVER), now=make.now)
            cluster.kill9(doomed)
            heir.resume()
            assert await asyncio.to_thread(cluster.wait_for_new_master_of, slot, doomed) is heir
            for session in made:
                assert await outcome_at_last(store, make, session, token) is Outcome.REVOKED
        await asyncio.to_thread(cluster.restart, doomed)
        await in_step(cluster)

    asyncio.run(scenario())
    assert "had lost" in caplog.text


@pytest.mark.faults
def test_a_master_that_falls_silent_is_left(cluster: RedisCluster) -> None:
    """C27: it accepts connections and says nothing, as a machine that hangs does."""

    async def scenario() -> None:
        async with open_store(f"{cluster.url}?prefix=silent:", timeout_ms=TIMEOUT_MS) as store:
            make = Maker.of(store)
            made = await sessions(store, make, 30)
            await in_step(cluster)
            doomed = cluster.masters()[0]
            here, others = owned(cluster, made, doomed)
            doomed.pause()
            paused_at = monotonic()
            assert (await store.admit(make.ask(others[0]))).outcome is Outcome.ADMITTED
            assert await outcome_at_last(store, make, here[0], None) is Outcome.ADMITTED
            assert monotonic() - paused_at < BACK_WITHIN_S
            doomed.resume()
        await in_step(cluster)

    asyncio.run(scenario())


async def outcome_at_last(store: Store, make: Maker, session: Session, token: Token | None) -> Outcome:
    """The first answer that is one."""
    async with asyncio.timeout(2 * BACK_WITHIN_S):
        while True:
            try:
                return (await store.admit(make.ask(session, token=token))).outcome
            except StoreUnavailable:
                await asyncio.sleep(PAUSE_S)


def test_a_node_that_refuses_every_write_uses_up_no_allowance_of_others(cluster: RedisCluster) -> None:
    """Store.md 10, C27: out of memory is a refusal that proves that nothing ran: other buckets are paid back."""

    async def scenario() -> None:
        async with open_store(f"{cluster.url}?prefix=full:", timeout_ms=TIMEOUT_MS) as store:
            make = Maker.of(store)
            wide = make.spend("all", scope=Scope.GLOBAL, span=LEVEL)
            full = cluster.master_of(slot_of(f"{{{make.bucket():02x}}}"))
            while cluster.master_of(slot_of(f"{{{wide.key[0]:02x}}}")) is full:
                wide = make.spend("all", scope=Scope.GLOBAL, span=LEVEL, over=str(make.operation()))
            user = make.spend("user", over="alice")
            ask = make.ask(owner=make.owner(), spends=(user, wide))
            say(full.port, "CONFIG", "SET", "maxmemory", 1)
            try:
                for _ in range(3):
                    with pytest.raises(StoreUnavailable, match="OOM"):
                        await store.admit(ask.at(make.now, operation=make.operation()))
            finally:
                say(full.port, "CONFIG", "SET", "maxmemory", 0)
            answer = await store.admit(ask.at(make.now, operation=make.operation()))
            assert answer.outcome is Outcome.ADMITTED
            assert [tally and tally.counter.used for tally in answer.tallies] == [1, 1]

    asyncio.run(scenario())


@pytest.mark.faults
def test_a_master_that_is_away_keeps_only_its_own_sessions_from_the_reaper(cluster: RedisCluster) -> None:
    """C27, store.md 18: ends on the other nodes are told, however long that one stays away."""

    async def scenario() -> None:
        clock = ManualClock()
        async with open_store(f"{cluster.url}?prefix=reaped:", clock=clock, timeout_ms=TIMEOUT_MS) as store:
            make = Maker.of(store)
            made = [make.session("work", user=f"user {number}", idle=1_000) for number in range(30)]
            for session in made:
                await store.create(make.new(session), operation=make.operation(), now=make.now)
            await in_step(cluster)
            doomed = cluster.masters()[0]
            away, others = owned(cluster, made, doomed)
            clock.advance(2_000)
            cluster.kill9(doomed)
            reaped = await store.reap(now=make.now, limit=100)
            assert {ended.session.key for ended in reaped} == {session.key for session in others}
            with pytest.raises(StoreUnavailable):
                await store.reap(now=make.now, limit=100)
            await asyncio.to_thread(cluster.wait_for_new_master_of, slot_of_session(away[0]), doomed)
            assert await reaped_at_last(store, make, clock) == {session.key for session in away + others}
        await asyncio.to_thread(cluster.restart, doomed)
        await in_step(cluster)

    asyncio.run(scenario())


async def reaped_at_last(store: Store, make: Maker, clock: ManualClock) -> set[SessionKey]:
    """What is handed out when all nodes are there, also what a sweep took that failed on another node."""
    clock.advance(CLAIM_MS)
    async with asyncio.timeout(2 * BACK_WITHIN_S):
        while True:
            with contextlib.suppress(StoreUnavailable):
                return {ended.session.key for ended in await store.reap(now=make.now, limit=100)}
            clock.advance(CLAIM_MS)
            await asyncio.sleep(PAUSE_S)
