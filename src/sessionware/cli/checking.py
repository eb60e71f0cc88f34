"""`sessionware check-store URL`: the contract, held against a store from the command line."""

from __future__ import annotations

import argparse
import asyncio
from textwrap import indent
from typing import Any

from sessionware.cli.scratch import Scratch, scratch_beside
from sessionware.core.store import Query
from sessionware.errors import ConfigError
from sessionware.testing import ManualClock, Result, check_store


def add_to(commands: Any) -> None:
    """Teach the parser this command."""
    check = commands.add_parser(
        "check-store",
        help="hold a store to every law of the contract",
        description="Holds a store to every law of the contract, beside live data and never on it: under a random "
        "prefix of its own in Redis, in new files in the folder of a SQLite file. A module:factory is called with "
        "clock= for every law and must make a new, empty store each time.",
    )
    check.add_argument("store", help="memory://, sqlite:///sessions.db, redis://127.0.0.1:6379/0 or module:factory")
    check.add_argument("--only", default="", metavar="TEXT", help="only laws whose name contains TEXT")
    check.add_argument("--quiet", action="store_true", help="say nothing of laws that hold")
    check.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Check and report; 1 when a law is broken. Raises ConfigError when there is no store to check."""
    with scratch_beside(arguments.store) as scratch:
        _probe(scratch)
        report = check_store(
            scratch.open, only=arguments.only, on_result=lambda result: _tell(result, quiet=arguments.quiet)
        )
    if not report.results:
        raise ConfigError(f"no law has {arguments.only!r} in its name")
    print(f"{scratch.shown}: {report.summary}")
    return 1 if report.broken else 0


def _probe(scratch: Scratch) -> None:
    """Open the store once and count its sessions: nothing is written where anybody else has written."""

    async def count() -> int:
        clock = ManualClock()
        async with scratch.open(clock) as store:
            return (await store.list(Query(limit=0), now=clock.now())).total

    try:
        total = asyncio.run(count())
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"store {scratch.shown} cannot be opened: {type(error).__name__}: {error}") from error
    if total:
        raise ConfigError(
            f"store {scratch.shown} holds {total} sessions: check-store wants a factory that makes a new, empty store"
        )


def _tell(result: Result, *, quiet: bool) -> None:
    if not result.holds:
        print(f"BROKEN  {result.sentence}\n{indent(result.problem, ' ' * 8)}", flush=True)
    elif not quiet:
        print(f"holds   {result.sentence}", flush=True)
