"""A node that serves more than before is told what it may have lost, however we learn of it."""

import asyncio

import pytest

from sessionware.core.admission import Admission, Outcome
from sessionware.core.facts import TokenRevocation
from sessionware.core.store import Store
from sessionware.core.windows import NEVER
from sessionware.errors import StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.stores.redis.cluster import RedisClusterStore
from sessionware.stores.redis.cluster.topology import slot_of
from sessionware.testing.build import Maker
from tests.redis_groups import RedisCluster
from tests.redis_words import say
from tests.selection import is_selected

pytestmark = [
    pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES"), pytest.mark.timeout(120),
]  # fmt: skip


@pytest.mark.parametrize("learns", ["by the map", "by being sent there"])
def test_a_revocation_is_in_force_on_a_node_that_takes_over_without_it(cluster: RedisCluster, learns: str) -> None:
    """ST-02, JWT-13: the heir was connected already, so no new connection says it again."""

    async def scenario() -> None:
        async with open_store(f"{cluster.url}?prefix=heir-{len(learns)}:", timeout_ms=2_000) as store:
            assert isinstance(store, RedisClusterStore)
            make = Maker.of(store)
            work, token = make.session("work"), make.token("bad")
            await store.create(make.new(work), operation=make.operation(), now=make.now)
            await store.revoke(TokenRevocation(token.hash, NEVER), now=make.now)
            base = f"heir-{len(learns)}:{{{work.key.bucket:02x}}}"
            old = cluster.master_of(slot_of(base))
            heir = next(node for node in cluster.masters() if node is not old)
            assert say(old.port, "DEL", f"{base}t") == 1  # what a failover may lose
            await asyncio.to_thread(cluster.move_slot, slot_of(base), heir)
            if learns == "by the map":
                await store._calls.servers.map.look()  # noqa: SLF001  # as every second
            assert (await store.admit(make.ask(work, token=token))).outcome is Outcome.REVOKED

    asyncio.run(scenario())


def test_a_cluster_that_was_emptied_refuses_again_what_its_workers_know(cluster: RedisCluster) -> None:
    """ST-02: FLUSHALL takes the salt and the revocations; both come back, from whoever lives, within seconds."""

    async def scenario() -> None:
        async with open_store(f"{cluster.url}?prefix=emptied:", timeout_ms=2_000) as store:
            make = Maker.of(store)
            token, works = make.token("bad"), [make.session("work", user=f"user {number}") for number in range(12)]
            await store.revoke(TokenRevocation(token.hash, NEVER), now=make.now)
            for master in cluster.masters():
                say(master.port, "FLUSHALL")
            for work in works:
                await store.create(make.new(work), operation=make.operation(), now=make.now)
            async with asyncio.timeout(5):
                for work in works:
                    while await outcome(store, make.ask(work, token=token)) is not Outcome.REVOKED:
                        await asyncio.sleep(0.05)

    asyncio.run(scenario())


async def outcome(store: Store, ask: Admission) -> Outcome | None:
    """None while the connections are made anew."""
    try:
        return (await store.admit(ask)).outcome
    except StoreUnavailable:
        return None
