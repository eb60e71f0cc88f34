"""Opening a cluster: wrong addresses are said, dead seeds are passed over, one salt for all."""

import asyncio
import contextlib
import socket

import pytest

from sessionware.core.admission import Outcome
from sessionware.core.store import Query
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.stores.redis.address import read_cluster
from sessionware.stores.redis.asking import Keys
from sessionware.stores.redis.cluster import RedisClusterStore
from sessionware.stores.redis.cluster.mapping import ClusterMap
from sessionware.stores.redis.cluster.servers import ClusterServers
from sessionware.stores.redis.cluster.topology import slot_of
from sessionware.testing.build import Maker
from tests.redis_groups import RedisCluster
from tests.redis_words import say
from tests.selection import is_selected
from tests.servers import RedisServer, free_port
from tests.stores.opening import some_place_on

pytestmark = [
    pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES"), pytest.mark.timeout(120),
]  # fmt: skip


def listens_on_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


async def opened(url: str, **options: object) -> bytes:
    """Open a store, use it once, and answer its salt."""
    async with open_store(url, timeout_ms=5_000, **options) as store:  # type: ignore[arg-type]
        make = Maker.of(store)
        assert (await store.admit(make.ask())).outcome is Outcome.ADMITTED
        assert store.addresses.buckets == 256
        return store.addresses.salt


def test_a_server_that_is_no_cluster_says_what_to_write():
    with RedisServer() as server, pytest.raises(ConfigError, match=r"cluster_enabled:0\): write redis:// instead"):
        asyncio.run(opened(server.url.replace("redis://", "redis+cluster://")))


def test_a_node_of_a_cluster_is_no_single_server(redis_cluster_url):
    node = redis_cluster_url.replace("redis+cluster://", "").split(",")[0]
    with pytest.raises(ConfigError, match=r"node of a Redis Cluster: write redis\+cluster:// instead of redis://"):
        asyncio.run(opened(f"redis://{node}"))


def test_a_sentinel_is_no_cluster_and_ends_the_start():
    """It knows no CLUSTER command: nothing to wait for."""
    words = "sentinel deny-scripts-reconfig yes\n"
    with RedisServer(sentinel=words) as sentinel, pytest.raises(ConfigError) as refused:
        asyncio.run(opened(f"redis+cluster://127.0.0.1:{sentinel.port}"))
    assert f"write redis+sentinel://127.0.0.1:{sentinel.port}/NAME for a Sentinel" in str(refused.value)


def test_one_seed_that_lives_is_enough(redis_cluster_url):
    """A replica tells the map as well."""
    live = redis_cluster_url.partition("?")[0].rpartition(",")[2]
    asyncio.run(opened(some_place_on(f"redis+cluster://127.0.0.1:{free_port()},{live}")))


def test_without_any_seed_the_error_names_the_cluster():
    url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    with pytest.raises(StoreUnavailable, match=r"no node of the cluster redis\+cluster://.* tells its map"):
        asyncio.run(opened(url))


def test_a_call_while_nobody_tells_the_map_says_why_and_not_only_that_a_bucket_is_nowhere():
    """A35: right after an attempt the map is not asked for again."""
    address = read_cluster(f"redis+cluster://127.0.0.1:{free_port()}")

    async def story() -> str:
        servers = ClusterServers(
            ClusterMap(address, Keys("sw:"), timeout=1, calibrated=None), timeout=1, calibrated=None, salt=None
        )
        with pytest.raises(StoreUnavailable):
            await servers.map.look()
        with pytest.raises(StoreUnavailable) as caught:
            await servers.wire_of(0)
        await servers.close()
        return str(caught.value)

    said = asyncio.run(story())
    assert f"no node of the cluster {address!r} tells its map: " in said
    assert "cannot be reached" in said


