"""The schema: who makes it, who may not, and what is said about one that is not ours."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from sessionware.core.ids import Addresses
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.postgres.address import PostgresAddress, read_address
from sessionware.stores.postgres.connecting import connect
from sessionware.stores.postgres.schema import VERSION, ddl, update
from sessionware.stores.postgres.server import Server, apply_schema
from tests.postgres_server import PostgresServer
from tests.selection import is_selected

pytestmark = pytest.mark.skipif(not is_selected("postgres"), reason="not among STORES")

DEADLINE_S = 10.0  # for the machine may be busy
Scenario = Callable[[PostgresAddress, Any], Coroutine[Any, Any, None]]


def on_a_new_server(scenario: Scenario) -> None:
    """Run it with an address, and a connection of the superuser, whose search path is that of the store."""

    async def run(postgres: PostgresServer) -> None:
        connection = await asyncpg.connect(postgres.url, server_settings={"search_path": "sessionware"})
        try:
            await scenario(read_address(postgres.url), connection)
        finally:
            await connection.close()

    with PostgresServer() as postgres:
        asyncio.run(run(postgres))


async def start(address: PostgresAddress, *, salt: bytes | None = None) -> Addresses:
    """Start a worker, and end it; the addresses that it would have used."""
    server = Server(address, timeout=DEADLINE_S, calibrated=None, salt=salt)
    try:
        await server.start()
        assert server.addresses is not None
        return server.addresses
    finally:
        await server.close()


async def contents(connection: Any, schema: str) -> list[tuple[str, ...]]:
    """What lies in a schema, by kind, name and definition."""
    rows = await connection.fetch(
        "SELECT 'function', p.oid::regprocedure::text, p.prosrc FROM pg_proc AS p "
        "WHERE pronamespace = $1::regnamespace UNION ALL "
        "SELECT relkind::text, relname::text, '' FROM pg_class WHERE relnamespace = $1::regnamespace ORDER BY 1, 2",
        schema,
    )
    return [tuple([part.replace(f"{schema}.", "") for part in row]) for row in rows]


def test_four_workers_that_start_on_an_empty_database_agree() -> None:
    """Store.md 1: one makes the schema, one salt stands."""

    async def scenario(address: PostgresAddress, connection: Any) -> None:
        found = await asyncio.gather(*[start(address) for _ in range(4)])
        assert len({addresses.salt for addresses in found}) == 1
        assert await connection.fetchval("SELECT version FROM schema_version") == VERSION
        assert await start(address) == found[0]

    on_a_new_server(scenario)


def test_an_installation_is_founded_with_the_salt_of_a_backup_and_no_other_replaces_it() -> None:
    """Store.md 1."""

    async def scenario(address: PostgresAddress, _: Any) -> None:
        assert (await start(address, salt=b"s" * 32)).salt == b"s" * 32
        assert (await start(address, salt=b"t" * 32)).salt == b"s" * 32

    on_a_new_server(scenario)


def test_two_installations_live_in_one_database() -> None:
    async def scenario(address: PostgresAddress, _: Any) -> None:
        assert await start(address) != await start(replace(address, schema="another"))

    on_a_new_server(scenario)


def test_a_role_without_rights_is_told_the_command_and_may_use_what_the_command_made() -> None:
    """A35; the printed GRANTs are all that it needs."""

    async def scenario(address: PostgresAddress, connection: Any) -> None:
        await connection.execute("CREATE ROLE workers LOGIN; REVOKE CREATE ON DATABASE postgres FROM PUBLIC")
        worker = replace(address, user="workers")
        with pytest.raises(
            ConfigError, match=r"may not make or change the schema .*sessionware schema postgres --apply"
        ):
            await start(worker)
        assert await apply_schema(address, call_ms=1000) is None
        assert await apply_schema(address, call_ms=1000) == VERSION
        with pytest.raises(
            ConfigError, match="may not use the schema: grant it what `sessionware schema postgres` prints"
        ):
            await start(worker)
        await connection.execute("GRANT USAGE ON SCHEMA sessionware TO workers")
        with pytest.raises(ConfigError, match=r"may not use the schema \(permission denied .* prints at its end"):
            await start(worker)
        for grant in re.findall(r"^--   (GRANT .*;)$", ddl("sessionware"), re.MULTILINE):
            await connection.execute(grant)
        await start(worker)
        await start(replace(worker, create=False))

    on_a_new_server(scenario)


def test_a_role_that_may_use_a_schema_but_make_nothing_in_it_makes_nothing_elsewhere() -> None:
    """A table that may not be made there would else become a temporary one, and each connection an installation."""

    async def scenario(address: PostgresAddress, connection: Any) -> None:
        await connection.execute("CREATE ROLE workers LOGIN; CREATE SCHEMA sessionware")
        await connection.execute("GRANT USAGE ON SCHEMA sessionware TO workers")
        with pytest.raises(ConfigError, match="may not make or change the schema"):
            await start(replace(address, user="workers"))
        assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relname = 'schema_version'") == 0

    on_a_new_server(scenario)


def test_a_store_that_may_not_create_names_the_command() -> None:
    async def scenario(address: PostgresAddress, connection: Any) -> None:
        with pytest.raises(ConfigError, match="create=no, and its schema is missing or old: run `sessionware schema"):
            await start(replace(address, create=False))
        assert await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = 'sessionware'") == 0

    on_a_new_server(scenario)


def test_the_printed_sql_makes_what_a_start_makes() -> None:
    async def scenario(address: PostgresAddress, connection: Any) -> None:
        await connection.execute(ddl("by_hand"))
        await start(replace(address, create=False, schema="by_hand"))
        await start(address)
        made = await contents(connection, "sessionware")
        assert made
        assert await contents(connection, "by_hand") == made

    on_a_new_server(scenario)


def test_a_schema_from_the_future_is_refused() -> None:
    async def scenario(address: PostgresAddress, connection: Any) -> None:
        await start(address)
        await connection.execute("UPDATE schema_version SET version = version + 1")
        with pytest.raises(ConfigError, match=f"schema version {VERSION + 1}, this program knows up to {VERSION}"):
            await start(address)

    on_a_new_server(scenario)


STEP = "ALTER TABLE orgs ADD COLUMN note text NOT NULL DEFAULT 'kept'; CREATE TABLE two (two int)"


@asynccontextmanager
async def joined(address: PostgresAddress) -> AsyncIterator[Any]:
    connection, _ = await connect(address, call_ms=DEADLINE_S * 1000)
    try:
        yield connection
    finally:
        await connection.close()


def test_an_older_schema_is_brought_up_to_date_once_by_several_workers() -> None:
    """Store.md 27: the salt and what was stored stay."""

    async def scenario(address: PostgresAddress, connection: Any) -> None:
        addresses = await start(address)
        await connection.execute("INSERT INTO orgs VALUES ($1, '{}', '{}')", b"o" * 16)
        steps = {VERSION: STEP, VERSION + 1: "CREATE TABLE three (three int)"}

        async def worker() -> int | None:
            async with joined(address) as own:
                return await update(own, address, steps=steps, to=VERSION + 2)

        assert VERSION in await asyncio.gather(*[worker() for _ in range(4)])
        assert await connection.fetchval("SELECT version FROM schema_version") == VERSION + 2
        assert await connection.fetchval("SELECT note FROM orgs") == "kept"
        assert await connection.fetchval("SELECT salt FROM installation") == addresses.salt

    on_a_new_server(scenario)


def test_a_migration_that_fails_half_way_leaves_the_old_schema_in_service() -> None:
    async def scenario(address: PostgresAddress, connection: Any) -> None:
        await start(address)
        before = await contents(connection, "sessionware")
        async with joined(address) as own:
            with pytest.raises(asyncpg.PostgresError, match="nonsense"):
                await update(own, address, steps={VERSION: STEP, VERSION + 1: "nonsense"}, to=VERSION + 2)
        assert await contents(connection, "sessionware") == before
        await start(address)

    on_a_new_server(scenario)


def test_an_old_schema_is_named_where_it_may_not_be_changed() -> None:
    async def scenario(address: PostgresAddress, _: Any) -> None:
        await start(address)
        async with joined(address) as own:
            with pytest.raises(ConfigError, match="create=no, and its schema is missing or old"):
                await update(own, replace(address, create=False), steps={VERSION: STEP}, to=VERSION + 1)

    on_a_new_server(scenario)


def test_a_schema_without_its_version_is_refused() -> None:
    async def scenario(address: PostgresAddress, connection: Any) -> None:
        await start(address)
        await connection.execute("DELETE FROM schema_version")
        with pytest.raises(ConfigError, match="the table schema_version is empty: restore it from a backup"):
            await start(address)

    on_a_new_server(scenario)


def test_a_schema_of_another_program_is_left_alone() -> None:
    async def scenario(address: PostgresAddress, connection: Any) -> None:
        await connection.execute("CREATE SCHEMA sessionware; CREATE TABLE sessionware.sessions (mine text)")
        with pytest.raises(ConfigError, match="the schema belongs to another program: write schema= with a new name"):
            await start(address)
        assert len(await contents(connection, "sessionware")) == 1

    on_a_new_server(scenario)


def test_an_empty_schema_that_was_made_for_us_is_filled() -> None:
    """A role may own a schema without being allowed to create one."""

    async def scenario(address: PostgresAddress, connection: Any) -> None:
        await connection.execute("CREATE ROLE workers LOGIN; REVOKE CREATE ON DATABASE postgres FROM PUBLIC")
        await connection.execute("CREATE SCHEMA sessionware AUTHORIZATION workers")
        await start(replace(address, user="workers"))

    on_a_new_server(scenario)


async def until_away(server: Server) -> StoreUnavailable:
    """Call until connecting anew fails; what was said."""
    async with asyncio.timeout(5):
        while True:
            try:
                await server.call("SELECT version FROM schema_version")
            except StoreUnavailable as error:
                if "installation" in str(error):
                    return error
            await asyncio.sleep(0.02)


def test_a_running_worker_founds_a_lost_installation_again_with_its_own_salt() -> None:
    """Store.md 1: a database that came back empty is still the same installation."""

    async def scenario(address: PostgresAddress, connection: Any) -> None:
        server = Server(address, timeout=DEADLINE_S, calibrated=None)
        await server.start()
        await connection.execute("DROP SCHEMA sessionware CASCADE")
        with pytest.raises(StoreUnavailable, match="does not exist"):
            await server.call("SELECT version FROM schema_version", admitting=True)
        assert await server.call("SELECT version FROM schema_version", admitting=True) == [(VERSION,)]
        assert await connection.fetchval("SELECT salt FROM installation") == server.addresses.salt  # type: ignore[union-attr]
        await server.close()

    on_a_new_server(scenario)


def test_a_running_worker_refuses_another_installation() -> None:
    """Store.md 1: 503 rather than sessions under wrong addresses."""

    async def scenario(address: PostgresAddress, connection: Any) -> None:
        server = Server(address, timeout=DEADLINE_S, calibrated=None)
        await server.start()
        await connection.execute("DROP SCHEMA sessionware CASCADE")
        await start(address, salt=b"x" * 32)
        assert "now holds another installation" in str(await until_away(server))
        await server.close()

    on_a_new_server(scenario)
