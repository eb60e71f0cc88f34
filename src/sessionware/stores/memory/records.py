"""The only place that holds, in memory, the session records and the indexes over them."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from msgspec.structs import replace

from sessionware.core.admission import VICTIM_SCAN
from sessionware.core.ledger import Counter
from sessionware.core.rules import index_lags
from sessionware.core.session import Link, Session
from sessionware.core.store import Log
from sessionware.core.windows import NEVER
from sessionware.stores.memory.groups import Groups
from sessionware.stores.memory.wheel import Wheel

COMPACT_ABOVE: Final = 64  # a short list is not worth rebuilding


class Record:
    """One session and all that dies with it."""

    __slots__ = ("counters", "indexed_at", "is_standing", "links", "logs", "open", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.is_standing = True
        self.indexed_at = 0
        self.counters: dict[bytes, Counter] | None = None
        self.open: dict[bytes, int] | None = None
        self.logs: dict[Log, tuple[int, list[bytes]]] | None = None
        self.links: dict[bytes, Link] | None = None

    def is_open(self, now: int) -> bool:
        return bool(self.open) and any(until > now for until in self.open.values())  # type: ignore[union-attr]

    def hold_open(self, operation: bytes, until: int, now: int) -> None:
        if self.open is None:
            self.open = {}
        for stale in [each for each, end in self.open.items() if end <= now]:
            del self.open[stale]
        self.open[operation] = until

    def all_links(self) -> tuple[Link, ...]:
        return tuple(self.links.values()) if self.links else ()

    def with_links(self) -> Session:
        """The session as `get` shows it."""
        return replace(self.session, links=self.all_links()) if self.links else self.session


def place_of(record: Record) -> tuple[int, bytes]:
    """Where a record stands in the order of creation."""
    birth = record.session.birth
    return birth.created_at, birth.key.hash


class Records:
    """Session records by hash, by owner, by starting token, by creation and by expiry."""

    def __init__(self) -> None:
        self._records: dict[bytes, Record] = {}
        self.by_hash = self._records.get  # on every request: the dict's own, without a call between
        self._by_owner = Groups()
        self._by_token = Groups()
        self._ordered: list[Record] = []  # may hold the dead, until there are more of them than living
        self._wheel = Wheel()
        self.upstreams: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, session: Session) -> Record:
        record = Record(session)
        hash_, birth = session.birth.key.hash, session.birth
        self._records[hash_] = record
        self._by_owner.add(birth.owner, hash_)
        if birth.started_by:
            self._by_token.add(birth.started_by, hash_)
        if not self._ordered or place_of(self._ordered[-1]) < place_of(record):
            self._ordered.append(record)
        else:
            insort(self._ordered, record, key=place_of)
        self.count_bindings(session.bindings, 1)
        self._file(record)
        return record

    def remove(self, record: Record) -> None:
        birth = record.session.birth
        hash_ = birth.key.hash
        del self._records[hash_]
        record.is_standing = False
        self.count_bindings(record.session.bindings, -1)
        self._by_owner.discard(birth.owner, hash_)
        self._by_token.discard(birth.started_by, hash_)
        if len(self._ordered) > COMPACT_ABOVE and len(self._ordered) > 2 * len(self._records):
            self._ordered = [record for record in self._ordered if record.is_standing]

    def put(self, record: Record, session: Session) -> None:
        """Replace the session of a record; the expiry index follows lazily."""
        record.session = session
        if index_lags(session, record.indexed_at):
            self._file(record)

    def owned_count(self, owner: bytes) -> int:
        return self._by_owner.count(owner)

    def owned(self, owner: bytes) -> list[Record]:
        """All records of an owner, oldest first."""
        return self._sorted(self._by_owner.members(owner))

    def oldest_owned(self, owner: bytes) -> list[Record]:
        """The oldest records of an owner, as many as one call may look at."""
        return self.owned(owner)[:VICTIM_SCAN]

    def started_by(self, token: bytes) -> list[Record]:
        return self._sorted(self._by_token.members(token))

    def after(self, created_at: int, hash_: bytes) -> Iterator[Record]:
        """All records in order of creation, from behind a place in that order."""
        place = bisect_right(self._ordered, (created_at, hash_), key=place_of)
        return (record for record in islice(self._ordered, place, None) if record.is_standing)

    def live_after(self, created_at: int, hash_: bytes, *, now: int, count: int) -> list[Record]:
        """The next `count` live records behind a place, taken in slices: a listing walks past many."""
        ordered, found = self._ordered, list[Record]()
        place = bisect_right(ordered, (created_at, hash_), key=place_of)
        while place < len(ordered) and len(found) < count:
            ahead = ordered[place : place + count]
            found += [record for record in ahead if record.is_standing and now < record.session.expires_at]
            place += count
        return found[:count]

    def due(self, now: int, limit: int) -> list[Record]:
        """Records whose time has come; those that were touched since they were filed are filed anew."""
        found: dict[bytes, Record] = {}
        while len(found) < limit:
            hashes = self._wheel.take(now, limit - len(found), is_due=lambda hash_: self._is_due(hash_, now))
            if not hashes:
                break
            for hash_ in hashes:
                record = self._records.get(hash_)
                if record is None or record.indexed_at > now:
                    continue
                if record.session.expires_at <= now:
                    found[hash_] = record
                else:
                    self._file(record)
        return list(found.values())

    def _is_due(self, hash_: bytes, now: int) -> bool:
        record = self._records.get(hash_)
        return record is None or record.indexed_at <= now

    def count_bindings(self, bindings: dict[str, str], change: int) -> None:
        for place in bindings.items():
            count = self.upstreams.get(place, 0) + change
            if count:
                self.upstreams[place] = count
            else:
                del self.upstreams[place]

    def _sorted(self, hashes: Iterable[bytes]) -> list[Record]:
        return sorted([self._records[hash_] for hash_ in hashes], key=place_of)

    def _file(self, record: Record) -> None:
        record.indexed_at = record.session.expires_at
        if record.indexed_at < NEVER:  # what never comes due would stay in the wheel for ever
            self._wheel.file(record.session.birth.key.hash, record.indexed_at)
