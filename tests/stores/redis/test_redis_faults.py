"""What the Redis store does when the server or the network does not."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sessionware.clock import StoreClock
from sessionware.core.admission import Outcome
from sessionware.core.facts import Gap, SessionGone, Settled
from sessionware.core.ledger import Scope
from sessionware.core.session import EndReason
from sessionware.core.store import Store
from sessionware.errors import ConfigError, SessionwareError, StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.testing.build import LEVEL, Maker
from tests.selection import is_selected
from tests.servers import RedisServer
from tests.stores.deeds import cancel_some_of_many, some_prefix, take, until_it_answers, used
from tests.stores.faulty_wire import FaultyWire

pytestmark = pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")

DEADLINE_MS = 100


@asynccontextmanager
async def behind_a_faulty_wire(port: int) -> AsyncIterator[tuple[FaultyWire, Store, Maker]]:
    async with (
        FaultyWire(port) as wire,
        open_store(wire.url(some_prefix()), timeout_ms=DEADLINE_MS) as store,
    ):
        yield wire, store, Maker.of(store)


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1].partition("/")[0])


def test_a_lost_reply_is_counted_once_and_never_sent_again(redis_url: str) -> None:
    """ST-08: redis-py 8 would have counted two."""

    async def scenario() -> None:
        async with behind_a_faulty_wire(port_of(redis_url)) as (wire, store, make):
            await take(store, make)
            wire.lose_next_reply = True
            with pytest.raises(StoreUnavailable):
                await take(store, make)
            assert wire.lost.is_set()
            await until_it_answers(store)
            assert await used(store, make) == 2

    asyncio.run(scenario())


def test_a_settlement_whose_reply_was_lost_may_be_repeated(redis_url: str) -> None:
    """ST-08: the operation id makes our own retry safe."""

    async def scenario() -> None:
        async with behind_a_faulty_wire(port_of(redis_url)) as (wire, store, make):
            spend = make.spend(limit="quota", scope=Scope.GLOBAL, span=LEVEL, cost=5, allowance=1000)
            fact = Settled(0, make.owner(), b"settlement-0001.", None, (spend,))
            earlier = Settled(0, make.owner(), b"settlement-0000.", None, (spend,))
            assert await store.record([earlier], now=make.now) == [True]
            wire.lose_next_reply = True
            with pytest.raises(StoreUnavailable):
                await store.record([fact], now=make.now)
            await until_it_answers(store)
            assert await store.record([fact], now=make.now) == [False]
            assert await used(store, make) == 10

    asyncio.run(scenario())


def test_a_server_that_hangs_costs_one_deadline(redis_url: str) -> None:
    """ST-01."""

    async def scenario() -> None:
        async with behind_a_faulty_wire(port_of(redis_url)) as (wire, store, make):
            await take(store, make)
            wire.hang()
            begun = time.monotonic()
            answers = await asyncio.gather(*[take(store, make) for _ in range(20)], return_exceptions=True)
            took = time.monotonic() - begun
            assert {type(answer) for answer in answers} == {StoreUnavailable}
            assert DEADLINE_MS / 1000 <= took + 0.001 < DEADLINE_MS / 1000 + 1
            wire.resume()
            await until_it_answers(store)
            assert await used(store, make) in range(1, 22)

    asyncio.run(scenario())


def test_a_connection_that_stays_silent_is_given_up_and_made_anew(redis_url: str) -> None:
    async def scenario() -> None:
        async with behind_a_faulty_wire(port_of(redis_url)) as (wire, store, make):
            await take(store, make)
            wire.hang()

            async def asked_in_vain() -> str:
                try:
                    await take(store, make)
                except StoreUnavailable as error:
                    return str(error)
                raise AssertionError("a hanging server answered")

            async with asyncio.timeout(10):
                while "did not answer within" in await asked_in_vain():
                    await asyncio.sleep(0.01)
            wire.cut()
            wire.resume()
            await until_it_answers(store)

    asyncio.run(scenario())


def test_a_server_killed_and_restarted_is_found_again_without_a_restart_of_ours() -> None:
    """A38 and C23: what was persisted is there, calls in between fail at once and clearly."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(f"{server.url}?prefix=sw:", timeout_ms=DEADLINE_MS) as store:
            make = Maker.of(store)
            work = make.session("work")
            await store.create(make.new(work), operation=make.operation(), now=make.now)
            await take(store, make)
            server.kill9()
            begun = time.monotonic()
            for _ in range(10):
                with pytest.raises(StoreUnavailable, match="Redis"):
                    await take(store, make)
            assert time.monotonic() - begun < 10 * DEADLINE_MS / 1000 + 1
            server.start()
            await until_it_answers(store)
            assert await store.get(work.key, now=make.now) is not None
            assert await used(store, make) == 1
            assert (await take(store, make)).outcome is Outcome.ADMITTED

    with RedisServer(persistent=True) as server:
        asyncio.run(scenario(server))


