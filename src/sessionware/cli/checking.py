"""`sessionware check-store URL`: the contract, held against a store from the command line."""

from __future__ import annotations

import argparse
import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import indent
from typing import Any

from sessionware.cli.scratch import Scratch, scratch_beside
from sessionware.core.store import Query
from sessionware.errors import ConfigError
from sessionware.testing import ManualClock, Result, check_store


class Terminated(KeyboardInterrupt):
    """SIGTERM came: it unwinds as Ctrl-C does, and so cleans up."""


def add_to(commands: Any) -> None:
    """Teach the parser this command."""
    check = commands.add_parser(
        "check-store",
        help="hold a store to every law of the contract",
        description="Holds a store to every law of the contract, beside live data and never on it: under a random "
        "prefix of its own in Redis, in new files in the folder of a SQLite file. A module:factory is called with "
        "clock= twice to look at it and then for every law, and must make a new, empty store each time.",
    )
    check.add_argument(
        "store", help="memory://, sqlite:///sessions.db, redis://127.0.0.1:6379/0, postgresql://… or module:factory"
    )
    check.add_argument("--only", default="", metavar="TEXT", help="only laws whose name contains TEXT")
    check.add_argument("--quiet", action="store_true", help="say nothing of laws that hold")
    check.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Check and report; 1 when a law is broken. Raises ConfigError when there is no store to check."""
    if not __debug__:
        raise ConfigError("the laws are assertions, which python -O leaves out: run check-store without -O")

    def on_result(result: Result) -> None:
        _tell(result, quiet=arguments.quiet)
        heed()

    with _signals_heeded() as heed, scratch_beside(arguments.store) as scratch:
        _probe(scratch)
        heed()
        report = check_store(scratch.open, only=arguments.only, on_result=on_result)
    if not report.results:
        raise ConfigError(f"no law has {arguments.only!r} in its name")
    print(f"{scratch.shown}: {report.summary}")
    return 1 if report.broken else 0


def _probe(scratch: Scratch) -> None:
    """Open two stores and look whether they are empty, and two: nothing is written where anybody else has written."""

    async def look() -> tuple[int, bytes]:
        clock = ManualClock()
        async with scratch.open(clock) as store:
            return (await store.list(Query(limit=0), now=clock.now())).total, store.addresses.salt

    try:
        total, salt = asyncio.run(look())
        _, another_salt = asyncio.run(look())
    except ConfigError:
        raise
    except SystemExit as error:
        raise ConfigError(f"store {scratch.shown} ended the process (sys.exit) when it was opened") from error
    except Exception as error:
        raise ConfigError(f"store {scratch.shown} cannot be opened: {type(error).__name__}: {error}") from error
    if total:
        raise ConfigError(
            f"store {scratch.shown} holds {total} sessions: check-store wants a factory that makes a new, empty store"
        )
    if salt == another_salt:
        raise ConfigError(
            f"store {scratch.shown} was opened twice and is the same installation (one salt), perhaps a live one: "
            "the factory must return a new, empty store each time"
        )


@contextmanager
def _signals_heeded() -> Iterator[Callable[[], None]]:
    """Note Ctrl-C and SIGTERM, and raise them where the yielded function is called: between two laws.

    A second signal raises at once, should a law hang; none disturbs the cleaning that follows.
    """
    heard: list[type[KeyboardInterrupt]] = []
    is_unwinding = False

    def heed() -> None:
        nonlocal is_unwinding
        if heard and not is_unwinding:
            is_unwinding = True
            raise heard[0]

    def hear(number: int, _: object) -> None:
        heard.append(Terminated if number == signal.SIGTERM else KeyboardInterrupt)
        if len(heard) > 1:
            heed()

    if threading.current_thread() is not threading.main_thread():  # only there may signals be handled
        yield heed
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in ours:
        signal.signal(number, hear)
    try:
        yield heed
        heed()
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _tell(result: Result, *, quiet: bool) -> None:
    if not result.holds:
        print(f"BROKEN  {result.sentence}\n{indent(result.problem, ' ' * 8)}", flush=True)
    elif not quiet:
        print(f"holds   {result.sentence}", flush=True)
