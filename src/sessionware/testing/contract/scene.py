"""The store under examination with a clock and a maker beside it, so that a law reads as a story."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from msgspec.structs import replace

from sessionware.core.admission import Admitted, Caps, Outcome
from sessionware.core.facts import Event, Fact, Revocation
from sessionware.core.ids import SessionKey
from sessionware.core.ledger import Spend
from sessionware.core.session import Ended, EndReason, Link, Session
from sessionware.core.store import Created, Making, Page, Query, Store
from sessionware.testing.build import NO_CAPS, Maker
from sessionware.testing.clock import ManualClock

HEAR_WITHIN_S: Final = 3.0  # the law says 1 s; the rest is for a busy machine


class Scene:
    """Calls the store at the clock's time."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.make = Maker.of(store)

    @property
    def now(self) -> int:
        return self.clock.now()

    def later(self, ms: int) -> int:
        """Let time pass."""
        return self.clock.advance(ms)

    async def create(self, session: Session, caps: Caps = NO_CAPS, *, operation: bytes | None = None) -> Created:
        operation = self.make.operation() if operation is None else operation
        return await self.store.create(self.make.new(session, caps), operation=operation, now=self.now)

    async def start(self, name: str | None = "work", *, caps: Caps = NO_CAPS, **fields: Any) -> Session:
        """A session that was made: as it was handed in, with its payload."""
        session = self.make.new(self.make.session(name, **fields), caps).session
        created = await self.create(session, caps)
        assert created.outcome is Making.CREATED, f"create answered {created}"
        return session

    async def start_anonymous(self, *, caps: Caps = NO_CAPS, **fields: Any) -> Session:
        session = self.make.new(self.make.anonymous(**fields), caps).session
        created = await self.create(session, caps)
        assert created.outcome is Making.CREATED, f"create answered {created}"
        return session

    async def admit(self, about: Session | SessionKey | None = None, **fields: Any) -> Admitted:
        """One request for a session, in the name of its owner; `fields` are those of an Admission."""
        return await self.store.admit(self.make.ask(about, **fields))

    async def outcome(self, about: Session | SessionKey | None = None, **fields: Any) -> Outcome:
        return (await self.admit(about, **fields)).outcome

    async def why_gone(self, session: Session, **fields: Any) -> EndReason | None:
        """What its owner is told of a session that is no more."""
        answer = await self.admit(session, touch=False, **fields)
        assert answer.outcome is Outcome.UNKNOWN, f"the session is not gone: {answer}"
        return answer.reason

    async def get(self, session: Session | SessionKey) -> Session | None:
        key = session.key if isinstance(session, Session) else session
        return await self.store.get(key, now=self.now)

    async def read(self, session: Session | SessionKey) -> Session:
        """The session, which must be alive."""
        found = await self.get(session)
        assert found is not None, "the session is gone"
        return found

    async def lives(self, session: Session) -> bool:
        return await self.get(session) is not None

    async def update(self, session: Session, **changes: Any) -> Session:
        return await self.store.update(replace(session, **changes), now=self.now)

    async def delete(self, session: Session, reason: EndReason = EndReason.ENDED) -> Ended | None:
        return await self.store.delete(session.key, now=self.now, reason=reason)

    async def end(self, session: Session, reason: EndReason = EndReason.ENDED) -> Ended:
        """End a session that lives."""
        ended = await self.delete(session, reason)
        assert ended is not None, "the session was gone already"
        return ended

    async def reap(self, limit: int = 1000, *, idle_for: int | None = None) -> Sequence[Ended]:
        return await self.store.reap(now=self.now, limit=limit, idle_for=idle_for)

    async def record(self, *facts: Fact) -> list[bool]:
        return list(await self.store.record(facts, now=self.now))

    async def revoke(self, revocation: Revocation) -> Sequence[Ended]:
        return await self.store.revoke(revocation, now=self.now)

    async def link(self, session: Session, legacy_id: str = "legacy", **fields: Any) -> Link:
        """A link that was put into its session."""
        link = self.make.link(session, legacy_id, **fields)
        return (await self.store.link(link, operation=self.make.operation(), now=self.now)).link

    async def page(self, **query: Any) -> Page:
        return await self.store.list(Query(**query), now=self.now)

    async def listed(self, **query: Any) -> list[Session]:
        """All pages of a listing, one after the other."""
        found: list[Session] = []
        page = await self.page(**query)
        found += page.sessions
        while page.cursor:
            page = await self.page(**query, cursor=page.cursor)
            found += page.sessions
        return found

    async def total(self, **query: Any) -> int:
        return (await self.page(**query, limit=0)).total

    async def used(self, spend: Spend, about: Session | None = None) -> int:
        """What a counter holds in the current window, without taking anything from it."""
        looking = replace(spend.at(self.now), cost=0, binding=False)
        tally = (await self.admit(about, spends=(looking,), touch=False)).tallies[0]
        assert tally is not None, "the spend took no part"
        return tally.counter.used


async def hear(watch: AsyncIterator[Event]) -> Event:
    """The next event, or a failure that says that none came."""
    try:
        async with asyncio.timeout(HEAR_WITHIN_S):
            return await anext(watch)
    except TimeoutError:
        raise AssertionError(f"the watcher heard nothing for {HEAR_WITHIN_S:g} s") from None


async def hear_of(watch: AsyncIterator[Event], event: Event) -> None:
    """Listen until `event` comes; others may come before it."""
    heard: list[Event] = []
    while event not in heard:
        assert len(heard) < 1000, f"the watcher never heard {event}, but {heard[:5]}"
        heard.append(await hear(watch))
