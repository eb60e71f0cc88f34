"""What the SQLite store books after the fact, revokes and reaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.facts import (
    Acknowledged,
    Fact,
    Interrupted,
    OrgLimits,
    OrgLimitsNow,
    OwnerRevocation,
    Released,
    Renewed,
    Revocation,
    Revoked,
    SessionLimits,
    Settled,
    TokenRevocation,
    Touched,
    UserLimits,
)
from sessionware.core.ids import SessionKey
from sessionware.core.ledger import adjusted
from sessionware.core.rules import overridden
from sessionware.core.session import Ended, EndReason, deadline, is_idle_longer_than
from sessionware.stores.codec import pack
from sessionware.stores.sqlite import counters, ends, operations, owners, records
from sessionware.stores.sqlite.events import EVENTS_KEEP_MS
from sessionware.stores.sqlite.owners import OwnerRow
from sessionware.stores.sqlite.tables import Tables

_SET_LIMITS: Final = "UPDATE sessions SET limits = ?, revision = revision + 1 WHERE hash = ?"
# What is worthless after an instant, oldest first, so many rows at once: one reap must fit into a small room.
_COLLECT: Final = (
    "DELETE FROM tombstones WHERE hash IN (SELECT hash FROM tombstones WHERE until <= ? ORDER BY until LIMIT ?)",
    "DELETE FROM operations WHERE rowid IN (SELECT rowid FROM operations WHERE until <= ? ORDER BY until LIMIT ?)",
    "DELETE FROM tokens WHERE hash IN (SELECT hash FROM tokens WHERE until <= ? ORDER BY until LIMIT ?)",
    "DELETE FROM counters WHERE key IN (SELECT key FROM counters WHERE stale_at <= ? ORDER BY stale_at LIMIT ?)",
    "DELETE FROM leases WHERE (key, operation) IN (SELECT key, operation FROM leases WHERE until <= ? LIMIT ?)",
)
_PRUNE_EVENTS: Final = (
    "DELETE FROM events WHERE number IN (SELECT number FROM events WHERE number < "
    "coalesce((SELECT number FROM events WHERE at > ? ORDER BY number LIMIT 1), 9223372036854775807) "
    "ORDER BY number LIMIT ?)"
)
GARBAGE_PER_REAP: Final = 10_000  # rows of each kind


class Reaping(Struct, frozen=True):
    """One reap: at most `limit` ends; `idle` are sessions that looked idle for `idle_for` a moment ago."""

    now: int
    limit: int
    idle_for: int | None = None
    idle: tuple[SessionKey, ...] = ()
    garbage: int = GARBAGE_PER_REAP

    def smaller(self) -> Reaping | None:
        """A reap that writes less; None when there is no smaller one."""
        if self.limit <= 1 and self.garbage <= 1:
            return None
        return replace(self, limit=max(self.limit // 2, 1), garbage=max(self.garbage // 100, 1))


def book_all(tables: Tables, facts: tuple[Sequence[Fact], int]) -> list[bool]:
    """Book facts as they stood at an instant, each by itself."""
    return [_book(tables, fact, facts[1]) for fact in facts[0]]


def revoke(tables: Tables, revoking: tuple[Revocation, int]) -> list[Ended]:
    """Write the revocation and end the sessions that it reaches, in one step."""
    revocation, now = revoking
    match revocation:
        case TokenRevocation(token, until):
            doomed = records.started_by(tables, token, now)
            owners.refuse_token(tables, token, until)
        case OwnerRevocation(_, owner, before):
            row = owners.owner_row(tables, owner)
            not_before = max(row.not_before, before)
            doomed = records.made_before(tables, owner, not_before, now)
            owners.set_owner(tables, owner, OwnerRow(not_before, row.limits))
        case _:
            assert_never(revocation)
    ended = [ends.end(tables, record, EndReason.REVOKED, now) for record in doomed]
    tables.publish(Revoked(revocation), now)
    return ended


def reap(tables: Tables, reaping: Reaping) -> list[Ended]:
    """End what has expired (and what is idle for longer than asked), then collect garbage."""
    now, limit = reaping.now, reaping.limit
    ended = ends.end_due(tables, now, limit)
    for key in reaping.idle:
        if len(ended) >= limit or reaping.idle_for is None:
            break
        record = records.find(tables, key)
        is_idle = record is not None and is_idle_longer_than(record.session, now, reaping.idle_for)
        if record is not None and is_idle and not record.is_open(now):
            ended.append(ends.end(tables, record, EndReason.EXPIRED, now))
    ended += ends.claim_again(tables, now, limit - len(ended))
    ends.forget(tables, now, reaping.garbage)
    for statement in _COLLECT:
        tables.execute(statement, (now, reaping.garbage))
    tables.execute(_PRUNE_EVENTS, (now - EVENTS_KEEP_MS, reaping.garbage))
    return ended


def _book(tables: Tables, fact: Fact, now: int) -> bool:  # noqa: C901, PLR0911  # a row for each kind of fact
    """Book one fact; False when it was booked before or there is nothing left that it could change."""
    match fact:
        case Touched():
            return _touch(tables, fact, now)
        case Settled():
            return _settle(tables, fact, now)
        case Renewed():
            return _renew(tables, fact, now)
        case Released():
            return _release(tables, fact, now)
        case Acknowledged():
            return ends.acknowledge(tables, fact.receipt)
        case SessionLimits():
            record = records.live(tables, fact.key, now)
            if record is None:
                return False
            limits = overridden(record.session.limits, fact.limits, until=fact.until, now=now)
            tables.execute(_SET_LIMITS, (pack(limits) if limits else None, fact.key.hash))
        case UserLimits():
            row = owners.owner_row(tables, fact.owner)
            limits = overridden(row.limits, fact.limits, until=fact.until, now=now)
            owners.set_owner(tables, fact.owner, OwnerRow(row.not_before, limits))
        case OrgLimits():
            limits = overridden(owners.org_limits(tables, fact.org), fact.limits, until=fact.until, now=now)
            owners.set_org_limits(tables, fact.org, limits)
            tables.publish(OrgLimitsNow(fact.org, limits), now)
        case Interrupted():
            if records.live(tables, fact.key, now) is None:
                return False
            tables.publish(fact, now)
        case _:
            assert_never(fact)
    return True


def _touch(tables: Tables, fact: Touched, now: int) -> bool:
    record = records.live(tables, fact.key, now)
    if record is None:
        return False
    session = record.session
    seen_at = max(fact.at, session.seen_at)
    expires_at = deadline(seen_at, session.idle, session.absolute_at)
    record.session = replace(session, seen_at=seen_at, expires_at=expires_at, hits=session.hits + fact.hits)
    records.write_back(tables, record)
    return True


def _settle(tables: Tables, fact: Settled, now: int) -> bool:
    name = operations.Name(fact.owner, "settle", fact.operation)
    if operations.is_known(tables, name, now):
        return False
    record = records.live(tables, fact.session, now) if fact.session is not None else None
    found = counters.Found(tables)
    for spend in fact.spends:
        changed = adjusted(found.get(record, spend), window=spend.window, cost=spend.cost)
        if changed is not None:
            found.put(record, spend, changed, now)
    if record is not None and record.counters:
        records.write_back(tables, record)
    operations.keep(tables, name, True, now)  # noqa: FBT003  # the answer itself
    return True


def _renew(tables: Tables, fact: Renewed, now: int) -> bool:
    record = records.live(tables, fact.session, now) if fact.session is not None else None
    for lease in fact.leases:
        counters.hold(tables, lease, fact.operation, fact.until)
    if fact.session is None:
        return True
    if record is None:
        return False
    record.hold_open(fact.operation, fact.until, now)
    records.write_back(tables, record)
    return True


def _release(tables: Tables, fact: Released, now: int) -> bool:
    record = records.live(tables, fact.session, now) if fact.session is not None else None
    released = [counters.release(tables, lease, fact.operation, now) for lease in fact.leases]
    if record is not None and record.open is not None:
        until = record.open.pop(fact.operation, 0)
        if until:
            records.write_back(tables, record)
        released.append(until > now)
    return any(released)
