"""The only place that remembers, in SQLite, the first answer to an operation.

An answer can hold a session's payload, so it is sealed like one.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from sessionware.core.ids import HASH_BYTES, OWNER_BYTES, SessionKey
from sessionware.core.store import OPERATION_KEEP_MS, OPERATIONS_MAX
from sessionware.stores.codec import pack
from sessionware.stores.sealing import Place
from sessionware.stores.sqlite.tables import Tables

_FIND: Final = "SELECT answer FROM operations WHERE owner = ? AND kind = ? AND operation = ? AND until > ?"
_FORGET: Final = "DELETE FROM operations WHERE owner = ? AND kind = ? AND operation = ?"
_NEWEST: Final = "SELECT max(number) FROM operations WHERE owner = ?"
_KEEP: Final = "INSERT INTO operations (owner, number, kind, operation, until, answer) VALUES (?, ?, ?, ?, ?, ?)"

Answer = TypeVar("Answer")


class Name(NamedTuple):
    """Whose operation, of which kind of call. Without a proved owner all share one."""

    owner: bytes
    kind: str
    operation: bytes

    def place(self) -> Place:
        """Where the answer lies."""
        hash_ = blake2b(self.operation, digest_size=HASH_BYTES).digest()
        return Place(SessionKey(0, hash_), self.owner or bytes(OWNER_BYTES), f"answer to {self.kind}")


def answer(tables: Tables, name: Name, now: int, *, kind: msgspec.msgpack.Decoder[Answer]) -> Answer | None:
    """The first answer to this operation, or None if it is new (or long ago)."""
    row = tables.execute(_FIND, (*name, now)).fetchone()
    return kind.decode(tables.sealer.open(row[0], place=name.place())) if row is not None else None


def is_known(tables: Tables, name: Name, now: int) -> bool:
    return tables.execute(_FIND, (*name, now)).fetchone() is not None


def keep(tables: Tables, name: Name, answer: Any, now: int) -> None:
    """Remember an answer; the oldest of this owner beyond OPERATIONS_MAX are forgotten."""
    sealed = tables.sealer.seal(pack(answer), place=name.place())
    tables.execute(_FORGET, name)
    number = (tables.execute(_NEWEST, (name.owner,)).fetchone()[0] or 0) + 1
    tables.execute(_KEEP, (name.owner, number, name.kind, name.operation, now + OPERATION_KEEP_MS, sealed))
    if number > OPERATIONS_MAX:
        tables.execute("DELETE FROM operations WHERE owner = ? AND number <= ?", (name.owner, number - OPERATIONS_MAX))
