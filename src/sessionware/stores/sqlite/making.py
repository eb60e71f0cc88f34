"""How a session is made in SQLite: within its caps, after those in its way have ended."""

from __future__ import annotations

from msgspec.structs import replace

from sessionware.core.admission import VICTIM_SCAN, NewSession
from sessionware.core.rules import choose_victims, death, victims_wanted
from sessionware.core.session import Ended, EndReason
from sessionware.stores.sqlite import counters, ends, owners, records
from sessionware.stores.sqlite.rows import Record
from sessionware.stores.sqlite.tables import Tables

Room = list[tuple[Record, EndReason]]


def sweep_for_levels(tables: Tables, new: NewSession, now: int) -> tuple[Ended, ...]:
    """Remove a few expired sessions when a level is full: it counts them until they are reaped."""
    if all(counters.level(tables, level.key) < level.allowance for level in new.caps.levels):
        return ()
    return tuple(ends.end_due(tables, now, VICTIM_SCAN))


def room_for(tables: Tables, new: NewSession, now: int, *, leaving: Record | None = None) -> Room | str:
    """Which records must go so that `new` fits its caps, or the name of the cap that is full."""
    owner, caps = new.session.birth.owner, new.caps
    room: Room = []
    stale = records.find(tables, new.session.key)
    if stale is None and not caps.per_owner and not caps.levels:
        return room
    not_before = owners.owner_row(tables, owner).not_before
    if stale is not None:
        room.append((stale, death(stale.session, now=now, not_before=not_before) or EndReason.EXPIRED))
    gone = [
        record.session.key for record in (stale, leaving) if record is not None and record.session.birth.owner == owner
    ]
    wanted = victims_wanted(caps, records.owned_count(tables, owner) - len(gone)) if caps.per_owner else 0
    if wanted > 0:
        candidates = {
            record.session.key: record
            for record in records.oldest_owned(tables, owner)
            if record.session.key not in gone
        }
        chosen = choose_victims(
            [(record.session, record.is_open(now)) for record in candidates.values()],
            caps=caps, wanted=wanted, now=now, not_before=not_before,
        )  # fmt: skip
        if chosen is None:
            return "owner"
        room += [(candidates[session.key], reason) for session, reason in chosen]
    for level in caps.levels:
        freed = sum(level.key in record.session.birth.holds for record, _ in room)
        if counters.level(tables, level.key) - freed >= level.allowance:
            return level.name
    return room


def make(
    tables: Tables, new: NewSession, room: Room, now: int, *, hits: int | None = None
) -> tuple[Record, tuple[Ended, ...]]:
    """Make the session after those in its way have ended."""
    evicted = tuple([ends.end(tables, record, reason, now) for record, reason in room])
    session = new.session if hits is None else replace(new.session, hits=hits)
    ends.unbury(tables, session.key)
    for level in new.caps.levels:
        counters.add_level(tables, level.key, 1)
    return records.insert(tables, session), evicted