def test_all_workers_agree_on_one_salt(redis_cluster_url):
    """Store.md 1."""
    url = some_place_on(redis_cluster_url)

    async def workers() -> set[bytes]:
        return set(await asyncio.gather(*[opened(url) for _ in range(5)]))

    assert len(asyncio.run(workers())) == 1
    assert asyncio.run(workers()) == {asyncio.run(opened(url))}


def test_a_salt_that_is_given_is_the_one_of_a_new_installation(redis_cluster_url):
    salt = bytes(range(32))
    assert asyncio.run(opened(some_place_on(redis_cluster_url), salt=salt)) == salt


def test_a_salt_that_is_lost_comes_back_from_a_worker_that_lives(cluster: RedisCluster):
    """Store.md 1: the next worker must not found another installation."""

    async def scenario() -> None:
        url = f"{cluster.url}?prefix=lost:"
        async with open_store(url, timeout_ms=5_000) as store:
            for master in cluster.masters():
                say(master.port, "FLUSHALL")
            async with asyncio.timeout(10):
                while "lost:meta" not in [
                    key for master in cluster.masters() for key in say(master.port, "KEYS", "lost:*")
                ]:
                    await asyncio.sleep(0.05)
            assert await opened(url) == store.addresses.salt

    asyncio.run(scenario())


def test_a_cluster_that_holds_another_installation_is_left_alone(cluster: RedisCluster):
    """Store.md 1: a worker that meets another salt refuses to serve."""

    async def scenario() -> None:
        async with open_store(f"{cluster.url}?prefix=other:", timeout_ms=5_000) as store:
            make = Maker.of(store)
            await store.admit(make.ask())
            owner = cluster.master_of(slot_of("other:meta"))
            say(owner.port, "HSET", "other:meta", "salt", "x" * 32)
            async with asyncio.timeout(10):
                with contextlib.suppress(StoreUnavailable):
                    while await store.admit(make.ask()):
                        await asyncio.sleep(0.05)
            with pytest.raises(StoreUnavailable, match="another installation"):
                await store.admit(make.ask())
            with pytest.raises(StoreUnavailable, match="another installation"):
                await store.reap(now=make.now, limit=0)

    asyncio.run(scenario())


def test_a_cluster_behind_a_password_is_entered_with_it_and_refused_without():
    """Security.md: the password is never shown."""
    password = "not-to-be-shown"  # of this test
    with RedisCluster(masters=3, replicas=0) as cluster:
        for node in cluster.nodes:
            say(node.port, "CONFIG", "SET", "masterauth", password)
            say(node.port, "CONFIG", "SET", "requirepass", password)
        places = cluster.url.removeprefix("redis+cluster://")
        asyncio.run(opened(f"redis+cluster://:{password}@{places}"))
        with pytest.raises(ConfigError, match="check the user and the password"):
            asyncio.run(opened(cluster.url))
        with pytest.raises(ConfigError) as caught:
            asyncio.run(opened(f"redis+cluster://:wrong-{password}@{places}"))
        assert password not in str(caught.value)


@pytest.mark.skipif(not listens_on_ipv6(), reason="this machine has no ::1")
def test_a_cluster_that_announces_addresses_of_ipv6_is_followed_there():
    """The seeds have other addresses than the nodes: every node is reached as the cluster names it."""
    both = ("--bind", "127.0.0.1", "::1", "--cluster-announce-ip", "::1")
    with RedisCluster(*both, masters=3, replicas=0) as cluster:

        async def scenario() -> set[str]:
            async with open_store(cluster.url, timeout_ms=5_000) as store:
                assert isinstance(store, RedisClusterStore)
                make = Maker.of(store)
                for number in range(30):
                    session = make.session("work", user=str(number))
                    await store.create(make.new(session), operation=make.operation(), now=make.now)
                assert (await store.list(Query(limit=0), now=make.now)).total == 30
                return {host for host, _ in store._calls.servers.map.members}  # noqa: SLF001  # where it went

        assert asyncio.run(scenario()) == {"::1"}
        seed = f"redis+cluster://[::1]:{cluster.nodes[0].port}"
        asyncio.run(opened(seed))
