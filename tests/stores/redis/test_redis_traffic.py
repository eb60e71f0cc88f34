"""What the Redis store sends: one round trip per admission, and every key in its bucket."""

import asyncio
import re
import secrets

import pytest

from sessionware.core.admission import Binding, Caps, Level, Outcome
from sessionware.core.facts import (
    Acknowledged,
    Interrupted,
    OrgLimits,
    OwnerRevocation,
    Released,
    Renewed,
    SessionLimits,
    Settled,
    TokenRevocation,
    Touched,
    UserLimits,
)
from sessionware.core.ledger import Scope
from sessionware.core.store import Log, Move, Query, Store
from sessionware.stores.open import open_store
from sessionware.stores.redis import RedisStore
from sessionware.testing.build import Maker
from tests.selection import is_selected
from tests.servers import RedisServer

pytestmark = pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")

PREFIX = "traffic:"
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
KEYS_OF = {  # which arguments of a command that a script calls are keys
    "rename": slice(1, 3), "del": slice(1, None), "exists": slice(1, 2), "publish": slice(0, 0), "time": slice(0, 0),
}  # fmt: skip


async def everything(store: Store, make: Maker) -> None:
    """Call every method, on its usual and its rare paths."""
    now = make.now
    level = Level("total", make.addresses.counter("total"), 2)
    for number in range(4):
        work = make.session(f"work-{number}", started_by=make.token("t").hash)
        await store.create(make.new(work, Caps(2, True, (level,))), operation=make.operation(), now=now)
    spends = (make.spend(limit="a"), make.spend(limit="b", scope=Scope.USER))
    lease = make.lease(limit="c", allowance=2)
    derived = make.session("derived")
    ask = make.ask(
        derived, spends=spends, leases=(lease,), token=make.token("u"), new=make.new(derived),
        candidate=Binding("tools", "a"), opens=True, once=True,
    )  # fmt: skip
    assert (await store.admit(ask)).outcome is Outcome.ADMITTED
    assert (await store.admit(ask)).outcome is Outcome.ADMITTED
    session = await store.get(derived.key, now=now)
    assert session is not None
    session = await store.update(session, now=now)
    await store.rebind(derived.key, pool="tools", was="a", to="b", now=now)
    link = make.link(derived)
    await store.link(link, operation=make.operation(), now=now, at_most=1)
    other = make.link(derived, "other")
    await store.link(other, operation=make.operation(), now=now, at_most=1)
    await store.admit(make.ask(None, link=other.key, owner=derived.birth.owner, bucket=derived.key.bucket))
    await store.append(derived.key, Log.CONTEXT, b"item", keep=2, now=now)
    await store.tail(derived.key, Log.CONTEXT, 2, now=now)
    moved = make.session("moved").birth
    stored = await store.move(Move(derived.key, moved, session.revision), now=now)
    await store.unlink(other.key, now=now)
    await store.list(Query(), now=now)
    await store.list(Query(owner=moved.owner, bucket=moved.key.bucket), now=now)
    await store.list(Query(limit=0), now=now)
    bucket, operation = moved.key.bucket, make.operation()
    await store.record(
        [
            Touched(moved.key, now, 1),
            Settled(bucket, moved.owner, make.operation(), moved.key, spends),
            Renewed(bucket, operation, moved.key, (lease,), now + 30_000),
            Released(bucket, operation, moved.key, (lease,)),
            SessionLimits(moved.key, {"a": 5}),
            UserLimits(bucket, moved.owner, {"a": 5}),
            OrgLimits(make.owner("org"), {"a": 5}),
            Interrupted(moved.key),
            Acknowledged(0, "1"),
        ],
        now=now,
    )
    await store.delete(stored.session.key, now=now)
    await store.revoke(TokenRevocation(make.token("t").hash, now + 1000), now=now)
    await store.revoke(OwnerRevocation(bucket, moved.owner, now), now=now)
    await store.reap(now=now + 10_000_000, limit=10, idle_for=1)


async def monitored(server: RedisServer, work: asyncio.Task[None]) -> list[list[str]]:
    """The commands that the server saw while `work` ran, each as its words; only those made by scripts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    await work
    marker = secrets.token_hex(8)
    writer_2 = (await asyncio.open_connection("127.0.0.1", server.port))[1]
    writer_2.write(f"ECHO {marker}\r\n".encode())
    seen = []
    while marker not in (line := (await reader.readline()).decode()):
        if " lua] " in line:
            seen.append(_QUOTED.findall(line.partition("] ")[2]))
    for each in (writer, writer_2):
        each.close()
        await each.wait_closed()
    return seen


def test_every_key_that_a_script_touches_carries_its_bucket() -> None:
    """Store.md 4: a key of another slot would work until somebody reshards."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(f"{server.url}?prefix={PREFIX}") as store:
            await store.reap(now=store.clock.now(), limit=0)
            work = asyncio.ensure_future(everything(store, Maker.of(store)))
            seen = await monitored(server, work)
        kinds = set()
        for name, *arguments in seen:
            keys = [name, *arguments][KEYS_OF.get(name.lower(), slice(1, 2))]
            for key in keys:
                assert key.startswith(f"{PREFIX}{{00}}"), f"{name} {arguments}"
                kinds.add(key.removeprefix(f"{PREFIX}{{00}}").partition(":")[0])
        assert {"s", "o", "c", "l", "n", "L", "j", "g", "e", "z", "p", "q", "a", "x", "i", "k", "t", "u"} <= kinds

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_an_admission_is_one_command_and_a_tick_is_one_write() -> None:
    """The product: one round trip per request, proved by counting."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url) as store:
            assert isinstance(store, RedisStore)
            make = Maker.of(store)
            work = make.session("work")
            await store.create(make.new(work), operation=make.operation(), now=make.now)
            spends = (make.spend(limit="a"), make.spend(limit="b", scope=Scope.USER))
            await store.admit(make.ask(work, spends=spends))
            wire = await store._servers.wire_of(0)  # noqa: SLF001  # counting writes is what this test is for
            before, commands = wire.writes, await commands_seen(server)
            await asyncio.gather(*[store.admit(make.ask(work, spends=spends)) for _ in range(32)])
            assert wire.writes - before == 1
            after = await commands_seen(server)
            assert after["evalsha"] - commands["evalsha"] == 32
            assert after.get("eval", 0) == commands.get("eval", 0)
            assert after.get("script", 0) == commands.get("script", 0) == 0

    with RedisServer() as server:
        asyncio.run(scenario(server))


async def commands_seen(server: RedisServer) -> dict[str, int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"INFO commandstats\r\n")
    length = int((await reader.readline())[1:])
    text = (await reader.readexactly(length + 2)).decode()
    writer.close()
    await writer.wait_closed()
    return {name: int(calls) for name, calls in re.findall(r"cmdstat_(\w+):calls=(\d+)", text)}
