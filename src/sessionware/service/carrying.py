"""The only place that takes sessions out of a store as they lie there, and puts them into another of the same salt.

What a session holds is sealed on the way as it is at rest: bound to its session, under the first of SECRET_KEYS.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import NewSession
from sessionware.core.ids import Addresses
from sessionware.core.session import Link, Session
from sessionware.core.store import PAGE_MAX, Log, Making, Query
from sessionware.errors import SessionNotFound
from sessionware.service.runtime import Runtime
from sessionware.stores.sealing import Place, Sealer

ITEMS_MAX: Final = 100_000  # of one log: whatever its bound is, this is more
HANDSHAKE: Final = "handshake"


class Carried(Struct, frozen=True):
    """One session with its links and its logs; metadata, data, handshakes and items of logs are sealed."""

    session: Session
    logs: dict[Log, list[bytes]]


class Put(StrEnum):
    """What became of a session that was carried somewhere."""

    MADE = "made"
    THERE = "there"
    EXPIRED = "expired"


async def taken(runtime: Runtime, sealer: Sealer) -> AsyncIterator[Carried]:
    """Every live session, oldest first; one that ends meanwhile may be missing. Raises PayloadUnreadable."""
    store, cursor = runtime.store, ""
    while True:
        page = await store.list(Query(cursor=cursor, limit=PAGE_MAX), now=runtime.now())
        for listed in page.sessions:
            session = await store.get(listed.key, now=runtime.now())
            if session is None:
                continue
            try:
                logs = {log: [*await store.tail(session.key, log, ITEMS_MAX, now=runtime.now())] for log in Log}
            except SessionNotFound:
                continue
            yield _sealed(Carried(session, {log: items for log, items in logs.items() if items}), sealer)
        cursor = page.cursor
        if not cursor:
            return


async def put(runtime: Runtime, carried: Carried, sealer: Sealer) -> Put:
    """Make the session here, if it still lives and is not here yet. Raises PayloadUnreadable, before it writes.

    It is in nobody's way here: it does not count in MAX_SESSIONS and its like, and evicts nobody.
    """
    opened, now, store = _opened(carried, sealer), runtime.now(), runtime.store
    session = _at_home(opened.session, runtime.addresses)
    if not session.is_live(now):
        return Put.EXPIRED
    created = await store.create(NewSession(replace(session, links=())), operation=runtime.operation(), now=now)
    if created.outcome is not Making.CREATED:
        return Put.THERE
    for link in session.links:
        await store.link(link, operation=runtime.operation(), now=now)
    for log, items in opened.logs.items():
        for item in items:
            await store.append(session.key, log, item, keep=len(items), now=now)
    return Put.MADE


def _at_home(session: Session, addresses: Addresses) -> Session:
    """The same session, where its tag lies here: a Redis Cluster has other buckets than the other engines.

    What it holds is not taken along.
    """
    bucket = addresses.bucket(session.birth.tag)
    key = replace(session.key, bucket=bucket)
    links = tuple([replace(each, key=replace(each.key, bucket=bucket), session=key) for each in session.links])
    return replace(session, birth=replace(session.birth, key=key, holds=()), links=links)


def _sealed(carried: Carried, sealer: Sealer) -> Carried:
    return _turned(carried, lambda plain, place: sealer.seal(plain, place=place))


def _opened(carried: Carried, sealer: Sealer) -> Carried:
    return _turned(carried, lambda sealed, place: sealer.open(sealed, place=place))


def _turned(carried: Carried, turn: Callable[[bytes, Place], bytes]) -> Carried:
    """The same with every payload turned, each where it lies."""
    session = carried.session
    return Carried(
        replace(
            session,
            metadata=turn(session.metadata or b"", _place(session, "metadata")),
            data=turn(session.data or b"", _place(session, "data")),
            links=tuple([replace(each, handshake=turn(each.handshake, _place_in(each))) for each in session.links]),
        ),
        {log: [turn(item, _place(session, log.value)) for item in items] for log, items in carried.logs.items()},
    )


def _place(session: Session, kind: str) -> Place:
    return Place(session.key, session.birth.owner, kind)


def _place_in(link: Link) -> Place:
    return Place(link.key, link.owner, HANDSHAKE)
