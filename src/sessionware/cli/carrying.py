"""`sessionware sessions export|import`: sessions into a file, and out of it into another store of the same salt.

The file is JSON, a line each: what it is and the salt, then the sessions. What they hold is sealed as it is at rest.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import msgspec
from msgspec import Struct

from sessionware.cli.on_store import add_store_to, on_store, sealer
from sessionware.cli.printing import print_json, printable
from sessionware.core.ids import SALT_BYTES
from sessionware.errors import ConfigError, PayloadUnreadable
from sessionware.service.carrying import Carried, Put, put, taken
from sessionware.service.sessions import Sessions
from sessionware.stores.sealing import Sealer

FORMAT: Final = "sessionware-sessions-1"
MODE: Final = 0o600  # it tells who has sessions, and without SECRET_KEYS what they hold
TOLD_MAX: Final = 20  # faults that are told one by one
HEADING_MAX: Final = 1024  # bytes
_REMINDER: Final = "what limits have counted, allowances of users, and revocations do not travel: revoke again"


class Heading(Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    format: str
    salt: bytes
    buckets: int


class Ending(Struct, frozen=True):
    """The last line: how many sessions stand before it."""

    end: int


_carried: Final = msgspec.json.Decoder(Carried)
_endings: Final = msgspec.json.Decoder(Ending)
_ENDING: Final = b'{"end":'


def add_to(actions: Any) -> None:
    """Teach the parser of `sessions` these actions."""
    export = actions.add_parser(
        "export",
        help="write all live sessions to a file",
        description="Writes sessions with what they hold, their MCP connections and conversations. What they hold "
        f"stays sealed under SECRET_KEYS; without keys it lies there in the clear. Note: {_REMINDER}.",
    )
    export.add_argument("file", metavar="FILE", help="a new file, readable by you alone")
    export.set_defaults(command=export_sessions)
    bringing = actions.add_parser(
        "import",
        help="bring sessions of a file into a store",
        description="The store must be new, or have the salt of the export: ids are known by nothing else. Sessions "
        f"that have expired meanwhile stay out. Note: {_REMINDER}.",
    )
    bringing.add_argument("file", metavar="FILE", help="what export has written")
    bringing.add_argument("--merge", action="store_true", help="into a store that has sessions; those there stay")
    bringing.set_defaults(command=import_sessions)
    for action in (export, bringing):
        add_store_to(action)


def export_sessions(arguments: argparse.Namespace) -> int:
    """Write the file, whole or not at all. Raises ConfigError for one that is there, or cannot be written."""
    seals = sealer(arguments)

    async def work(sessions: Sessions) -> int:
        with _new(arguments.file) as file:
            addresses, count = sessions.runtime.addresses, 0
            file.write(_line(Heading(FORMAT, addresses.salt, addresses.buckets)))
            async for each in taken(sessions.runtime, seals):
                file.write(_line(each))
                count += 1
            file.write(_line(Ending(count)))
        return count

    try:
        count = on_store(arguments, work)
    except OSError as error:
        raise ConfigError(f"sessions export: cannot write {arguments.file}: {error.strerror}") from error
    if arguments.json:
        print_json({"exported": count})
    else:
        print(f"exported {count}" + ("" if seals.is_on else ", what they hold in the clear (no SECRET_KEYS)"))
    return 0


def import_sessions(arguments: argparse.Namespace) -> int:
    """Bring in what can be brought; 1 when something could not. Raises ConfigError for a file that is no export."""
    seals = sealer(arguments)
    try:
        with open(arguments.file, "rb") as file:  # noqa: PTH123  # a path as it was typed
            heading = _heading(file, arguments.file)

            async def work(sessions: Sessions) -> Imported:
                await _check_room(sessions, heading, merges=arguments.merge)
                return await _bring(sessions, file, seals)

            imported = on_store(arguments, work, salt=heading.salt)
    except OSError as error:
        raise ConfigError(f"sessions import: cannot read {arguments.file}: {error.strerror}") from error
    counts = {each.value: imported.counts[each] for each in Put}
    if arguments.json:
        print_json(counts | {"faults": imported.faults})
    else:
        print(", ".join(f"{count} {what}" for what, count in counts.items()))
        for fault in imported.faults:
            print(f"sessionware: {arguments.file}, {printable(fault)}", file=sys.stderr)
    return 1 if imported.faults else 0


class Imported(Struct, frozen=True):
    """What became of the sessions of a file, and what is wrong with it: the first faults, and how many more."""

    counts: Counter[Put]
    faults: list[str]


async def _bring(sessions: Sessions, file: IO[bytes], seals: Sealer) -> Imported:
    counts, faults, end = Counter[Put](), list[str](), None
    for number, line in enumerate(file, start=2):
        try:
            if line.startswith(_ENDING):
                end = _endings.decode(line).end
                break
            counts[await put(sessions.runtime, _carried.decode(line), seals)] += 1
        except (msgspec.MsgspecError, ValueError, PayloadUnreadable) as error:
            faults.append(f"line {number}: {error}")
    if end != counts.total() + len(faults):
        faults.append("the end: it is cut, or lines are missing")
    more = len(faults) - TOLD_MAX
    return Imported(counts, [*faults[:TOLD_MAX], f"and {more} more"] if more > 0 else faults)


async def _check_room(sessions: Sessions, heading: Heading, *, merges: bool) -> None:
    if sessions.runtime.addresses.salt != heading.salt:
        raise ConfigError(
            "sessions import: the store has a salt of its own, under which none of these ids is known: name a new "
            "SQLite file, another ?prefix= in Redis, or another ?schema= in PostgreSQL"
        )
    count = await sessions.count()
    if count and not merges:
        raise ConfigError(
            f"sessions import: the store holds {count} sessions: --merge brings in the others, and leaves those alone"
        )


def _heading(file: IO[bytes], name: str) -> Heading:
    try:
        heading = msgspec.json.decode(file.readline(HEADING_MAX), type=Heading)
    except (msgspec.MsgspecError, ValueError):
        heading = None
    if heading is None or heading.format != FORMAT or len(heading.salt) != SALT_BYTES:
        raise ConfigError(f"sessions import: {name} is no export of ours: its first line says {FORMAT} and a salt")
    return heading


@contextmanager
def _new(name: str) -> Iterator[IO[bytes]]:
    """A file that was not there, for the user alone; gone again if it does not become whole. Raises OSError."""
    with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            os.unlink(name)  # noqa: PTH108  # a path as it was typed
            raise


def _line(value: Struct) -> bytes:
    return msgspec.json.encode(value) + b"\n"
