"""`sessionware schema postgres`: the tables and functions that a PostgreSQL store needs, shown or made."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, Final

from msgspec.structs import replace

from sessionware.cli.settings import here_or_named
from sessionware.config.load import load
from sessionware.errors import ConfigError

EXAMPLE: Final = "--store postgresql://user:password@127.0.0.1/database"
CALL_MS: Final = 10_000.0  # patience with one statement; making the schema has its own
SCHEMES: Final = ("postgresql://", "postgres://")


def add_to(commands: Any) -> None:
    """Teach the parser this command."""
    schema = commands.add_parser("schema", help="what a database must hold before a server may use it")
    engines = schema.add_subparsers(title="engines", metavar="ENGINE", required=True)
    postgres = engines.add_parser(
        "postgres",
        help="print the tables and functions of a PostgreSQL store, or make them",
        description="Prints the SQL that makes the schema, for somebody who may run it: sessionware schema postgres | "
        "psql DATABASE. With --apply it is made in the store, or brought up to date from an older version. A server "
        "does the same when it starts, unless the store's URL says create=no.",
    )
    postgres.add_argument("--store", metavar="URL", help="the store (default: $SESSIONWARE_STORE)")
    postgres.add_argument("--apply", action="store_true", help="make the schema in the store, or bring it up to date")
    postgres.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Print or apply. Raises ConfigError, StoreUnavailable."""
    url = _store(arguments)
    try:
        from sessionware.stores.postgres.address import DEFAULT_SCHEMA, read_address  # noqa: PLC0415  # asyncpg is an extra
        from sessionware.stores.postgres.schema import ddl  # noqa: PLC0415  # the same
    except ModuleNotFoundError as error:
        raise ConfigError(f"schema postgres needs {error.name}: pip install 'sessionware[postgres]'") from error
    if not arguments.apply:
        print(ddl(read_address(url).schema if url else DEFAULT_SCHEMA), end="")
        return 0
    if not url:
        raise ConfigError(f"--apply makes the schema in a PostgreSQL store: name it ({EXAMPLE}, or SESSIONWARE_STORE)")
    print(asyncio.run(_apply(url)))
    return 0


def _store(arguments: argparse.Namespace) -> str:
    """The PostgreSQL store that is meant; empty when the settings name another kind. Raises ConfigError."""
    if arguments.store is not None:
        url = str(arguments.store)
        if not url.lower().startswith(SCHEMES):
            raise ConfigError(f"--store: schema postgres is about a PostgreSQL store: write for example {EXAMPLE}")
        return url
    url = load(file=here_or_named()).settings.store
    return url if url.lower().startswith(SCHEMES) else ""


async def _apply(url: str) -> str:
    from sessionware.stores.postgres.address import read_address  # noqa: PLC0415  # asyncpg is an extra
    from sessionware.stores.postgres.schema import VERSION  # noqa: PLC0415  # the same
    from sessionware.stores.postgres.server import apply_schema  # noqa: PLC0415  # the same

    address = replace(read_address(url), create=True)
    before = await apply_schema(address, call_ms=CALL_MS)
    if before is None:
        return f"{address!r}: made, version {VERSION}"
    if before == VERSION:
        return f"{address!r}: up to date, version {VERSION}"
    return f"{address!r}: brought from version {before} to {VERSION}"
