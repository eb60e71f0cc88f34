"""Connections to PostgreSQL when the server, the network or the operator does not do what we hoped."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from sessionware.clock import StoreClock
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.postgres.address import PostgresAddress, read_address
from sessionware.stores.postgres.faults import Refused
from sessionware.stores.postgres.server import OTHER_LINES, Server
from tests.postgres_server import PostgresServer
from tests.selection import is_selected
from tests.stores.redis.faulty_wire import FaultyWire

pytestmark = pytest.mark.skipif(not is_selected("postgres"), reason="not among STORES")

DEADLINE_S = 0.25
SLEEP = "SELECT pg_sleep($1::float8)"


def schema_of_its_own(url: str) -> PostgresAddress:
    return replace(read_address(url), schema=f"test_{secrets.token_hex(8)}")


@asynccontextmanager
async def connected(address: PostgresAddress, **options: Any) -> AsyncIterator[Server]:
    server = Server(address, timeout=DEADLINE_S, calibrated=StoreClock(), **options)
    try:
        await server.start()
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def superuser(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def until_it_answers(server: Server, *, within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while True:
            try:
                await server.call("SELECT 1")
                await server.call("SELECT 1", admitting=True)
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def first_error(server: Server, statement: str, *, within: float = 5.0) -> StoreUnavailable:
    """Repeat a statement until it fails."""
    async with asyncio.timeout(within):
        while True:
            try:
                await server.call(statement)
            except StoreUnavailable as error:
                return error
            await asyncio.sleep(0.01)


def test_a_statement_that_takes_too_long_ends_on_the_server_and_the_connection_lives(postgres_url: str) -> None:
    """ST-01, ST-06: statement_timeout; a refusal proves that nothing was written."""

    async def scenario() -> None:
        async with connected(schema_of_its_own(postgres_url)) as server:
            (before,) = await server.call("SELECT pg_backend_pid()")
            begun = time.monotonic()
            with pytest.raises(Refused, match="statement timeout") as caught:
                await server.call(SLEEP, 5.0)
            assert caught.value.sqlstate == "57014"
            assert time.monotonic() - begun < DEADLINE_S + 0.5
            assert await server.call("SELECT pg_backend_pid()") == [before]

    asyncio.run(scenario())


def test_waiting_for_a_lock_ends_on_the_server(postgres_url: str) -> None:
    """ST-06: lock_timeout."""

    async def scenario() -> None:
        async with connected(schema_of_its_own(postgres_url)) as server, superuser(postgres_url) as other:
            await other.execute("SELECT pg_advisory_lock(4711)")
            with pytest.raises(Refused, match="lock timeout") as caught:
                await server.call("SELECT pg_advisory_xact_lock(4711)", admitting=True)
            assert caught.value.sqlstate == "55P03"

    asyncio.run(scenario())


def test_a_server_that_falls_silent_costs_each_caller_its_deadline_and_no_more(postgres_url: str) -> None:
    """ST-01: a hanging network; what was given up is not sent later."""

    async def scenario() -> None:
        address = schema_of_its_own(postgres_url)
        (host, port) = address.hosts[0]
        async with FaultyWire(port) as wire, connected(replace(address, hosts=((host, wire.port),))) as server:
            await server.call("CREATE TABLE notes (note text)")
            await asyncio.gather(*[server.call(SLEEP, 0.05) for _ in range(OTHER_LINES)])
            wire.hang()
            begun = time.monotonic()
            calls = [server.call("INSERT INTO notes VALUES ($1)", f"note {number}") for number in range(20)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - begun < DEADLINE_S + 0.5
            assert {type(answer) for answer in answers} == {StoreUnavailable}
            assert sum("came free" in str(answer) for answer in answers) == 20 - OTHER_LINES
            wire.resume()
            await until_it_answers(server)
            ((count,),) = await server.call("SELECT count(*) FROM notes")
            assert count <= OTHER_LINES, "a call was sent whose caller had gone"

    asyncio.run(scenario())


def test_slow_calls_do_not_delay_an_admission(postgres_url: str) -> None:
    """C34: a reap may take its time."""

    async def scenario() -> None:
        async with connected(schema_of_its_own(postgres_url)) as server:
            slow = [asyncio.create_task(server.call(SLEEP, DEADLINE_S / 2)) for _ in range(2 * OTHER_LINES)]
            await asyncio.sleep(0)
            await server.call("SELECT 1", admitting=True)
            assert not any(task.done() for task in slow)
            await asyncio.gather(*slow, return_exceptions=True)

    asyncio.run(scenario())


def test_a_cancelled_call_leaves_a_working_connection(postgres_url: str) -> None:
    """C22: cancellation is normal."""

    async def scenario() -> None:
        async with connected(schema_of_its_own(postgres_url)) as server:
            for _ in range(OTHER_LINES + 1):
                task = asyncio.create_task(server.call(SLEEP, 0.05))
                await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await server.call("SELECT 1") == [(1,)]

    asyncio.run(scenario())


def test_a_terminated_backend_is_replaced_at_the_next_call(postgres_url: str) -> None:
    """ST-06: between two batches, and in the middle of one."""

    async def scenario() -> None:
        async with connected(schema_of_its_own(postgres_url)) as server, superuser(postgres_url) as other:
            ((pid,),) = await server.call("SELECT pg_backend_pid()", admitting=True)
            await other.execute(f"SELECT pg_terminate_backend({pid})")
            await until_it_answers(server, within=1.0)
            ((pid,),) = await server.call("SELECT pg_backend_pid()", admitting=True)
            task = asyncio.create_task(server.call(SLEEP, 5.0, admitting=True))
            await asyncio.sleep(0.05)
            await other.execute(f"SELECT pg_terminate_backend({pid})")
            with pytest.raises(StoreUnavailable, match="was lost") as caught:
                await task
            assert type(caught.value) is StoreUnavailable, "whether it was applied is not known"
            await until_it_answers(server, within=1.0)

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["stop_immediately", "kill9"])
def test_service_is_back_soon_after_the_server_was_stopped_under_load(how: str) -> None:
    """C27, ST-06: and in between calls fail at once instead of waiting."""

    async def scenario(postgres: PostgresServer) -> None:
        async with connected(read_address(postgres.url)) as server:
            done = False

            async def load() -> int:
                answered = 0
                while not done:
                    try:
                        await server.call("SELECT 1")
                        answered += 1
                    except StoreUnavailable:
                        await asyncio.sleep(0.01)
                return answered

            tasks = [asyncio.create_task(load()) for _ in range(8)]
            await until_it_answers(server)
            await asyncio.to_thread(getattr(postgres, how))
            with pytest.raises(StoreUnavailable):
                await server.call("SELECT 1", admitting=True)
            begun = time.monotonic()
            for _ in range(100):
                with pytest.raises(StoreUnavailable):
                    await server.call("SELECT 1", admitting=True)
            assert time.monotonic() - begun < 1, "it waits for a server that has been found away"
            await asyncio.to_thread(postgres.start)
            await until_it_answers(server, within=5.0)
            done = True
            await asyncio.gather(*tasks)

    with PostgresServer() as postgres:
        asyncio.run(scenario(postgres))


def test_a_server_that_recovers_longer_is_waited_for_at_the_start() -> None:
    """A35: the database and the workers start together."""

    async def scenario(postgres: PostgresServer) -> None:
        address = replace(read_address("postgresql://postgres@h/postgres"), hosts=(("127.0.0.1", postgres.port),))
        server = Server(address, timeout=DEADLINE_S, calibrated=None)
        starting = asyncio.create_task(server.start())
        await asyncio.sleep(0.3)
        await asyncio.to_thread(postgres.start)
        await starting
        await server.close()

    with PostgresServer() as postgres:
        postgres.stop()
        asyncio.run(scenario(postgres))


def test_nobody_listening_is_said_within_five_seconds() -> None:
    """A35: a clear error, not a hang."""

    async def scenario() -> None:
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/db.* cannot be reached"):
            async with connected(read_address("postgresql://127.0.0.1:1/db")):
                pass
        assert time.monotonic() - begun < 8

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "wrong-secret"}, "password authentication failed .*check the user, the password"),
        ({"password": ""}, "password"),
        ({"user": "nobody_known"}, "check the user, the password"),
        ({"database": "missing"}, r"make it \(createdb missing\) or name another"),
        ({"sslmode": "require"}, "the server speaks no TLS, which sslmode=require asks for"),
    ],
)
def test_who_is_not_welcome_is_told_why_at_once_and_no_secret_is_shown(
    change: dict[str, Any], says: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ST-07, ENC-03, A35."""
    monkeypatch.delenv("PGPASSWORD", raising=False)

    async def scenario(postgres: PostgresServer) -> ConfigError:
        async with superuser(postgres.url) as connection:
            await connection.execute("ALTER USER postgres PASSWORD 'right-secret'")
        postgres.ask_for_passwords()
        address = replace(read_address(postgres.url), password="right-secret")
        async with connected(address) as server:
            assert await server.call("SELECT 1") == [(1,)]
        begun = time.monotonic()
        with pytest.raises(ConfigError, match=says) as caught:
            async with connected(replace(address, **change)):
                pass
        assert time.monotonic() - begun < 3
        return caught.value

    with PostgresServer() as postgres, caplog.at_level(logging.DEBUG):
        error = asyncio.run(scenario(postgres))
    assert "secret" not in f"{error} {error.__cause__} {caplog.text}"


