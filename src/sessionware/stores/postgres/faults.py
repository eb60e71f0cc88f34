"""The only place that says what an error of PostgreSQL or of its driver means."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg

from sessionware.errors import StoreUnavailable

# What a connection may raise: errors that the server sent, misuse and lost connections that the driver found, sockets.
ANY: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, asyncio.TimeoutError)

# Who answers is not, or no longer, the one that can serve: connect anew, which checks everything.
_ELSEWHERE: Final = frozenset({
    "25006",  # read_only_sql_transaction: a standby, or a server that was set to read only
    "26000",  # invalid_sql_statement_name: a pooler gave the prepared statement's connection to somebody else
    "42P05",  # duplicate_prepared_statement: the same
    "42P01",  # undefined_table: the schema was dropped or restored from a backup
    "42883",  # undefined_function: the same
    "3F000",  # invalid_schema_name: the same
    "XX001",  # data_corrupted
    "XX002",  # index_corrupted
})  # fmt: skip
_WITHOUT_DETAIL: Final = "22"  # class 22, data exceptions, may quote the data


class Refused(StoreUnavailable):
    """The server answered with an error: the statement was rolled back, so nothing of it stands."""

    def __init__(self, message: str, sqlstate: str, detail: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.detail = detail


def explained(error: BaseException, address: object) -> StoreUnavailable:
    """What a call raises for an error of the driver. `Refused` only when nothing can have been written."""
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate and not _ends_the_connection(error):
        return Refused(f"PostgreSQL at {address!r} refused: {said(error)}", error.sqlstate, error.detail or "")
    if isinstance(error, asyncpg.DataError):  # the driver could not encode an argument: nothing was sent
        return Refused(f"PostgreSQL at {address!r} cannot hold that: {said(error)}", "22000")
    return StoreUnavailable(f"the connection to PostgreSQL at {address!r} was lost: {said(error)}")


def wants_another(error: StoreUnavailable) -> bool:
    """Whether to connect anew before the next call."""
    return isinstance(error, Refused) and error.sqlstate in _ELSEWHERE


def _ends_the_connection(error: asyncpg.PostgresError) -> bool:
    """Whether the connection goes with it: 08 by the driver itself, 57P by the server.

    A backend that was terminated says 57P01 in the middle of a statement, or between its commit and its answer.
    """
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))


def said(error: BaseException) -> str:
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate:
        what = type(error).__name__ if error.sqlstate.startswith(_WITHOUT_DETAIL) else error.args[0]
        return f"{what} ({error.sqlstate})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
