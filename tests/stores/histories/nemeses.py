"""The only place that knows how to harm a store while workers race on it: each does harm and makes it good again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tests.redis_words import say
from tests.servers import RedisServer
from tests.stores.histories.running import Harm, Team
from tests.stores.redis.faulty_wire import FaultyWire

HURTS_S: Final = 0.5  # how long a store is away; longer than the deadline of a call
AGAIN_S: Final = 0.06  # between small harms that are done several times
TIMES: Final = 6


async def nothing(team: Team) -> None:
    """No harm at all: how workers race undisturbed."""


async def kill_workers(team: Team) -> None:
    """kill -9 of three of the four, one after the other: one of them is in the midst of a call."""
    for number in range(3):
        await team.kill(number)
        await asyncio.sleep(AGAIN_S)


class OfRedis:
    """What can happen to one redis-server. It has to be persistent, or it forgets more than a nemesis may make it."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    async def kill9(self, team: Team) -> None:
        """A crash and a start; with appendfsync always nothing acknowledged is lost."""
        await asyncio.to_thread(self._server.kill9)
        await asyncio.sleep(AGAIN_S)
        await asyncio.to_thread(self._server.start)

    async def hang(self, team: Team) -> None:
        """SIGSTOP and SIGCONT: what was sent meanwhile is applied, but too late for an answer."""
        self._server.pause()
        await asyncio.sleep(HURTS_S)
        self._server.resume()

    async def flush_scripts(self, team: Team) -> None:
        await self._again("SCRIPT", "FLUSH")

    async def kill_clients(self, team: Team) -> None:
        await self._again("CLIENT", "KILL", "TYPE", "normal")

    async def pause_clients(self, team: Team) -> None:
        """CLIENT PAUSE: the server takes calls in and answers them late."""
        await self._say("CLIENT", "PAUSE", int(HURTS_S * 1000))
        await asyncio.sleep(HURTS_S)

    async def fill_memory(self, team: Team) -> None:
        """OOM: every write is refused."""
        await self._for_a_while(("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0))

    async def make_replica(self, team: Team) -> None:
        """READONLY, and back."""
        await self._for_a_while(("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE"))

    async def _for_a_while(self, harm: tuple[object, ...], repair: tuple[object, ...]) -> None:
        await self._say(*harm)
        await asyncio.sleep(HURTS_S)
        await self._say(*repair)

    async def _again(self, *words: object) -> None:
        for _ in range(TIMES):
            await self._say(*words)
            await asyncio.sleep(AGAIN_S)

    async def _say(self, *words: object) -> Any:
        return await asyncio.to_thread(say, self._server.port, *words)


def losing_replies(wire: FaultyWire) -> Harm:
    """Requests arrive, and their answers are lost with the connection: again and again."""

    async def lose(team: Team) -> None:
        for _ in range(TIMES):
            wire.lost.clear()
            wire.lose_next_reply = True
            async with asyncio.timeout(5):
                await wire.lost.wait()
            await asyncio.sleep(AGAIN_S)

    return lose


OF_REDIS: Final[dict[str, Callable[[OfRedis, Team], Awaitable[None]]]] = {
    "kill9": OfRedis.kill9,
    "hang": OfRedis.hang,
    "flush-scripts": OfRedis.flush_scripts,
    "kill-clients": OfRedis.kill_clients,
    "pause-clients": OfRedis.pause_clients,
    "fill-memory": OfRedis.fill_memory,
    "make-replica": OfRedis.make_replica,
}
