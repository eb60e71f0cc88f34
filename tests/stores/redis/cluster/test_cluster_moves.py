"""Buckets move from node to node under load: no wrong answer, whatever half of a bucket lies where."""

import asyncio
from collections import Counter

import pytest

from sessionware.core.admission import Outcome
from sessionware.core.ledger import Scope
from sessionware.core.store import Query
from sessionware.errors import StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.stores.redis.cluster import RedisClusterStore
from sessionware.stores.redis.cluster.topology import slot_of
from sessionware.testing.build import LEVEL, Maker
from tests.redis_groups import RedisCluster
from tests.selection import is_selected
from tests.servers import RedisServer

pytestmark = [
    pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES"), pytest.mark.timeout(120),
]  # fmt: skip

USERS = 24
FEW = 3  # keys that move in one step, so that buckets lie in two halves for long


def test_buckets_that_move_under_load_answer_rightly_or_not_at_all(cluster: RedisCluster) -> None:
    """Store.md 26, C27: MOVED and ASK are really met, each session keeps its counters to the unit."""

    async def scenario() -> Counter[str]:
        async with open_store(f"{cluster.url}?prefix=moves:", timeout_ms=2_000) as store:
            assert isinstance(store, RedisClusterStore)
            make = Maker.of(store)
            works = [make.session("work", user=f"user {number}") for number in range(USERS)]
            for work in works:
                await store.create(make.new(work), operation=make.operation(), now=make.now)
            admitted: Counter[int] = Counter()
            unsure: Counter[int] = Counter()
            is_done = asyncio.Event()

            async def keep_asking(number: int) -> None:
                user = make.spend("user", span=LEVEL, allowance=10**6, over=str(number))
                session = make.spend("session", span=LEVEL, allowance=10**6, scope=Scope.SESSION)
                while not is_done.is_set():
                    try:
                        answer = await store.admit(make.ask(works[number], spends=(user, session)))
                    except StoreUnavailable:
                        unsure[number] += 1
                        continue
                    assert answer.outcome is Outcome.ADMITTED, answer
                    admitted[number] += 1
                    used = [tally.counter.used for tally in answer.tallies if tally]
                    assert used[0] == used[1], "the two counters of one step disagree"
                    assert admitted[number] <= used[0] <= admitted[number] + unsure[number]

            async def move() -> None:
                masters = cluster.masters()
                for work in works[:8]:
                    slot = slot_of(f"moves:{{{work.key.bucket:02x}}}")
                    source = cluster.master_of(slot)
                    to = masters[(masters.index(source) + 1) % len(masters)]
                    await asyncio.to_thread(move_slowly, cluster, slot, to)
                is_done.set()

            async with asyncio.TaskGroup() as tasks:
                for number in range(USERS):
                    tasks.create_task(keep_asking(number))
                tasks.create_task(move())
            assert min(admitted.values()) > 10
            page = await store.list(Query(), now=make.now)
            assert len(page.sessions) == page.total == USERS
            return store._calls.servers.seen  # noqa: SLF001  # what it met on the way

    seen = asyncio.run(scenario())
    assert seen["ASK"] > 0
    assert seen["MOVED"] > 0


def move_slowly(cluster: RedisCluster, slot: int, to: RedisServer) -> None:
    source = cluster.begin_move(slot, to)
    while cluster.move_some_keys(slot, source, to, FEW):
        pass
    cluster.finish_move(slot, to)


def test_a_bucket_that_stays_half_moved_is_away_and_the_others_are_not(cluster: RedisCluster) -> None:
    """Half here and half there: nobody may answer from one half."""

    async def scenario() -> None:
        async with open_store(f"{cluster.url}?prefix=half:", timeout_ms=300) as store:
            make = Maker.of(store)
            works = [make.session("work", user=f"user {number}") for number in range(12)]
            for work in works:
                await store.create(make.new(work), operation=make.operation(), now=make.now)
            slot = slot_of(f"half:{{{works[0].key.bucket:02x}}}")
            to = next(node for node in cluster.masters() if node is not cluster.master_of(slot))
            source = await asyncio.to_thread(cluster.begin_move, slot, to)
            await asyncio.to_thread(cluster.move_some_keys, slot, source, to, 2)
            with pytest.raises(StoreUnavailable, match="being moved"):
                await store.admit(make.ask(works[0]))
            others = [work for work in works if work.key.bucket != works[0].key.bucket]
            for work in others:
                assert (await store.admit(make.ask(work))).outcome is Outcome.ADMITTED
            while await asyncio.to_thread(cluster.move_some_keys, slot, source, to):
                pass
            await asyncio.to_thread(cluster.finish_move, slot, to)
            answer = await store.admit(make.ask(works[0]))
            assert answer.outcome is Outcome.ADMITTED
            assert answer.session is not None
            assert answer.session.hits == 1

    asyncio.run(scenario())
