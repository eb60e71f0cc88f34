"""The SQLite store's admission: look everything up, decide, then write."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import Admission, Admitted, Outcome
from sessionware.core.ids import SessionKey
from sessionware.core.ledger import LeaseTally, Tally, When
from sessionware.core.rules import (
    NO_OVERRIDES,
    allowance_of,
    bound,
    death,
    is_refused,
    knows,
    lease_tally,
    operation_name,
    refusal,
    repeats,
    tally,
    tally_after,
)
from sessionware.core.session import Ended, EndReason, Link, Session
from sessionware.stores.sqlite import counters, ends, links, operations, owners, records
from sessionware.stores.sqlite.making import make, room_for, sweep_for_levels
from sessionware.stores.sqlite.owners import NO_ROW, OwnerRow
from sessionware.stores.sqlite.rows import COLUMNS, Record, open_payload, opened_link, read_record
from sessionware.stores.sqlite.tables import Tables

# One statement tells all that does not depend on a limit: the session, its owner's row, the token's revocation.
_LOOK_UP: Final = (
    f"SELECT {COLUMNS}, o.not_before, o.limits, t.until FROM sessions s "  # noqa: S608  # constants only
    "LEFT JOIN owners o ON o.owner = s.owner LEFT JOIN tokens t ON t.hash = ?2 WHERE s.hash = ?1"
)
_LOOK_UP_WITH_PAYLOAD: Final = (
    f"SELECT {COLUMNS}, o.not_before, o.limits, t.until, p.metadata, p.data FROM sessions s "  # noqa: S608
    "LEFT JOIN owners o ON o.owner = s.owner LEFT JOIN tokens t ON t.hash = ?2 "
    "LEFT JOIN payloads p ON p.hash = s.hash WHERE s.hash = ?1"
)
_OWNER: Final = 12  # where the joined columns begin

_admitted = msgspec.msgpack.Decoder(Admitted)


class Standing(Struct, gc=False):
    """What was found for a question before any counter is looked at."""

    record: Record | None = None
    link: Link | None = None
    row: OwnerRow = NO_ROW
    token_until: int = 0


def admit(tables: Tables, ask: Admission) -> Admitted:
    """Answer one admission. Nothing is written before the last "no" has been ruled out."""
    now = ask.now
    standing = _find(tables, ask)
    record, link, row = standing.record, standing.link, standing.row
    session = record.session if record is not None else None
    outcome = refusal(ask, session, not_before=row.not_before, token_revoked=standing.token_until > now)
    if outcome is not None:
        return Admitted(outcome, now, reason=_reason(tables, ask) if outcome is Outcome.UNKNOWN else None)
    if ask.once:
        first = operations.answer(tables, _name(ask), now, kind=_admitted)
        if first is not None and repeats(first, session):
            return first
    payload = open_payload(record, tables.sealer) if record is not None and ask.wants_data else None
    link = opened_link(link, tables.sealer) if link is not None else None
    found = counters.Found(tables)
    tallies = _tallies(found, ask, record, row)
    leases = _lease_tallies(tables, ask, session, row)
    if is_refused(zip(ask.spends, tallies, strict=True), zip(ask.leases, leases, strict=True)):
        return Admitted(Outcome.LIMITED, now, session=_shown(session, payload), tallies=tallies, leases=leases)
    evicted: tuple[Ended, ...] = ()
    is_new = record is None and ask.new is not None and ask.key is not None
    if is_new and ask.new is not None:
        swept = sweep_for_levels(tables, ask.new, now)
        room = room_for(tables, ask.new, now)
        if isinstance(room, str):
            return Admitted(Outcome.FULL, now, tallies=tallies, leases=leases, full=room, evicted=swept)
        record, evicted = make(tables, ask.new, room, now, hits=int(ask.touch))
        evicted = swept + evicted
        payload = _payload_of(ask.new.session) if ask.wants_data else None
    charged = _charge(found, ask, record, tallies)
    held = _hold(tables, ask, record, leases)
    if record is not None:
        _write(tables, ask, record, touch=ask.touch and not is_new)
        if link is not None and ask.touch:
            link = links.touch(tables, link, now)
    shown = _shown(record.session, payload) if record is not None else None
    answer = Admitted(Outcome.ADMITTED, now, shown, is_new, charged, held, link)
    if ask.once:
        operations.keep(tables, _name(ask), answer, now)
    return replace(answer, evicted=evicted) if evicted else answer


def _name(ask: Admission) -> operations.Name:
    owner, name = operation_name(ask)
    return operations.Name(owner, "admit", name)


def _find(tables: Tables, ask: Admission) -> Standing:
    """The live record that the question is about, by key or by link, and the row of its owner or the caller.

    A link of another session finds nothing.
    """
    key, link = ask.key, None
    if ask.link is not None:
        link = links.get(tables, ask.link)
        key = link.session if link is not None and ask.key in (None, link.session) else None
    standing = _look_up(tables, ask, key) if key is not None else None
    if standing is None:
        return Standing(
            None,
            link,
            owners.owner_row(tables, ask.owner) if ask.owner is not None else NO_ROW,
            owners.token_until(tables, ask.token.hash) if ask.token is not None else 0,
        )
    record = standing.record
    if record is not None and death(record.session, now=ask.now, not_before=standing.row.not_before) is not None:
        standing.record = None
    standing.link = link
    return standing


def _reason(tables: Tables, ask: Admission) -> EndReason | None:
    """How the session under the key ended, if the caller may know; one that is not swept yet is no different."""
    if ask.key is None:
        return None
    record = records.find(tables, ask.key)
    if record is None:
        return ends.reason(tables, ask.key, ask.owner, ask.now)
    birth = record.session.birth
    if not knows(ask.owner, of=birth.owner, proof=birth.proof):
        return None
    return death(record.session, now=ask.now, not_before=owners.owner_row(tables, birth.owner).not_before)


def _look_up(tables: Tables, ask: Admission, key: SessionKey) -> Standing | None:
    wants_data = ask.wants_data
    row = tables.execute(
        _LOOK_UP_WITH_PAYLOAD if wants_data else _LOOK_UP,
        (key.hash, ask.token.hash if ask.token is not None else None),
    ).fetchone()
    if row is None:
        return None
    sealed = records.sealed_of(row) if wants_data else None
    owner = NO_ROW if row[_OWNER] is None else owners.read_owner(row[_OWNER], row[_OWNER + 1])
    return Standing(read_record(row, key.hash, sealed=sealed), None, owner, row[_OWNER + 2] or 0)


def _tallies(found: counters.Found, ask: Admission, record: Record | None, row: OwnerRow) -> tuple[Tally | None, ...]:
    own = record.session.limits if record is not None else NO_OVERRIDES
    tallies: list[Tally | None] = []
    for spend in ask.spends:
        if spend.when is When.CREATED and not (record is None and ask.new is not None):
            tallies.append(None)
            continue
        allowance = allowance_of(spend.limit, spend.allowance, ask.now, own, row.limits)
        tallies.append(tally(spend, found.get(record, spend), allowance))
    return tuple(tallies)


def _lease_tallies(tables: Tables, ask: Admission, session: Session | None, row: OwnerRow) -> tuple[LeaseTally, ...]:
    if not ask.leases:
        return ()
    own = session.limits if session is not None else NO_OVERRIDES
    tallies = []
    for lease in ask.leases:
        running, held = counters.running(tables, lease, ask.operation, ask.now)
        allowance = allowance_of(lease.limit, lease.allowance, ask.now, own, row.limits)
        tallies.append(lease_tally(running, held=held, allowance=allowance))
    return tuple(tallies)


def _charge(
    found: counters.Found, ask: Admission, record: Record | None, tallies: tuple[Tally | None, ...]
) -> tuple[Tally | None, ...]:
    charged: list[Tally | None] = []
    for spend, before in zip(ask.spends, tallies, strict=True):
        if before is None or spend.cost == 0:
            charged.append(before)
            continue
        after = tally_after(before, spend)
        charged.append(after)
        found.put(record, spend, after.counter, ask.now)
    return tuple(charged)


def _hold(
    tables: Tables, ask: Admission, record: Record | None, tallies: tuple[LeaseTally, ...]
) -> tuple[LeaseTally, ...]:
    until = ask.now + ask.lease_ms
    held = []
    for lease, before in zip(ask.leases, tallies, strict=True):
        counters.hold(tables, lease, ask.operation, until)
        running, _ = counters.running(tables, lease, ask.operation, ask.now)
        held.append(LeaseTally(running, before.allowance, before.fits))
    if record is not None and (ask.leases or ask.opens):
        record.hold_open(ask.operation, until, ask.now)
    return tuple(held)


def _write(tables: Tables, ask: Admission, record: Record, *, touch: bool) -> None:
    session, candidate = record.session, ask.candidate
    if candidate is not None and candidate.pool not in session.bindings:
        session = replace(session, bindings=bound(session.bindings, candidate))
        records.count_bindings(tables, {candidate.pool: candidate.upstream}, 1)
    record.session = session.touched(ask.now) if touch else session
    records.write_back(tables, record)


def _payload_of(session: Session) -> tuple[bytes, bytes]:
    return session.metadata or b"", session.data or b""


def _shown(session: Session | None, payload: tuple[bytes, bytes] | None) -> Session | None:
    """The session with its payload, where that was asked for."""
    if session is None or payload is None:
        return session
    return Session(
        session.birth, session.idle, session.absolute_at, session.expires_at, session.seen_at, session.hits,
        session.revision, payload[0], payload[1], session.limits, session.bindings,
    )  # fmt: skip
