"""The only place that makes the schema, brings an older one up to date, and founds the installation in it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from sessionware.core.ids import SALT_BYTES, Addresses
from sessionware.errors import ConfigError
from sessionware.stores.postgres.address import PostgresAddress
from sessionware.stores.postgres.scripts import functions_text, schema_text

VERSION: Final = 1
STEPS: Final[Mapping[int, str]] = {}  # from version -> what leads to the next one: {1: script("from-1.sql")}
BUCKETS: Final = 1  # one server keeps everything in one bucket
MAKE_S: Final = 30.0  # making or changing a schema, and waiting for another worker that does
COMMAND: Final = "sessionware schema postgres --apply"
_LOCK: Final = 0x53_57_41_52_45  # "SWARE": whoever makes or changes a schema holds it
_LOOK: Final = """
SELECT bool_and(has_schema_privilege(n.oid, 'USAGE')) AS usable, count(c.oid) AS relations,
       coalesce(bool_or(c.relname = 'schema_version'), false) AS ours
FROM pg_namespace AS n LEFT JOIN pg_class AS c ON c.relnamespace = n.oid WHERE n.nspname = $1
"""
_GRANT: Final = "grant it what `sessionware schema postgres` prints at its end"


async def join(connection: Any, address: PostgresAddress, *, salt: bytes | None) -> Addresses:
    """The addresses of the installation that lives in the schema; both are made if they are missing and if we may.

    `salt` is given to an installation that has none yet. Raises ConfigError when there is no schema that we can use,
    and what the driver raises.
    """
    try:
        await update(connection, address)
        async with asyncio.timeout(MAKE_S):
            return await _found(connection, address, salt)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(f"store {address!r}: this role may not use the schema ({error}): {_GRANT}") from error


async def update(
    connection: Any, address: PostgresAddress, *, steps: Mapping[int, str] = STEPS, to: int = VERSION
) -> int | None:
    """Make the schema, or bring it to version `to`; the version that stood there before, None for none.

    `steps` maps a version to the SQL that leaves it. All in one transaction: what fails leaves the old version.
    Raises ConfigError when that is needed and not allowed, or when the schema is not ours.
    """
    async with asyncio.timeout(MAKE_S):
        version = await _version(connection, address, known=to)
        if version == to:
            return version
        if not address.create:
            raise ConfigError(f"store {address!r}: create=no, and its schema is missing or old: run `{COMMAND}`")
        return await _make(connection, address, steps, to)


def ddl(schema: str) -> str:
    """Everything that makes the schema in a database that has none, to be run by hand by somebody who may."""
    return f"""\
-- The tables and functions of sessionware, version {VERSION}. Run it once, as the role that shall own them.
BEGIN;
SET LOCAL check_function_bodies = off;
CREATE SCHEMA IF NOT EXISTS "{schema}";
SET LOCAL search_path = "{schema}";
{_contents()}
COMMIT;

-- If the workers come as another role:
--   GRANT USAGE ON SCHEMA "{schema}" TO workers;
--   GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{schema}" TO workers;
--   GRANT USAGE ON ALL SEQUENCES IN SCHEMA "{schema}" TO workers;
"""


def _contents() -> str:
    born = f"INSERT INTO schema_version VALUES (1, {VERSION:d});"  # noqa: S608  # a number
    return f"{schema_text()}\n{born}\n{functions_text()}"


async def _version(connection: Any, address: PostgresAddress, *, known: int) -> int | None:
    """Which version stands there; None for a schema that is empty or missing. Raises ConfigError."""
    found = await connection.fetchrow(_LOOK, address.schema)
    if found["usable"] is False:
        raise ConfigError(f"store {address!r}: this role may not use the schema: {_GRANT}")
    if not found["ours"]:
        if found["relations"]:
            raise ConfigError(
                f"store {address!r}: the schema belongs to another program: write schema= with a new name"
            )
        return None
    version: int | None = await connection.fetchval("SELECT version FROM schema_version")
    if version is None:
        raise ConfigError(
            f"store {address!r}: the table schema_version is empty: restore it from a backup, or write schema= with a "
            "new name"
        )
    if version > known:
        raise ConfigError(
            f"store {address!r} has schema version {version}, this program knows up to {known}: "
            "upgrade sessionware, or write schema= with a new name"
        )
    return version


async def _make(connection: Any, address: PostgresAddress, steps: Mapping[int, str], to: int) -> int | None:
    """Make the schema or bring it up to date, in one transaction; whoever else does the same waits for it."""
    try:
        async with connection.transaction():
            await connection.execute(
                f"SET LOCAL statement_timeout = {MAKE_S * 1000:.0f}; SET LOCAL lock_timeout = 0; "
                "SET LOCAL check_function_bodies = off"  # they call each other
            )
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            version = await _version(connection, address, known=to)
            if version is None:
                await _create(connection, address.schema)
            elif version < to:  # else somebody was quicker
                await _migrate(connection, [steps[step] for step in range(version, to)], to)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(
            f"store {address!r}: this role may not make or change the schema ({error}): run `{COMMAND}` as a role that "
            "may, or GRANT CREATE ON DATABASE"
        ) from error
    return version


async def _create(connection: Any, schema: str) -> None:
    # CREATE SCHEMA IF NOT EXISTS wants the right to create one even when it is there.
    if await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema) == 0:
        await connection.execute(f'CREATE SCHEMA "{schema}"')
    await connection.execute(f'SET LOCAL search_path = "{schema}"')  # what may not be made there is made nowhere
    await connection.execute(_contents())


async def _migrate(connection: Any, steps: Sequence[str], to: int) -> None:
    for step in steps:
        await connection.execute(step)
    await connection.execute(functions_text())
    await connection.execute("UPDATE schema_version SET version = $1", to)


async def _found(connection: Any, address: PostgresAddress, salt: bytes | None) -> Addresses:
    """Insert the salt if there is none, and read the one that stands."""
    row = await connection.fetchrow("SELECT salt, buckets FROM installation")
    if row is None:
        await connection.execute(
            "INSERT INTO installation VALUES (1, $1, $2) ON CONFLICT DO NOTHING",
            salt or secrets.token_bytes(SALT_BYTES), BUCKETS,
        )  # fmt: skip
        row = await connection.fetchrow("SELECT salt, buckets FROM installation")
    if row["buckets"] != BUCKETS:
        raise ConfigError(
            f"store {address!r} was made with {row['buckets']} buckets, PostgreSQL has {BUCKETS}: "
            "restore it from a backup, or write schema= with a new name"
        )
    return Addresses(row["salt"], row["buckets"])