def test_a_server_without_a_free_slot_is_away_and_says_so() -> None:
    """C34: not a mistake in the settings."""

    async def scenario(postgres: PostgresServer) -> None:
        server = Server(read_address(postgres.url), timeout=DEADLINE_S, calibrated=None)
        await server.start()
        async with superuser(postgres.url), superuser(postgres.url):
            with pytest.raises(StoreUnavailable, match=r"no free connection slot .*raise max_connections"):
                await asyncio.gather(*[server.call(SLEEP, 0.1) for _ in range(OTHER_LINES)])
            assert await server.call("SELECT 1", admitting=True) == [(1,)]
        await until_it_answers(server)
        await server.close()

    with PostgresServer("max_connections=4", "superuser_reserved_connections=0", "max_wal_senders=0") as postgres:
        asyncio.run(scenario(postgres))


def test_a_standby_is_refused_at_the_start() -> None:
    """Store.md 27: with one host there is nothing to wait for."""

    async def scenario(postgres: PostgresServer) -> None:
        with pytest.raises(ConfigError, match=r"the server is a standby: name the primary, or all servers"):
            async with connected(read_address(postgres.url)):
                pass

    with PostgresServer(standby=True) as postgres:
        asyncio.run(scenario(postgres))


def test_of_several_hosts_the_one_that_takes_writes_is_found_and_followed() -> None:
    """C27: failover without a restart."""

    async def scenario(first: PostgresServer, second: PostgresServer) -> None:
        hosts = (("127.0.0.1", second.port), ("127.0.0.1", first.port))
        async with connected(replace(read_address(first.url), hosts=hosts)) as server:
            port = "SELECT current_setting('port')::int"
            assert await server.call(port) == [(first.port,)]
            await asyncio.to_thread(first.stop_immediately)
            with pytest.raises(StoreUnavailable):
                await server.call(port)
            with pytest.raises(StoreUnavailable):
                await server.call(port)
            await asyncio.to_thread(second.promote)
            await until_it_answers(server)
            assert await server.call(port) == [(second.port,)]

    with PostgresServer() as first, PostgresServer(standby=True) as second:
        asyncio.run(scenario(first, second))


