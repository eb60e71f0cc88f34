"""One node of a cluster: who waits for it is told what became of it, and is not cancelled without asking for it."""

import asyncio

import pytest

from sessionware.stores.redis.address import RedisAddress
from sessionware.stores.redis.cluster.member import Member, NothingRan
from sessionware.stores.redis.wire import Wire

PATIENCE_S = 10.0


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
