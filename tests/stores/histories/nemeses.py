"""The only place that knows how to harm a store while workers race on it: each does harm and makes it good again."""

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from tests.postgres_server import PostgresServer
from tests.redis_groups import RedisCluster, RedisReplicas
from tests.redis_words import say
from tests.servers import RedisServer, children_of
from tests.stores.faulty_wire import FaultyWire
from tests.stores.histories.running import Fault, Harm, Team

HURTS_S: Final = 0.5  # how long a store is away; longer than the deadline of a call
LAGS_S: Final = 0.3  # how long replicas hear nothing before the primary dies
AGAIN_S: Final = 0.06  # between small harms that are done several times
TIMES: Final = 6


def _always(harm: Callable[[Team], Awaitable[None]]) -> Harm:
    """The harm as a fault: from its first to its last moment."""

    async def fault(team: Team) -> Fault:
        began = time.monotonic_ns()
        await harm(team)
        return Fault(began, time.monotonic_ns())

    return fault


async def _nothing(team: Team) -> None:
    """No harm at all: how workers race undisturbed."""


async def _kill_workers(team: Team) -> None:
    """kill -9 of all but one, one after the other: one of them is in the midst of a call."""
    for number in team.alive[1:]:
        await team.kill(number)
        await asyncio.sleep(AGAIN_S)


OF_WORKERS: Final[dict[str, Harm]] = {"nothing": _always(_nothing), "kill-workers": _always(_kill_workers)}


# ---------------------------------------------------------------------- one redis-server


class Commands(Struct, frozen=True):
    """What a redis-server can be told by anybody who may give it commands."""

    port: int

    async def say(self, *words: object) -> Any:
        return await asyncio.to_thread(say, self.port, *words)

    async def for_a_while(self, harm: tuple[object, ...], repair: tuple[object, ...]) -> None:
        await self.say(*harm)
        await asyncio.sleep(HURTS_S)
        await self.say(*repair)

    async def again(self, *words: object) -> None:
        for _ in range(TIMES):
            await self.say(*words)
            await asyncio.sleep(AGAIN_S)

    async def pause(self) -> None:
        await self.say("CLIENT", "PAUSE", int(HURTS_S * 1000))
        await asyncio.sleep(HURTS_S)


