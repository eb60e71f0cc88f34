"""The only place that knows how a session lies in its row."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from sessionware.core.ids import ref
from sessionware.core.ledger import Counter
from sessionware.core.session import Link, Session
from sessionware.errors import PayloadUnreadable
from sessionware.stores.codec import pack, unpack_bindings, unpack_birth, unpack_link, unpack_overrides
from sessionware.stores.sealing import Place, Sealer

COLUMNS: Final = (
    "s.birth, s.idle, s.absolute_at, s.expires_at, s.seen_at, s.hits, s.revision, s.limits, s.bindings, "
    "s.counters, s.open, s.indexed_at"
)
HANDSHAKE: Final = "handshake"
_counters = msgspec.msgpack.Decoder(dict[bytes, tuple[int, int, int]])
_open = msgspec.msgpack.Decoder(dict[bytes, int])
_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, TypeError)  # not MessagePack, not UTF-8, not even bytes

Row = tuple[Any, ...]


class Record:
    """One session as it was read, what dies with it, and its payload as it lies at rest."""

    __slots__ = ("counters", "indexed_at", "open", "sealed", "session")

    def __init__(self, session: Session, *, indexed_at: int, sealed: tuple[bytes, bytes] | None = None) -> None:
        self.session = session
        self.indexed_at = indexed_at
        self.sealed = sealed
        self.counters: dict[bytes, tuple[int, int, int]] | None = None
        self.open: dict[bytes, int] | None = None

    def is_open(self, now: int) -> bool:
        return bool(self.open) and any(until > now for until in self.open.values())  # type: ignore[union-attr]

    def hold_open(self, operation: bytes, until: int, now: int) -> None:
        kept = {each: end for each, end in self.open.items() if end > now} if self.open else {}
        kept[operation] = until
        self.open = kept

    def counter(self, key: bytes) -> Counter | None:
        found = self.counters.get(key) if self.counters else None
        return Counter(*found) if found is not None else None

    def set_counter(self, key: bytes, counter: Counter) -> None:
        if self.counters is None:
            self.counters = {}
        self.counters[key] = (counter.window, counter.used, counter.before)


def read_record(row: Row, hash_: bytes, *, sealed: tuple[bytes, bytes] | None = None) -> Record:
    """Make a record of COLUMNS. Raises PayloadUnreadable when the row is not one of ours, or another session's."""
    try:
        return _read_record(row, hash_, sealed)
    except _UNREADABLE as error:
        raise PayloadUnreadable(f"the row of session {hash_.hex()[:8]} cannot be read: {error}") from error


def _read_record(row: Row, hash_: bytes, sealed: tuple[bytes, bytes] | None) -> Record:
    birth = unpack_birth(row[0])
    if birth.key.hash != hash_:
        raise PayloadUnreadable(f"the row of session {ref(birth.key)} was moved here from another session")
    session = Session(
        birth, row[1], row[2], row[3], row[4], row[5], row[6], None, None,
        unpack_overrides(row[7]) if row[7] else {}, unpack_bindings(row[8]) if row[8] else {},
    )  # fmt: skip
    record = Record(session, indexed_at=row[11], sealed=sealed)
    if row[9]:
        record.counters = _counters.decode(row[9])
    if row[10]:
        record.open = _open.decode(row[10])
    return record


def changing(record: Record) -> Row:
    """What an admission may change: the parameters of the statement that writes a session back, but its key."""
    session = record.session
    return (
        session.expires_at, session.seen_at, session.hits,
        pack(record.counters) if record.counters else None,
        pack(record.open) if record.open else None,
        pack(session.bindings) if session.bindings else None,
    )  # fmt: skip


def opened(record: Record, sealer: Sealer) -> Session:
    """The session with its payload. Raises PayloadUnreadable when that is missing, altered or not ours."""
    metadata, data = open_payload(record, sealer)
    session = record.session
    return Session(
        session.birth, session.idle, session.absolute_at, session.expires_at, session.seen_at, session.hits,
        session.revision, metadata, data, session.limits, session.bindings,
    )  # fmt: skip


def open_payload(record: Record, sealer: Sealer) -> tuple[bytes, bytes]:
    birth = record.session.birth
    if record.sealed is None:
        raise PayloadUnreadable(f"data of session {ref(birth.key)} is missing from the store")
    metadata, data = record.sealed
    if sealer.is_on or metadata or data:
        metadata = sealer.open(metadata, place=Place(birth.key, birth.owner, "metadata"))
        data = sealer.open(data, place=Place(birth.key, birth.owner, "data"))
    return metadata, data


def seal_payload(session: Session, sealer: Sealer) -> tuple[bytes, bytes]:
    birth = session.birth
    return (
        sealer.seal(session.metadata or b"", place=Place(birth.key, birth.owner, "metadata")),
        sealer.seal(session.data or b"", place=Place(birth.key, birth.owner, "data")),
    )


def sealed_link(link: Link, sealer: Sealer) -> Link:
    """The link with its handshake as it lies at rest, bound to the link's own key."""
    return replace(link, handshake=sealer.seal(link.handshake, place=Place(link.key, link.owner, HANDSHAKE)))


def opened_link(link: Link, sealer: Sealer) -> Link:
    """Raises PayloadUnreadable when the handshake was altered or moved."""
    return replace(link, handshake=sealer.open(link.handshake, place=Place(link.key, link.owner, HANDSHAKE)))


def read_link(body: bytes, seen_at: int, handshake: bytes) -> Link:
    """The link of one row, its handshake still sealed. Raises PayloadUnreadable when it is not one of ours."""
    try:
        return replace(unpack_link(body), seen_at=seen_at, handshake=handshake)
    except _UNREADABLE as error:
        raise PayloadUnreadable(f"the row of a link cannot be read: {error}") from error
