"""Everything a memory store knows, and the one way in which a session ends in it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from sessionware.core.facts import Event, OrgLimitsNow, SessionGone
from sessionware.core.ids import SessionKey
from sessionware.core.session import Ended, EndReason, Override, is_idle_longer_than
from sessionware.stores.broadcast import Broadcast
from sessionware.stores.memory.counters import Counters, LeaseSets
from sessionware.stores.memory.ends import EndedList, Tombstones
from sessionware.stores.memory.links import Links
from sessionware.stores.memory.operations import Operations
from sessionware.stores.memory.records import Record, Records

SWEEP_PER_REAP = 10_000  # stale counters dropped by one reap


class OwnerRow(Struct):
    """What is known of an owner apart from the sessions: a revocation instant and other allowances."""

    not_before: int = -1
    limits: dict[str, Override] = {}


class State:
    """The tables of one memory store."""

    def __init__(self, counters_cap: int) -> None:
        self.records = Records()
        self.counters = Counters(counters_cap)
        self.leases = LeaseSets()
        self.stones = Tombstones()
        self.ended = EndedList()
        self.operations = Operations()
        self.links = Links()
        self.owners: dict[bytes, OwnerRow] = {}
        self.orgs: dict[bytes, dict[str, Override]] = {}
        self.tokens: dict[bytes, int] = {}
        self.events = Broadcast(self._greeting)

    def live(self, key: SessionKey, now: int) -> Record | None:
        record = self.records.by_hash(key.hash)
        return record if record is not None and now < record.session.expires_at else None

    def owner_row(self, owner: bytes) -> OwnerRow:
        """The owner's row, made if there is none, for writing."""
        return self.owners.setdefault(owner, OwnerRow())

    def release_link(self, key: SessionKey, *, keeper: Record) -> None:
        """Take a link out of the session that has it now, unless that is the keeper: it belongs to one."""
        link = self.links.get(key)
        holder = self.records.by_hash(link.session.hash) if link is not None else None
        if link is not None and holder is not None and holder is not keeper:
            self.links.remove(holder, link)

    def end(self, record: Record, reason: EndReason, now: int) -> Ended:
        """End a session: out of every index, its levels released, its end told and kept until acknowledged."""
        session = record.with_links()
        self.links.remove_all(record)
        self.records.remove(record)
        for level in session.birth.holds:
            self.counters.add_level(level, -1)
        self.stones.set(session, reason, now)
        self.events.publish(SessionGone(session.key, reason))
        return self.ended.add(session, reason, now)

    def reap(self, now: int, limit: int, idle_for: int | None) -> list[Ended]:
        """End what has expired (and what is idle for longer than asked), then collect garbage."""
        ended = [self.end(record, EndReason.EXPIRED, now) for record in self.records.due(now, limit)]
        if idle_for is not None and len(ended) < limit:
            idle = [
                record
                for record in self.records.after(-1, b"")
                if is_idle_longer_than(record.session, now, idle_for) and not record.is_open(now)
            ]
            ended += [self.end(record, EndReason.EXPIRED, now) for record in idle[: limit - len(ended)]]
        ended += self.ended.claim_again(now, limit - len(ended))
        self.stones.sweep(now)
        self.operations.sweep(now)
        self.leases.sweep(now)
        self.counters.sweep(now, SWEEP_PER_REAP)
        for token in [token for token, until in self.tokens.items() if until <= now]:
            del self.tokens[token]
        return ended

    def _greeting(self) -> Sequence[Event]:
        return [OrgLimitsNow(org, dict(limits)) for org, limits in self.orgs.items() if limits]
