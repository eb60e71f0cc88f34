"""The one way in which a session ends in SQLite: out of every index, its end told and kept until acknowledged."""

from __future__ import annotations

import logging
from typing import Final

import msgspec
from msgspec.structs import replace

from sessionware.core.facts import SessionGone
from sessionware.core.ids import SessionKey, ref
from sessionware.core.rules import knows
from sessionware.core.session import TOMBSTONE_MAX_MS, Ended, EndReason, Link, Proof, Session, tombstone_ms
from sessionware.core.store import CLAIM_MS, ENDED_KEEP_MS, ENDED_MAX
from sessionware.errors import PayloadUnreadable
from sessionware.stores.codec import pack
from sessionware.stores.sealing import Sealer
from sessionware.stores.sqlite import counters, links, records
from sessionware.stores.sqlite.rows import Record, open_payload, opened_link
from sessionware.stores.sqlite.tables import Tables

_BURY: Final = "INSERT OR REPLACE INTO tombstones VALUES (?, ?, ?, ?, ?)"
_UNCLAIMED: Final = "SELECT id, body FROM ended WHERE claimed_until <= ? AND ended_at > ? ORDER BY id LIMIT ?"
_FORGET: Final = "DELETE FROM ended WHERE id IN (SELECT id FROM ended WHERE ended_at <= ? ORDER BY ended_at LIMIT ?)"
_RECEIPT_DIGITS: Final = 18

_ended = msgspec.msgpack.Decoder(Ended)
_log = logging.getLogger(__name__)


def end(tables: Tables, record: Record, reason: EndReason, now: int) -> Ended:
    """End a session and hand it over. An unreadable payload does not keep it alive: it is None then, and logged."""
    birth = record.session.birth
    sealed = _sealed(tables, record)
    records.remove(tables, record)
    for level in birth.holds:
        counters.add_level(tables, level, -1)
    bury(tables, record.session, reason, now)
    tables.publish(SessionGone(birth.key, reason), now)
    at_rest = Ended(sealed, reason, now)
    cursor = tables.execute(
        "INSERT INTO ended (ended_at, claimed_until, body) VALUES (?, ?, ?)", (now, now + CLAIM_MS, pack(at_rest))
    )
    number = cursor.lastrowid or 0
    _trim(tables, number)
    return _handed_over(at_rest, number, tables.sealer)


def end_due(tables: Tables, now: int, limit: int) -> list[Ended]:
    """End what has expired. A row that cannot be read ends, too, but there is nothing to hand over."""
    found, lost = records.due(tables, now, limit)
    for hash_ in lost:
        _end_unreadable(tables, hash_, now)
    return [end(tables, record, EndReason.EXPIRED, now) for record in found]


def _end_unreadable(tables: Tables, hash_: bytes, now: int) -> None:
    key = SessionKey(0, hash_)  # one file is one partition
    discarded = records.discard(tables, hash_)
    for level in discarded.holds:
        counters.add_level(tables, level, -1)
    until = now + TOMBSTONE_MAX_MS
    tables.execute(_BURY, (hash_, EndReason.EXPIRED.value, discarded.owner, Proof.TOKEN.value, until))
    tables.publish(SessionGone(key, EndReason.EXPIRED), now)
    _log.error("session %s has expired, its row could not be read: it was removed, nobody is told its end", ref(key))


def bury(tables: Tables, session: Session, reason: EndReason, now: int) -> None:
    """Remember why a key's session ended, for its owner, for a while."""
    birth = session.birth
    tables.execute(_BURY, (birth.key.hash, reason.value, birth.owner, birth.proof.value, now + tombstone_ms(session)))


def unbury(tables: Tables, key: SessionKey) -> None:
    tables.execute("DELETE FROM tombstones WHERE hash = ?", (key.hash,))


def reason(tables: Tables, key: SessionKey, owner: bytes | None, now: int) -> EndReason | None:
    """Why the session under a key ended, if the caller may know."""
    stone = tables.execute(
        "SELECT reason, owner, proof FROM tombstones WHERE hash = ? AND until > ?", (key.hash, now)
    ).fetchone()
    if stone is None or not knows(owner, of=stone[1], proof=Proof(stone[2])):
        return None
    return EndReason(stone[0])


def acknowledge(tables: Tables, receipt: str) -> bool:
    if not (receipt.isascii() and receipt.isdigit() and len(receipt) <= _RECEIPT_DIGITS):
        return False
    return tables.execute("DELETE FROM ended WHERE id = ?", (int(receipt),)).rowcount > 0


def claim_again(tables: Tables, now: int, limit: int) -> list[Ended]:
    """Hand out ends whose claim ran out, but for those that nobody has acknowledged for too long."""
    if limit <= 0:
        return []
    rows = tables.execute(_UNCLAIMED, (now, now - ENDED_KEEP_MS, limit)).fetchall()
    claimed = []
    for number, body in rows:
        try:
            at_rest = _ended.decode(body)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            _log.error("the end %d cannot be read and is dropped: %s", number, error)  # known
            tables.execute("DELETE FROM ended WHERE id = ?", (number,))
            continue
        tables.execute("UPDATE ended SET claimed_until = ? WHERE id = ?", (now + CLAIM_MS, number))
        claimed.append(_handed_over(at_rest, number, tables.sealer))
    return claimed


def forget(tables: Tables, now: int, limit: int) -> None:
    """Drop ends that nobody has ever acknowledged."""
    tables.execute(_FORGET, (now - ENDED_KEEP_MS, limit))


def _sealed(tables: Tables, record: Record) -> Session:
    """The whole session as it lies at rest; what is sealed for its place stays sealed while its end is kept."""
    key = record.session.birth.key
    if record.sealed is None:
        full = records.find_with_payload(tables, key)
        record.sealed = full.sealed if full is not None else None
    metadata, data = record.sealed or (None, None)
    return replace(record.session, metadata=metadata, data=data, links=links.all_of(tables, key))


def _handed_over(at_rest: Ended, number: int, sealer: Sealer) -> Ended:
    session = at_rest.session
    sealed = None
    if session.metadata is not None and session.data is not None:
        sealed = (session.metadata, session.data)
    record = Record(session, indexed_at=0, sealed=sealed)
    metadata: bytes | None
    data: bytes | None
    try:
        metadata, data = open_payload(record, sealer)
    except PayloadUnreadable as error:
        _log.error("a session ended whose payload cannot be read: %s", error)  # a known condition
        metadata = data = None
    opened = replace(
        session, metadata=metadata, data=data, links=tuple([closing(link, sealer) for link in session.links])
    )
    return replace(at_rest, session=opened, receipt=str(number))


def closing(link: Link, sealer: Sealer) -> Link:
    """A link that ended; it must be closed upstream even if its handshake cannot be read."""
    try:
        return opened_link(link, sealer)
    except PayloadUnreadable as error:
        _log.error("a link of session %s ended without its handshake: %s", ref(link.session), error)
        return replace(link, handshake=b"")


def _trim(tables: Tables, newest: int) -> None:
    """Forget the oldest ends beyond ENDED_MAX; they are counted only when there could be so many."""
    oldest = tables.execute("SELECT min(id) FROM ended").fetchone()[0]
    if newest - oldest < ENDED_MAX:
        return
    excess = tables.execute("SELECT count(*) FROM ended").fetchone()[0] - ENDED_MAX
    if excess > 0:
        tables.execute("DELETE FROM ended WHERE id IN (SELECT id FROM ended ORDER BY id LIMIT ?)", (excess,))
