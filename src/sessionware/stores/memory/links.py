"""The only place that keeps, in memory, the legacy MCP sessions inside our sessions."""

from __future__ import annotations

from msgspec.structs import replace

from sessionware.core.ids import SessionKey
from sessionware.core.session import Link
from sessionware.stores.memory.records import Record


class Links:
    """Links by their key; each record also knows its own."""

    def __init__(self) -> None:
        self._links: dict[bytes, Link] = {}

    def get(self, key: SessionKey) -> Link | None:
        return self._links.get(key.hash)

    def add(self, record: Record, link: Link, at_most: int) -> tuple[Link, ...]:
        """Put a link into its session; answers the least recently seen ones that had to go for it."""
        if record.links is None:
            record.links = {}
        known = record.links.get(link.key.hash)
        self._put(record, link)
        excess = len(record.links) - at_most if known is None else 0
        others = [each for each in record.links.values() if each.key != link.key]
        doomed = sorted(others, key=lambda each: (each.seen_at, each.key.hash))[: max(excess, 0)]
        for each in doomed:
            self.remove(record, each)
        return tuple(doomed)

    def touch(self, record: Record, link: Link, now: int) -> Link:
        seen = replace(link, seen_at=max(now, link.seen_at))
        self._put(record, seen)
        return seen

    def remove(self, record: Record, link: Link) -> None:
        self._links.pop(link.key.hash, None)
        if record.links is not None:
            record.links.pop(link.key.hash, None)

    def remove_all(self, record: Record) -> tuple[Link, ...]:
        links = record.all_links()
        for link in links:
            self.remove(record, link)
        return links

    def carry(self, old: Record, new: Record) -> None:
        """Move all links from one record to another: the session got a new id."""
        for link in old.all_links():
            self._put(new, replace(link, session=new.session.key))
        old.links = None

    def _put(self, record: Record, link: Link) -> None:
        if record.links is None:
            record.links = {}
        record.links[link.key.hash] = self._links[link.key.hash] = link
