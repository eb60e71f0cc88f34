"""What lies in Redis: no id, no plaintext, and nothing that can be moved to another session unnoticed."""

import asyncio
import secrets
from typing import Any

import hiredis
import pytest

from sessionware.core.ids import mint
from sessionware.core.session import Birth, Proof, Session
from sessionware.core.store import Log
from sessionware.errors import PayloadUnreadable
from sessionware.stores.open import open_store
from sessionware.stores.sealing import new_key, read_keys
from sessionware.testing.build import Maker
from tests.selection import is_selected
from tests.servers import RedisServer

pytestmark = pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")

CANARY = b"canary-7f3a-plaintext"


async def talk(server: RedisServer, *commands: tuple[Any, ...]) -> list[Any]:
    """Plain commands on a connection of the test's own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    parser, replies = hiredis.Reader(), []
    for command in commands:
        writer.write(hiredis.pack_command(command))
        while (reply := parser.gets()) is False:
            parser.feed(await reader.read(65536))
        replies.append(reply)
    writer.close()
    await writer.wait_closed()
    return replies


async def everything_at_rest(server: RedisServer) -> bytes:
    (keys,) = await talk(server, ("KEYS", "*"))
    read = {b"string": "GET", b"hash": "HGETALL", b"list": "LRANGE", b"zset": "ZRANGE", b"set": "SMEMBERS"}
    found = []
    for key in keys:
        (kind,) = await talk(server, ("TYPE", key))
        bounds = (0, -1) if kind in {b"list", b"zset"} else ()
        found += [key, *await talk(server, (read[kind], key, *bounds))]
    return repr(found).encode()


def minted(make: Maker) -> tuple[str, Session]:
    """A session under a minted id, with a canary wherever text can be kept."""
    owner = make.owner()
    tag = make.addresses.tag("u", owner)
    id_ = mint(tag, secrets.token_bytes(32))
    birth = Birth(make.addresses.minted_key(id_), tag, owner, Proof.TOKEN, make.now, user_id="alice")
    session = Session(birth, 60_000, 0, make.now + 60_000, make.now, metadata=CANARY, data=CANARY)
    return id_.text, session


def test_neither_ids_nor_payloads_are_readable_at_rest() -> None:
    """SES-13, B28, ENC-01."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url, keys=read_keys(new_key())) as store:
            make = Maker.of(store)
            text, session = minted(make)
            await store.create(make.new(session), operation=make.operation(), now=make.now)
            await store.append(session.key, Log.CONTEXT, CANARY, keep=10, now=make.now)
            link = make.link(session, "legacy-" + text, handshake=CANARY)
            await store.link(link, operation=make.operation(), now=make.now)
            stored = await store.get(session.key, now=make.now)
            assert stored is not None
            assert (stored.metadata, stored.data, stored.links[0].handshake) == (CANARY, CANARY, CANARY)
            assert await store.tail(session.key, Log.CONTEXT, 1, now=make.now) == [CANARY]
            at_rest = await everything_at_rest(server)
            assert b"alice" in at_rest, "the dump does not hold what it must hold"
            for secret in (CANARY, text.encode(), text.partition(".")[2].encode()):
                assert secret not in at_rest

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_payload_swapped_between_two_sessions_fails_loudly() -> None:
    """ENC-01: rejected, not silently empty; the other session is not harmed."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url, keys=read_keys(new_key())) as store:
            make = Maker.of(store)
            one, two, three = (make.session(name, data=CANARY) for name in ("one", "two", "three"))
            for session in (one, two, three):
                await store.create(make.new(session), operation=make.operation(), now=make.now)
            names = [f"sw:{{00}}s:{session.key.hash.hex()}" for session in (one, two)]
            first, second = await talk(server, *[("HGET", name, "d") for name in names])
            await talk(server, ("HSET", names[0], "d", second), ("HSET", names[1], "d", first))
            for session in (one, two):
                with pytest.raises(PayloadUnreadable, match="altered, or moved"):
                    await store.get(session.key, now=make.now)
                with pytest.raises(PayloadUnreadable):
                    await store.admit(make.ask(session))
                assert (await store.admit(make.ask(session, wants_data=False))).session is not None
            assert await store.get(three.key, now=make.now) is not None

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_whole_record_copied_under_another_id_fails_loudly() -> None:
    """ENC-01: with its birth and its payload it would be intact, but it is not that session."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url, keys=read_keys(new_key())) as store:
            make = Maker.of(store)
            victim, mine = make.session("victim", data=CANARY), make.session("mine", user="mallory")
            for session in (victim, mine):
                await store.create(make.new(session), operation=make.operation(), now=make.now)
            names = [f"sw:{{00}}s:{session.key.hash.hex()}" for session in (victim, mine)]
            (fields,) = await talk(server, ("HGETALL", names[0]))
            (owner,) = await talk(server, ("HGET", names[1], "o"))
            await talk(server, ("HSET", names[1], *fields, "o", owner))
            with pytest.raises(PayloadUnreadable, match="another session"):
                await store.get(mine.key, now=make.now)

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_an_end_with_an_unreadable_payload_is_told_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """A planted row must not stop the reaper; it is alarmed about."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url, keys=read_keys(new_key())) as store:
            make = Maker.of(store)
            work = make.session("work", data=CANARY)
            await store.create(make.new(work), operation=make.operation(), now=make.now)
            await talk(server, ("HSET", f"sw:{{00}}s:{work.key.hash.hex()}", "d", b"planted"))
            ended = await store.delete(work.key, now=make.now)
            assert ended is not None
            assert (ended.session.key, ended.session.data) == (work.key, None)

    with RedisServer() as server:
        asyncio.run(scenario(server))
    assert "without its payload" in caplog.text


def test_keys_are_rotated_while_sessions_live() -> None:
    """ENC-02; two stores on one URL agree on addresses whatever their keys."""

    async def scenario(server: RedisServer) -> None:
        old, new = new_key(), new_key()
        async with open_store(server.url, keys=read_keys(old)) as store:
            make = Maker.of(store)
            work = make.session("work", data=CANARY)
            await store.create(make.new(work), operation=make.operation(), now=make.now)
            salt = store.addresses
        async with open_store(server.url, keys=read_keys(f"{new},{old}")) as store:
            assert store.addresses == salt
            session = await store.get(work.key, now=store.clock.now())
            assert session is not None
            await store.update(session, now=store.clock.now())
        async with open_store(server.url, keys=read_keys(new)) as store:
            session = await store.get(work.key, now=store.clock.now())
            assert session is not None
            assert session.data == CANARY
        async with open_store(server.url) as store:
            with pytest.raises(PayloadUnreadable, match="not among SECRET_KEYS"):
                await store.get(work.key, now=store.clock.now())

    with RedisServer() as server:
        asyncio.run(scenario(server))