def test_a_server_that_becomes_read_only_is_left_until_it_takes_writes_again() -> None:
    """After a failover the name may point to a standby; a full disk makes some services read only."""

    async def scenario(postgres: PostgresServer) -> None:
        async with connected(read_address(postgres.url)) as server, superuser(postgres.url) as other:
            await server.call("CREATE TABLE notes (note text)")
            await other.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            await other.execute("SELECT pg_reload_conf()")
            assert "read-only" in str(await first_error(server, "INSERT INTO notes VALUES ('x')"))
            with pytest.raises(StoreUnavailable, match="is set to read only"):
                await server.call("INSERT INTO notes VALUES ('x')")
            await other.execute("SET default_transaction_read_only = off")
            await other.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await other.execute("SELECT pg_reload_conf()")
            await until_it_answers(server)
            await server.call("INSERT INTO notes VALUES ('x')")

    with PostgresServer() as postgres:
        asyncio.run(scenario(postgres))


def test_a_database_of_another_encoding_is_refused() -> None:
    async def scenario(postgres: PostgresServer) -> None:
        async with superuser(postgres.url) as connection:
            await connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
        with pytest.raises(ConfigError, match="encoding LATIN1, UTF8 is needed: createdb --encoding=UTF8"):
            async with connected(replace(read_address(postgres.url), database="latin")):
                pass

    with PostgresServer() as postgres:
        asyncio.run(scenario(postgres))


def test_the_clock_is_the_servers(postgres_url: str) -> None:
    """Store.md 7."""

    async def scenario() -> None:
        clock = StoreClock(wall=lambda: 0)
        server = Server(schema_of_its_own(postgres_url), timeout=DEADLINE_S, calibrated=clock)
        await server.start()
        ((now,),) = await server.call("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        await server.close()
        assert abs(clock.now() - now) < 1000

    asyncio.run(scenario())


def test_a_frozen_server_is_given_up_and_closing_does_not_wait_for_it() -> None:
    """ST-01: as if the machine had vanished."""

    async def scenario(postgres: PostgresServer) -> None:
        server = Server(read_address(postgres.url), timeout=DEADLINE_S, calibrated=StoreClock())
        await server.start()
        postgres.freeze()
        try:
            with pytest.raises(StoreUnavailable, match="did not answer within 250 ms"):
                await server.call("SELECT 1", admitting=True)
            begun = time.monotonic()
            await server.close()
            assert time.monotonic() - begun < 2
        finally:
            postgres.thaw()

    with PostgresServer() as postgres:
        asyncio.run(scenario(postgres))
