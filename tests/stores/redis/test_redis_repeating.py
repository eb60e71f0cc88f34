"""Revocations outlive the memory of a server, as long as a worker lives that knows them."""

import asyncio
import logging

import pytest

from sessionware.core.admission import Outcome
from sessionware.core.facts import Gap, OwnerRevocation, TokenRevocation
from sessionware.core.store import Store
from sessionware.stores.open import open_store
from sessionware.stores.redis.address import read_address
from sessionware.stores.redis.asking import Keys
from sessionware.stores.redis.connecting import connect
from sessionware.stores.redis.plain import hang_up
from sessionware.stores.redis.repeating import AT_ONCE, REMEMBERED_MAX, KnownRevocations
from sessionware.stores.redis.scripts import load_scripts
from sessionware.testing import ManualClock
from sessionware.testing.build import Maker
from tests.redis_words import say
from tests.selection import is_selected
from tests.servers import RedisServer
from tests.stores.deeds import some_prefix, until_it_answers

pytestmark = pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")

DEADLINE_MS = 200
LATE = 3_600_000


async def is_refused(store: Store, make: Maker, jti: str) -> bool:
    answer = await store.admit(make.ask(None, token=make.token(jti), touch=False))
    return answer.outcome is Outcome.REVOKED


async def revoke_token(store: Store, make: Maker, jti: str) -> None:
    await store.revoke(TokenRevocation(make.token(jti).hash, make.now + LATE), now=make.now)


def test_a_server_that_came_back_empty_is_told_what_was_revoked(caplog: pytest.LogCaptureFixture) -> None:
    """A single Redis without persistence: the worker that revoked, and one that heard of it."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url, timeout_ms=DEADLINE_MS) as listener:
            watch = listener.watch()
            assert await anext(watch) == Gap()
            async with open_store(server.url) as author:
                make = Maker.of(author)
                await revoke_token(author, make, "stolen")
                before = make.now
                await author.revoke(OwnerRevocation(make.bucket(), make.owner(), before), now=before)
            async with asyncio.timeout(5):
                for _ in range(2):
                    assert await anext(watch) != Gap()
            server.kill9()
            server.start()
            await until_it_answers(listener)
            async with open_store(server.url) as stranger:
                assert await is_refused(stranger, make, "stolen")
                assert not await is_refused(stranger, make, "another")
                older = make.token("another", issued_at=before)
                answer = await stranger.admit(make.ask(None, owner=make.owner(), token=older))
                assert answer.outcome is Outcome.REVOKED

    with RedisServer() as server, caplog.at_level(logging.WARNING, "sessionware.store"):
        asyncio.run(scenario(server))
    assert "the server had lost 2 revocations" in caplog.text


def test_a_server_that_was_flushed_is_told_within_seconds() -> None:
    """FLUSHALL breaks no connection: the salt is looked at once a second."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url) as store:
            make = Maker.of(store)
            await revoke_token(store, make, "stolen")
            say(server.port, "FLUSHALL")
            async with asyncio.timeout(5):
                while not say(server.port, "EXISTS", "sw:{00}t"):
                    await asyncio.sleep(0.02)
            assert await is_refused(store, make, "stolen")

    with RedisServer() as server:
        asyncio.run(scenario(server))


async def repeated(url: str, known: KnownRevocations) -> int:
    wire = await connect(read_address(url), tls=None, each=5, within=5)
    try:
        return await known.repeat(wire)
    finally:
        await hang_up(wire)


def test_only_what_is_missing_or_weaker_is_said_again(redis_url: str) -> None:
    async def scenario() -> None:
        clock, prefix = ManualClock(), some_prefix()
        known = KnownRevocations(Keys(prefix), load_scripts()["revoke"], clock)
        now = clock.now()
        for number in range(AT_ONCE + 3):
            known.note(TokenRevocation(number.to_bytes(16, "big"), now + LATE))
            known.note(OwnerRevocation(0, number.to_bytes(16, "big"), now))
        assert await repeated(redis_url, known) == 2 * (AT_ONCE + 3)
        assert await repeated(redis_url, known) == 0
        known.note(TokenRevocation(bytes(16), now + 2 * LATE))
        known.note(OwnerRevocation(0, bytes(16), now + 1))
        assert await repeated(redis_url, known) == 2
        known.note(TokenRevocation(bytes(16), now + LATE))  # an earlier instant takes nothing back
        known.note(OwnerRevocation(0, bytes(16), now))
        assert await repeated(redis_url, known) == 0
        clock.advance(3 * LATE)
        say(int(redis_url.rpartition(":")[2].partition("/")[0]), "DEL", f"{prefix}{{00}}t")
        assert await repeated(redis_url, known) == 0  # tokens that have expired need no refusal

    asyncio.run(scenario())


def test_the_oldest_revocations_are_forgotten_when_there_are_too_many(redis_url: str) -> None:
    """Every buffer has a size: what is forgotten here still stands on the server."""

    async def scenario() -> None:
        clock, prefix = ManualClock(), some_prefix()
        known = KnownRevocations(Keys(prefix), load_scripts()["revoke"], clock)
        for number in range(REMEMBERED_MAX + 5):
            known.note(TokenRevocation(number.to_bytes(16, "big"), clock.now() + LATE))
        known.note(TokenRevocation((7).to_bytes(16, "big"), clock.now() + LATE))
        assert await repeated(redis_url, known) == REMEMBERED_MAX

    asyncio.run(scenario())


def test_an_owner_that_is_refused_in_every_bucket_is_one_owner(redis_url: str) -> None:
    """Store.md 25: with PARTITION=org on a cluster that is 256 times the same; 40 owners are not too many."""

    async def scenario() -> None:
        clock, owners = ManualClock(), 40
        known = KnownRevocations(Keys(some_prefix()), load_scripts()["revoke"], clock)
        assert owners * 256 > REMEMBERED_MAX
        for number in range(owners):
            for bucket in range(256):
                known.note(OwnerRevocation(bucket, number.to_bytes(16, "big"), clock.now()))
        assert await repeated(redis_url, known) == owners

    asyncio.run(scenario())


def test_every_session_of_a_lost_revocation_ends_and_is_handed_out_once(redis_url: str) -> None:
    """More of them than one call of the script ends."""

    async def scenario() -> None:
        prefix = some_prefix()
        url = f"{redis_url}?prefix={prefix}"
        clock = ManualClock()
        async with open_store(url, clock=clock, timeout_ms=20_000) as store:
            make = Maker.of(store)
            sessions = [make.session(f"work-{number}") for number in range(1_010)]
            await asyncio.gather(
                *[store.create(make.new(each), operation=make.operation(), now=make.now) for each in sessions]
            )
            known = KnownRevocations(Keys(prefix), load_scripts()["revoke"], clock)
            known.note(OwnerRevocation(make.bucket(), make.owner(), make.now))
            assert await repeated(redis_url, known) == 1
            assert await store.get(sessions[-1].key, now=make.now) is None
            later = clock.advance(30_000)
            ended = [*await store.reap(now=later, limit=1000), *await store.reap(now=later, limit=1000)]
            assert len(ended) == len({each.session.key for each in ended}) == len(sessions)

    asyncio.run(scenario())
