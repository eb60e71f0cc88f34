"""What the cluster store sends: one round trip for a narrow admission, one write per node, every key in its slot."""

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import Awaitable

import pytest
from msgspec.structs import replace

from sessionware.core.admission import Caps, Outcome
from sessionware.core.facts import Released, Renewed, Settled
from sessionware.core.ledger import Scope
from sessionware.core.store import Store
from sessionware.stores.open import open_store
from sessionware.stores.redis.cluster import RedisClusterStore
from sessionware.testing.build import Maker
from tests.redis_groups import RedisCluster
from tests.selection import is_selected
from tests.servers import RedisServer
from tests.stores.redis.test_redis_traffic import KEYS_OF, commands_seen, everything

pytestmark = pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES")

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
TIMEOUT_MS = 10_000


async def what_counts_elsewhere(store: Store, make: Maker) -> None:
    """The rare paths that only a cluster has: wide limits, taken and given back; levels, full and swept."""
    caps = Caps(1, True, (make.level("MAX_SESSIONS", allowance=2),))
    for number in range(4):
        session = make.session("work", user=f"user {number}", idle=1000 if number == 0 else 60_000)
        new = make.new(session, caps)
        await store.create(replace(new, session=replace(new.session, expires_at=1)) if number == 0 else new,
                           operation=make.operation(), now=make.now)  # fmt: skip
    work = make.session("wide")
    spends = (make.spend("a", scope=Scope.CLIENT), make.spend("b", scope=Scope.GLOBAL), make.spend("c", allowance=1))
    lease = make.lease("d", scope=Scope.GLOBAL)
    ask = make.ask(work, new=make.new(work, caps), spends=spends, leases=(lease,), once=True)
    await store.admit(ask)
    await store.admit(ask)
    await store.admit(replace(ask, operation=make.operation()))
    operation, bucket = ask.operation, work.key.bucket
    await store.record([Renewed(bucket, operation, work.key, (lease,), make.now + 30_000)], now=make.now)
    await store.record([Released(bucket, operation, work.key, (lease,))], now=make.now)
    await store.record([Settled(bucket, work.birth.owner, operation, work.key, spends)], now=make.now)


async def monitored(nodes: list[RedisServer], work: Awaitable[None]) -> list[list[list[str]]]:
    """What each node saw while `work` went on, command by command as its words."""
    streams = [await asyncio.open_connection("127.0.0.1", node.port) for node in nodes]
    for reader, writer in streams:
        writer.write(b"MONITOR\r\n")
        assert await reader.readline() == b"+OK\r\n"
    await work
    marker, seen = secrets.token_hex(8), []
    for node, (reader, writer) in zip(nodes, streams, strict=True):
        _, other = await asyncio.open_connection("127.0.0.1", node.port)
        other.write(f"ECHO {marker}\r\n".encode())
        lines = []
        while marker not in (line := (await reader.readline()).decode()):
            lines.append([" lua] " in line, *_QUOTED.findall(line.partition("] ")[2])])
        for each in (writer, other):
            each.close()
            await each.wait_closed()
        seen.append(lines)
    return seen


def test_a_script_touches_no_slot_but_that_of_its_key(cluster: RedisCluster) -> None:
    """Store.md 4, 5: a key of another slot on the same node would work until somebody reshards."""

    async def scenario() -> Counter[str]:
        kinds: Counter[str] = Counter()
        async with open_store(f"{cluster.url}?prefix=keys:", timeout_ms=TIMEOUT_MS) as store:
            make = Maker.of(store)

            async def work() -> None:
                await everything(store, make)
                await what_counts_elsewhere(store, make)

            for lines in await monitored(cluster.masters(), work()):
                base = ""
                for is_of_script, name, *words in lines:
                    if name.lower() in {"eval", "evalsha"}:
                        assert words[1] == "1"
                        base = words[2]
                    elif is_of_script:
                        for key in [name, *words][KEYS_OF.get(name.lower(), slice(1, 2))]:
                            assert key.startswith(base), f"{name} {words} in a script of {base}"
                            kinds[key.removeprefix(base).partition(":")[0]] += 1
        return kinds

    kinds = asyncio.run(scenario())
    assert {
        "s",
        "o",
        "c",
        "l",
        "n",
        "L",
        "j",
        "g",
        "e",
        "z",
        "p",
        "q",
        "a",
        "x",
        "i",
        "k",
        "t",
        "u",
        "v",
        "h",
    } <= kinds.keys()


def test_a_narrow_admission_is_one_command_and_a_tick_one_write_per_node(cluster: RedisCluster) -> None:
    """Performance.md 2, A36: proved by counting."""

    async def scenario() -> None:
        async with open_store(f"{cluster.url}?prefix=narrow:", timeout_ms=TIMEOUT_MS) as store:
            assert isinstance(store, RedisClusterStore)
            make = Maker.of(store)
            works = [make.session("work", user=f"user {number}") for number in range(32)]
            for work in works:
                await store.create(make.new(work), operation=make.operation(), now=make.now)
            asks = [
                make.ask(work, spends=(make.spend("a", over=str(number)), make.spend("b", scope=Scope.SESSION)))
                for number, work in enumerate(works)
            ]
            await asyncio.gather(*[store.admit(ask) for ask in asks])
            servers = store._calls.servers  # noqa: SLF001  # counting writes is what this test is for
            wires = [member.open_wire for member in servers.map.members.values()]
            before = [wire.writes for wire in wires if wire is not None]
            ran = [(await commands_seen(master)).get("evalsha", 0) for master in cluster.masters()]
            await asyncio.gather(*[store.admit(ask) for ask in asks])
            assert [wire.writes - was for wire, was in zip(wires, before, strict=True) if wire is not None] == [1, 1, 1]
            after = [(await commands_seen(master)).get("evalsha", 0) for master in cluster.masters()]
            assert sum(after) - sum(ran) == 32

    asyncio.run(scenario())


def test_a_wide_limit_makes_it_two_waits(cluster: RedisCluster) -> None:
    """Store.md 10: the wide ones together, then the partition."""

    async def scenario() -> None:
        async with open_store(f"{cluster.url}?prefix=wide:", timeout_ms=TIMEOUT_MS) as store:
            make = Maker.of(store)
            work = make.session("work")
            await store.create(make.new(work), operation=make.operation(), now=make.now)
            spends = (make.spend("a", scope=Scope.CLIENT), make.spend("b", scope=Scope.GLOBAL), make.spend("c"))
            await store.admit(make.ask(work, spends=spends))
            ran = sum([(await commands_seen(master)).get("evalsha", 0) for master in cluster.masters()])
            answer = await store.admit(make.ask(work, spends=spends))
            assert answer.outcome is Outcome.ADMITTED
            assert [tally.counter.used for tally in answer.tallies if tally] == [2, 2, 2]
            assert sum([(await commands_seen(master)).get("evalsha", 0) for master in cluster.masters()]) - ran == 3

    asyncio.run(scenario())