def of_redis(server: RedisServer) -> dict[str, Harm]:
    """What can happen to one server. It has to be persistent, or it forgets more than a nemesis may make it."""
    told = Commands(server.port)

    async def kill9(team: Team) -> None:
        await asyncio.to_thread(server.kill9)
        await asyncio.sleep(AGAIN_S)
        await asyncio.to_thread(server.start)

    async def hang(team: Team) -> None:
        server.pause()
        await asyncio.sleep(HURTS_S)
        server.resume()

    full, free = ("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0)
    replica, master = ("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE")
    return {
        "kill9": _always(kill9),  # with appendfsync always nothing acknowledged is lost
        "hang": _always(hang),  # what was sent meanwhile is applied, but too late for an answer
        "flush-scripts": _always(lambda _: told.again("SCRIPT", "FLUSH")),
        "kill-clients": _always(lambda _: told.again("CLIENT", "KILL", "TYPE", "normal")),
        "pause-clients": _always(lambda _: told.pause()),
        "fill-memory": _always(lambda _: told.for_a_while(full, free)),  # OOM
        "make-replica": _always(lambda _: told.for_a_while(replica, master)),  # READONLY
    }


def of_wire(wire: FaultyWire) -> dict[str, Harm]:
    """Requests arrive, and their answers are lost with the connection: again and again."""

    async def lose(team: Team) -> None:
        for _ in range(TIMES):
            wire.lost.clear()
            wire.lose_next_reply = True
            async with asyncio.timeout(5):
                await wire.lost.wait()
            await asyncio.sleep(AGAIN_S)

    return {"lose-replies": _always(lose)}


# ---------------------------------------------------------------------- sentinels


def of_sentinels(group: RedisReplicas) -> dict[str, Harm]:
    """The primary dies and another takes its place; writes that no replica had heard of are lost."""

    async def replaced(old: RedisServer, began: int) -> Fault:
        killed = time.monotonic_ns()
        await asyncio.to_thread(group.wait_for_new_primary, old)
        fault = Fault(began, time.monotonic_ns(), killed)
        await asyncio.to_thread(old.start)
        return fault

    async def kill_primary(team: Team) -> Fault:
        await asyncio.to_thread(group.wait_until_ok)
        began = time.monotonic_ns()
        return await replaced(await asyncio.to_thread(group.kill_primary), began)

    async def kill_primary_ahead(team: Team) -> Fault:
        await asyncio.to_thread(group.wait_until_ok)
        replicas = await asyncio.to_thread(lambda: group.replicas)
        primary = await asyncio.to_thread(lambda: group.primary)
        for replica in replicas:
            replica.pause()
        # Without this they would find in their sockets all that was sent to them meanwhile.
        await asyncio.to_thread(group.say, primary, "CLIENT", "KILL", "TYPE", "replica")
        await asyncio.sleep(LAGS_S)
        began = time.monotonic_ns()
        primary.kill9()
        for replica in replicas:
            replica.resume()
        return await replaced(primary, began)

    async def hang_replica(team: Team) -> None:
        replica = (await asyncio.to_thread(lambda: group.replicas))[0]
        replica.pause()
        await asyncio.sleep(HURTS_S)
        replica.resume()

    return {
        "kill-primary": kill_primary,
        "kill-primary-ahead": kill_primary_ahead,
        "hang-replica": _always(hang_replica),
    }


# ---------------------------------------------------------------------- a cluster


class Slots(Struct, frozen=True):
    """Where a history's keys lie on a cluster: the session with its user, and what counts over everybody."""

    cluster: RedisCluster

    def session(self) -> int:
        (slot,) = self._of("s")
        return slot

    def wide(self) -> int:
        return next(slot for slot in self._of("c") if slot != self.session())

    def _of(self, kind: str) -> list[int]:
        first = self.cluster.running[0].port
        keys = [key for node in self.cluster.masters() for key in say(node.port, "KEYS", f"*}}{kind}:*")]
        return sorted({int(say(first, "CLUSTER", "KEYSLOT", key)) for key in keys})


def of_cluster(cluster: RedisCluster) -> dict[str, Harm]:
    """Masters die, hang, and hand slots over."""
    slots = Slots(cluster)

    def hand_over() -> None:
        for slot in (slots.session(), slots.wide()):
            _hand_over(cluster, slot)

    async def hang_master(team: Team) -> None:
        master = await asyncio.to_thread(lambda: cluster.master_of(slots.session()))
        master.pause()
        await asyncio.sleep(HURTS_S)  # less than the node timeout: nobody takes its place
        master.resume()

    return {
        "kill-session-master": _kill_master(cluster, slots.session),
        "kill-wide-master": _kill_master(cluster, slots.wide),
        "move-slots": _always(lambda _: asyncio.to_thread(hand_over)),
        "hang-master": _always(hang_master),
    }


def _kill_master(cluster: RedisCluster, slot_of: Callable[[], int]) -> Harm:
    async def kill_master(team: Team) -> Fault:
        await asyncio.to_thread(cluster.wait_until_ok)
        slot = await asyncio.to_thread(slot_of)
        old = await asyncio.to_thread(cluster.master_of, slot)
        began = time.monotonic_ns()
        cluster.kill9(old)
        killed = time.monotonic_ns()
        await asyncio.to_thread(cluster.wait_for_new_master_of, slot, old)
        fault = Fault(began, time.monotonic_ns(), killed)
        await asyncio.to_thread(cluster.restart, old)
        return fault

    return kill_master


def _hand_over(cluster: RedisCluster, slot: int) -> None:
    """To another master and back, key by key, slowly: meanwhile there is MOVED, ASK and TRYAGAIN."""
    home = cluster.master_of(slot)
    for to in (next(node for node in cluster.masters() if node is not home), home):
        source = cluster.begin_move(slot, to)
        while cluster.move_some_keys(slot, source, to, 1):
            time.sleep(AGAIN_S)
        cluster.finish_move(slot, to)


# ---------------------------------------------------------------------- PostgreSQL


def of_postgres(server: PostgresServer) -> dict[str, Harm]:
    """What it has acknowledged it keeps, however it ends."""

    async def stop_immediately(team: Team) -> None:
        await asyncio.to_thread(server.stop_immediately)
        await asyncio.to_thread(server.start)

    async def kill9(team: Team) -> None:
        await asyncio.to_thread(server.kill9)
        await asyncio.to_thread(server.start)

    async def hang(team: Team) -> None:
        family = (server.pid, *children_of(server.pid))
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(HURTS_S)
        for pid in family:
            os.kill(pid, signal.SIGCONT)

    return {"stop-immediately": _always(stop_immediately), "kill9": _always(kill9), "hang": _always(hang)}


# ---------------------------------------------------------------------- one file


def of_sqlite(path: Path) -> dict[str, Harm]:
    def hold() -> None:
        connection = sqlite3.connect(path, isolation_level=None, timeout=5)
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(HURTS_S)
        connection.execute("ROLLBACK")
        connection.close()

    async def hold_lock(team: Team) -> None:
        await asyncio.to_thread(hold)

    return {"hold-lock": _always(hold_lock)}
