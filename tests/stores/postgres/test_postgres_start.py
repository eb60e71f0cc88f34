"""The first connection to PostgreSQL: who is found, who is refused, and what is said."""

import asyncio
import logging
import re
import time
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.postgres.address import read_address
from sessionware.stores.postgres.server import OTHER_LINES, Server
from tests.postgres_server import PostgresServer
from tests.selection import is_selected
from tests.stores.faulty_wire import FaultyWire
from tests.stores.postgres.connected import (
    PATIENT_S,
    SLEEP,
    connected,
    schema_of_its_own,
    superuser,
    until_it_answers,
)

pytestmark = pytest.mark.skipif(not is_selected("postgres"), reason="not among STORES")


def test_a_server_that_recovers_longer_is_waited_for_at_the_start() -> None:
    """A35: the database and the workers start together."""

    async def scenario(postgres: PostgresServer) -> None:
        address = replace(read_address("postgresql://postgres@h/postgres"), hosts=(("127.0.0.1", postgres.port),))
        server = Server(address, timeout=PATIENT_S, calibrated=None)
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
    """C23: not a mistake in the settings."""

    async def scenario(postgres: PostgresServer) -> None:
        server = Server(read_address(postgres.url), timeout=PATIENT_S, calibrated=None)
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


def test_a_database_of_another_encoding_is_refused() -> None:
    async def scenario(postgres: PostgresServer) -> None:
        async with superuser(postgres.url) as connection:
            await connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
        with pytest.raises(ConfigError, match="encoding LATIN1, UTF8 is needed: createdb --encoding=UTF8"):
            async with connected(replace(read_address(postgres.url), database="latin")):
                pass

    with PostgresServer() as postgres:
        asyncio.run(scenario(postgres))


def with_keys_of_its_own(reply: bytes) -> bytes:
    """What a pooler does: it hands out its own number for cancelling, not the backend's (BackendKeyData)."""
    return re.sub(rb"K\x00\x00\x00\x0c.{8}", b"K\x00\x00\x00\x0c" + b"\x01" * 8, reply, count=1, flags=re.DOTALL)


def test_a_pooler_is_noticed_and_warned_about(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """In transaction mode it would lose events, deadlines and prepared statements."""

    async def scenario() -> None:
        address = schema_of_its_own(postgres_url)
        (host, port) = address.hosts[0]
        async with connected(address):
            assert "pooler" not in caplog.text
        async with FaultyWire(port) as wire:
            wire.rewrite = with_keys_of_its_own
            async with connected(replace(address, hosts=((host, wire.port),))):
                assert "a pooler stands before PostgreSQL" in caplog.text

    with caplog.at_level(logging.WARNING, "sessionware.store"):
        asyncio.run(scenario())


def test_a_server_that_does_not_wait_for_its_disk_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    """C23: what was answered could be forgotten."""

    async def scenario(postgres: PostgresServer) -> None:
        async with connected(read_address(postgres.url)) as server:
            await server.call("SELECT 1")

    with PostgresServer("synchronous_commit=off") as postgres, caplog.at_level(logging.WARNING, "sessionware.store"):
        asyncio.run(scenario(postgres))
    assert caplog.text.count("synchronous_commit is off") == 1


def test_a_host_that_refuses_us_does_not_hide_one_that_serves() -> None:
    """After a failover the old primary may lack a right, a database or a certificate."""

    async def scenario(first: PostgresServer, second: PostgresServer) -> None:
        first.ask_for_passwords()
        hosts = (("127.0.0.1", first.port), ("127.0.0.1", second.port))
        async with connected(replace(read_address(second.url), hosts=hosts, password="unknown-there")) as server:
            assert await server.call("SELECT current_setting('port')::int") == [(second.port,)]
        with pytest.raises(ConfigError, match="check the user, the password"):
            async with connected(replace(read_address(first.url), hosts=hosts[:1] * 2, password="unknown-there")):
                pass

    with PostgresServer() as first, PostgresServer() as second:
        asyncio.run(scenario(first, second))


@pytest.mark.parametrize("password", ["caf\u00e9 \u2126", "sp ace/?#@:%", "\u0627\u0644"])
def test_a_password_of_strange_characters_works(password: str) -> None:
    async def scenario(postgres: PostgresServer) -> None:
        async with superuser(postgres.url) as connection:
            await connection.execute(f"ALTER USER postgres PASSWORD '{password}'")
        postgres.ask_for_passwords()
        url = postgres.url.replace("postgres@", f"postgres:{quote(password, safe='')}@")
        async with connected(read_address(url)) as server:
            assert await server.call("SELECT 1") == [(1,)]

    with PostgresServer() as postgres:
        asyncio.run(scenario(postgres))


def test_a_password_that_cannot_be_sent_is_not_shown() -> None:
    """ST-07."""

    async def scenario(postgres: PostgresServer) -> ConfigError:
        async with superuser(postgres.url) as connection:
            await connection.execute("ALTER USER postgres PASSWORD 'right'")
        postgres.ask_for_passwords()
        with pytest.raises(ConfigError) as caught:
            async with connected(replace(read_address(postgres.url), password="hunter2\udc80")):
                pass
        return caught.value

    with PostgresServer() as postgres:
        error = asyncio.run(scenario(postgres))
    assert "hunter2" not in f"{error} {error.__cause__}"
