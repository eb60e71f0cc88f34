"""What other processes do to a store's file in these tests: one command each, started with the test's own Python.

A worker says "ready", waits for a line, works, and prints its report as JSON.
"""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from sessionware.core.admission import Caps
from sessionware.core.store import Query
from sessionware.errors import SessionwareError
from sessionware.stores.sqlite import SqliteStore
from sessionware.testing import Maker, ManualClock
from sessionware.testing.clock import START

ROOT: Final = Path(__file__).resolve().parents[3]
PATIENCE_MS: Final = 20_000  # these tests are about meaning; deadlines have tests of their own
REPORT_WITHIN_S: Final = 50.0


# ---------------------------------------------------------------------- in the test


class Worker:
    """Another process at work on a file."""

    def __init__(self, command: str, path: Path, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.stores.sqlite.workers", command, str(path), json.dumps(options)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def report(self) -> Any:
        """Let it finish and read what it found out."""
        return json.loads(self._rest().strip().splitlines()[-1])

    def kill(self) -> str:
        """End it as a crash would; what else it had said."""
        self.process.send_signal(signal.SIGKILL)
        return self._rest()

    def _rest(self) -> str:
        # Not communicate(): that would miss what readline() has read ahead.
        assert self.process.stdout is not None
        rest = self.process.stdout.read()
        self.process.wait(timeout=REPORT_WITHIN_S)
        return rest


@contextmanager
def workers(processes: int, command: str, path: Path, **options: Any):
    """Some workers that are ready; whatever happens, none is left behind."""
    team = [Worker(command, path, number=number, **options) for number in range(processes)]
    try:
        for worker in team:
            assert worker.line() == "ready"
        yield team
    finally:
        for worker in team:
            if worker.process.poll() is None:
                worker.kill()
            for pipe in (worker.process.stdin, worker.process.stdout):
                if pipe is not None:
                    pipe.close()


def together(processes: int, command: str, path: Path, **options: Any) -> list[Any]:
    """What each of some workers reports after they have worked at the same time."""
    with workers(processes, command, path, **options) as team:
        for worker in team:
            worker.go()
        return [worker.report() for worker in team]


# ---------------------------------------------------------------------- in the worker

Work = Callable[[SqliteStore, Maker, dict[str, Any]], Awaitable[Any]]


async def fill(store: SqliteStore, make: Maker, options: dict[str, Any]) -> int:
    """Creates of different names under a cap, at once; the most sessions that were ever seen."""
    caps, most = Caps(options["cap"], options["evict"]), 0

    async def one(number: int) -> None:
        nonlocal most
        new = make.new(make.session(f"s{options['number']}-{number}"), caps)
        await store.create(new, operation=os.urandom(16), now=make.now)
        page = await store.list(Query(new.session.birth.owner, limit=0), now=make.now)
        most = max(most, page.total)

    await asyncio.gather(*[one(number) for number in range(options["count"])])
    return most


async def write(store: SqliteStore, make: Maker, options: dict[str, Any]) -> None:
    """Create and update for ever; says each number after it was acknowledged."""
    number = 0
    while True:
        number += 1
        session = make.session(f"{options['round']}-{number}", data=text_of(number))
        await store.create(make.new(session), operation=os.urandom(16), now=make.now)
        work = await store.get(make.key("work"), now=make.now)
        assert work is not None
        await store.update(replace(work, data=text_of(number)), now=make.now)
        say(number)


async def look(store: SqliteStore, make: Maker, options: dict[str, Any]) -> int:
    """How many sessions there are."""
    return (await store.list(Query(limit=0), now=make.now)).total


WORKS: Final[dict[str, Work]] = {each.__name__: each for each in (fill, write, look)}


def text_of(number: int) -> bytes:
    """A payload of several pages that shows when only a part of it was written."""
    return f"{number};".encode() * 2_000


async def run(command: str, path: str, options: dict[str, Any]) -> Any:
    clock = ManualClock(options.get("now", START))
    if command == "open":  # the opening is the work
        begin()
        try:
            async with SqliteStore(path, clock=clock) as store:
                return await look(store, Maker.of(store), options)
        except SessionwareError as error:
            return str(error)
    async with SqliteStore(path, clock=clock, timeout_ms=PATIENCE_MS) as store:
        begin()
        return await WORKS[command](store, Maker.of(store), options)


def hold_lock(path: str) -> None:
    """Keep the write lock, as a process that was stopped would, until told otherwise."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    begin()
    connection.execute("ROLLBACK")
    connection.close()


def overwrite(path: str, options: dict[str, Any]) -> None:
    """Damage a file without opening it in the test's process, whose locks that would drop."""
    begin()
    with open(path, "r+b") as file:  # noqa: PTH123
        file.seek(options["at"])
        file.write(os.urandom(options["size"]))


def begin() -> None:
    say("ready")
    sys.stdin.readline()


def say(what: Any) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> None:
    command, path, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    match command:
        case "hold_lock":
            hold_lock(path)
            say("null")
        case "overwrite":
            overwrite(path, options)
            say("null")
        case _:
            say(json.dumps(asyncio.run(run(command, path, options))))


if __name__ == "__main__":
    main()
