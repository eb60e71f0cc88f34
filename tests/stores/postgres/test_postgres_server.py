"""Connections to PostgreSQL that stand, when the server or the network does not."""

import asyncio
import time

import pytest
from msgspec.structs import replace

from sessionware.clock import StoreClock
from sessionware.errors import StoreUnavailable
from sessionware.stores.postgres.address import read_address
from sessionware.stores.postgres.faults import Refused
from sessionware.stores.postgres.server import OTHER_LINES, Server
from tests.postgres_server import PostgresServer
from tests.selection import is_selected
from tests.stores.faulty_wire import FaultyWire
from tests.stores.postgres.connected import (
    DEADLINE_S,
    PATIENT_S,
    SLEEP,
    connected,
    first_error,
    schema_of_its_own,
    superuser,
    until_it_answers,
)

pytestmark = pytest.mark.skipif(not is_selected("postgres"), reason="not among STORES")


def test_a_statement_that_takes_too_long_ends_on_the_server_and_the_connection_lives(postgres_url: str) -> None:
    """ST-01, ST-06: statement_timeout; a refusal proves that nothing was written."""

    async def scenario() -> None:
        async with connected(schema_of_its_own(postgres_url), deadline=DEADLINE_S) as server:
            (before,) = await server.call("SELECT pg_backend_pid()")
            begun = time.monotonic()
            with pytest.raises(Refused, match="statement timeout") as caught:
                await server.call(SLEEP, 5.0)
            assert caught.value.sqlstate == "57014"
            assert time.monotonic() - begun < DEADLINE_S + 1
            assert await server.call("SELECT pg_backend_pid()") == [before]

    asyncio.run(scenario())


def test_waiting_for_a_lock_ends_on_the_server(postgres_url: str) -> None:
    """ST-06: lock_timeout."""

    async def scenario() -> None:
        address = schema_of_its_own(postgres_url)
        async with connected(address, deadline=DEADLINE_S) as server, superuser(postgres_url) as other:
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
        async with FaultyWire(port) as wire:
            behind = replace(address, hosts=((host, wire.port),))
            async with connected(address) as server:
                await server.call("CREATE TABLE notes (note text)")
            async with connected(behind, deadline=DEADLINE_S) as server:
                await fall_silent(wire, server)
            async with connected(address) as server:
                ((count,),) = await server.call("SELECT count(*) FROM notes")
            assert count <= OTHER_LINES, "a call was sent whose caller had gone"

    async def fall_silent(wire: FaultyWire, server: Server) -> None:
        await asyncio.gather(*[server.call(SLEEP, 0.05) for _ in range(OTHER_LINES)])
        wire.hang()
        begun = time.monotonic()
        calls = [server.call("INSERT INTO notes VALUES ($1)", f"note {number}") for number in range(20)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - begun < DEADLINE_S + 1
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert sum("came free" in str(answer) for answer in answers) == 20 - OTHER_LINES
        wire.resume()
        await until_it_answers(server)

    asyncio.run(scenario())


def test_slow_calls_do_not_delay_an_admission(postgres_url: str) -> None:
    """ST-01: a reap may take its time."""

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


def test_the_clock_is_the_servers(postgres_url: str) -> None:
    """Store.md 7."""

    async def scenario() -> None:
        clock = StoreClock(wall=lambda: 0)
        server = Server(schema_of_its_own(postgres_url), timeout=PATIENT_S, calibrated=clock)
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
            with pytest.raises(StoreUnavailable, match="did not answer within 500 ms"):
                await server.call("SELECT 1", admitting=True)
            begun = time.monotonic()
            await server.close()
            assert time.monotonic() - begun < 2
        finally:
            postgres.thaw()

    with PostgresServer() as postgres:
        asyncio.run(scenario(postgres))
