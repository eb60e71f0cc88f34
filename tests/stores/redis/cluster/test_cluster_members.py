"""One node of a cluster: who waits for it is told what became of it, and is not cancelled without asking for it."""

import asyncio

import pytest

from sessionware.stores.redis.address import RedisAddress, read_cluster
from sessionware.stores.redis.cluster.member import Member, NothingRan
from sessionware.stores.redis.node import CONNECT_S
from sessionware.stores.redis.plain import ask
from sessionware.stores.redis.wire import Wire
from tests.selection import is_selected

pytestmark = pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES")

PATIENCE_S = 10.0


def test_a_node_that_must_be_told_much_is_told_all_of_it(redis_cluster_url):
    """ST-02: with thousands of revocations and buckets that takes longer than to connect, and must not begin anew."""

    async def story() -> None:
        seed = read_cluster(redis_cluster_url).seeds[0]
        told = asyncio.Event()

        async def tell_for_long(_: Member, wire: Wire) -> None:
            asyncio.get_running_loop().call_later(CONNECT_S + 0.1, told.set)
            await told.wait()
            await ask(wire, "PING")

        member = Member(seed, timeout=PATIENCE_S, calibrated=None, greet=tell_for_long)
        wire = await member.wire()
        assert told.is_set()
        assert wire.is_open
        await member.close()

    asyncio.run(story())


async def greet_nobody(_: Member, __: Wire) -> None:
    return


def test_who_waits_for_a_node_that_leaves_is_told_so_and_not_cancelled():
    """C27: a machine that hangs is waited for when the cluster drops it; the keeper of the map must outlive that."""

    async def story() -> None:
        arrived = asyncio.Event()

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrived.set()
            await reader.read()
            writer.close()

        silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        async with silent:
            port = silent.sockets[0].getsockname()[1]
            member = Member(RedisAddress("127.0.0.1", port), timeout=PATIENCE_S, calibrated=None, greet=greet_nobody)
            waiting = asyncio.create_task(member.wire())
            async with asyncio.timeout(PATIENCE_S):
                await arrived.wait()
            await member.close()
            with pytest.raises(NothingRan, match="left the cluster, or the store is closed"):
                await waiting

    asyncio.run(story())