def test_a_server_that_comes_back_empty_stays_the_same_installation() -> None:
    """Addresses hang on the salt: the first worker to come back offers the one it knows."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url, timeout_ms=DEADLINE_MS) as store:
            salt = store.addresses.salt
            server.kill9()
            server.start()
            await until_it_answers(store)
            assert store.addresses.salt == salt
            async with open_store(server.url) as other:
                assert other.addresses == store.addresses

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_worker_that_meets_another_salt_refuses_to_serve() -> None:
    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url, timeout_ms=DEADLINE_MS) as store:
            make = Maker.of(store)
            await take(store, make)
            server.kill9()
            server.start()
            async with open_store(server.url):  # another installation was first
                pass

            async def why() -> str:
                try:
                    await take(store, make)
                except StoreUnavailable as error:
                    return str(error)
                return ""

            async with asyncio.timeout(5):
                while "salt" not in await why():
                    await asyncio.sleep(0.02)
            with pytest.raises(StoreUnavailable):
                await take(store, make)

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_flushed_script_is_loaded_again_and_the_call_counts_once() -> None:
    """ST-02: NOSCRIPT proves that nothing ran."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url) as store:
            make = Maker.of(store)
            await take(store, make)
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"SCRIPT FLUSH\r\n")
            await writer.drain()
            assert (await take(store, make)).outcome is Outcome.ADMITTED
            assert await used(store, make) == 2
            writer.close()
            await writer.wait_closed()

    with RedisServer() as server:
        asyncio.run(scenario(server))


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (b"REPLICAOF 127.0.0.1 1\r\n", "READONLY"),
        (b"CONFIG SET maxmemory 1\r\n", "OOM"),
        (b"CONFIG SET min-replicas-to-write 3\r\n", "NOREPLICAS"),
    ],
)
def test_a_server_that_cannot_write_is_unavailable_and_says_why(command: bytes, word: str) -> None:
    """ST-02, C35: never "allowed"."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url) as store:
            make = Maker.of(store)
            await take(store, make)
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(command)
            assert await reader.readline() == b"+OK\r\n"
            with pytest.raises(StoreUnavailable, match=word):
                await take(store, make)
            writer.close()
            await writer.wait_closed()

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_a_cancelled_caller_shifts_nobody_elses_answer(redis_url: str) -> None:
    """Cancel at every await: the k-th of 60 concurrent calls, after each number of turns of the loop."""

    async def scenario() -> None:
        async with open_store(f"{redis_url}?prefix={some_prefix()}") as store:
            await cancel_some_of_many(store)
            await until_it_answers(store)

    asyncio.run(scenario())


def test_a_subscription_that_was_cut_says_that_something_may_be_missing(redis_url: str) -> None:
    """SES-09: ends are heard by the other worker within a second; after a cut there is a Gap first."""

    async def scenario() -> None:
        prefix = some_prefix()
        async with (
            FaultyWire(port_of(redis_url)) as wire,
            open_store(wire.url(prefix)) as watcher,
            open_store(f"{redis_url}?prefix={prefix}") as worker,
        ):
            make = Maker.of(worker)
            watch = watcher.watch()
            assert await anext(watch) == Gap()
            for name in ("one", "two"):
                session = make.session(name)
                await worker.create(make.new(session), operation=make.operation(), now=make.now)
                async with asyncio.timeout(5):
                    begun = time.monotonic()
                    await worker.delete(session.key, now=make.now)
                    assert await anext(watch) == SessionGone(session.key, EndReason.ENDED)
                    assert time.monotonic() - begun < 1
                wire.cut()
                async with asyncio.timeout(5):
                    assert await anext(watch) == Gap()

    asyncio.run(scenario())


def test_a_worker_with_a_wrong_clock_is_corrected_and_counted_once(redis_url: str) -> None:
    """Store.md 7: an hour off, the script answers with its own time and nothing was written."""

    async def scenario() -> None:
        async with open_store(f"{redis_url}?prefix={some_prefix()}") as store:
            make = Maker.of(store)
            clock = store.clock
            assert isinstance(clock, StoreClock)
            right = clock.now()
            clock.calibrate([(0, 0, 0)])
            assert abs(clock.now() - right) > 3_600_000
            answer = await take(store, make)
            assert answer.outcome is Outcome.ADMITTED
            assert abs(answer.now - right) < 60_000
            assert abs(clock.now() - right) < 60_000
            assert await used(store, make) == 1
            assert clock.is_settling()
            assert await store.reap(now=clock.now(), limit=10) == []

    asyncio.run(scenario())


def test_a_server_that_evicts_is_warned_about_loudly(caplog: pytest.LogCaptureFixture) -> None:
    """ST-03."""

    async def scenario(server: RedisServer) -> None:
        async with open_store(server.url):
            pass

    options = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with RedisServer(*options) as server, caplog.at_level(logging.WARNING, "sessionware.store"):
        asyncio.run(scenario(server))
    assert "maxmemory-policy is 'allkeys-lru'" in caplog.text
    assert "noeviction" in caplog.text


@pytest.mark.parametrize("given", ["", ":wrong-secret@", "alice:wrong-secret@"])
def test_a_wrong_password_is_refused_at_once_and_never_shown(given: str) -> None:
    """ST-07, ENC-03."""

    async def scenario(server: RedisServer) -> SessionwareError:
        url = server.url.replace("redis://", f"redis://{given}")
        begun = time.monotonic()
        with pytest.raises(ConfigError, match="password") as caught:
            async with open_store(url):
                pass
        assert time.monotonic() - begun < 3
        return caught.value

    with RedisServer() as server:
        asyncio.run(set_password(server))
        error = asyncio.run(scenario(server))
    assert "wrong-secret" not in str(error)
    assert "right-secret" not in str(error)


async def set_password(server: RedisServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"CONFIG SET requirepass right-secret\r\n")
    assert await reader.readline() == b"+OK\r\n"
    writer.close()
    await writer.wait_closed()


def test_a_password_of_strange_characters_works() -> None:
    async def scenario(server: RedisServer) -> None:
        await set_password(server)
        async with open_store(server.url.replace("redis://", "redis://:right%2Dsecret@")) as store:
            await until_it_answers(store)

    with RedisServer() as server:
        asyncio.run(scenario(server))


def test_nobody_listening_is_said_within_five_seconds() -> None:
    """A35: a clear error, not a hang."""

    async def scenario() -> None:
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/0"):
            async with open_store("redis://127.0.0.1:1/0"):
                pass
        assert time.monotonic() - begun < 8

    asyncio.run(scenario())
