"""A small world of sessions in which two stores live the same life; whatever they answer differently is a bug.

A `Step` is data: a method and a few small numbers. `World` turns it into the same call for each store and makes
the answers comparable (receipts become ordinals, sets are sorted, what may stay behind is left out).
"""

from __future__ import annotations

from itertools import chain, repeat
from random import Random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core import facts
from sessionware.core.admission import Admission, Admitted, Binding, Caps, Token
from sessionware.core.facts import Fact
from sessionware.core.ids import Addresses, SessionKey
from sessionware.core.ledger import CAP, Counter, Lease, Scope, Spend, Tally, When
from sessionware.core.session import Ended, EndReason, Link, Proof, Session
from sessionware.core.store import Created, Linked, Log, Move, Moved, Page, Query, Store, Unlinked
from sessionware.core.windows import NEVER, Calendar, Sliding, Total, Window
from sessionware.errors import Conflict, SessionwareError
from sessionware.testing import Maker, ManualClock

NUMBERS = 64  # more than all but the largest admission reads; the rest are 0
ADDRESSES = Addresses(bytes(range(32)))
USERS = ("alice", "bob", "*'%{}")
TOKENS = tuple("abcdefghijklmnop")
NAMES = ("work", "home", "")
IDLES = (0, 1000, 60_000, 1_800_000, 1_800_000, 1_800_000)
PAUSES = (1, 1, 50, 499, 1000, 1000, 5000, 30_000)
LONG_PAUSES = (60_000, 300_000, 3_600_000)
PAYLOADS = (b"", b"x", b"\0\xff'", b"longer" * 100)
COSTS = (-7, -1, 0, 0, 1, 1, 1, 2, 5, 50, CAP)
ALLOWANCES = (0, 1, 3, 10, 10, 100, CAP)
WINDOWS: tuple[Window, ...] = (Sliding(1000), Sliding(60_000), Calendar("day", "Europe/Berlin"), Total())
METHODS = (
    *["admit"] * 14, *["late"] * 2, *["create"] * 4, *["record"] * 8, *["wait"] * 6, *["link"] * 3, *["update"] * 3,
    *["move"] * 2, *["reap"] * 2, *["append"] * 2, *["rebind"] * 2, "unlink", "delete", "get", "list", "revoke", "tail",
)  # fmt: skip
COUNTING = ("admit", "behind", "behind", "wait")


class Step(Struct, frozen=True):
    """One call: the method, and numbers that choose among what there is when it is made."""

    method: str
    numbers: tuple[int, ...]


def any_step(random: Random, methods: tuple[str, ...] = METHODS) -> Step:
    return Step(random.choice(methods), tuple([random.randrange(1 << 16) for _ in range(NUMBERS)]))


class Choices:
    """Reads a step's numbers as choices."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self._numbers = chain(numbers, repeat(0))

    def of(self, options: Any) -> Any:
        return options[self.number(len(options))]

    def number(self, below: int) -> int:
        return next(self._numbers) % below

    def chance(self, percent: int) -> bool:
        return self.number(100) < percent


class World:
    """What both stores are asked, and what they were told before."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.make = Maker(ADDRESSES, clock)
        self.places = [
            self.make.session(name or None, user=user, proof=proof)
            for user in USERS
            for name, proof in zip(NAMES, (Proof.TOKEN, Proof.ID, Proof.TOKEN), strict=True)
        ] + [self.make.anonymous() for _ in range(3)]
        self.recent: list[Session] = []
        self.links: list[Link] = []
        self.moved: set[SessionKey] = set()
        self.operations = [self.make.operation() for _ in range(4)]

    def call(self, step: Step) -> tuple[str, Any]:
        """The method and its argument, the same for both stores. What depends on an answer is said by a function."""
        method = "admit" if step.method in {"late", "behind"} else step.method
        return method, getattr(self, "_" + step.method)(Choices(step.numbers))

    # -------------------------------------------------------------- the calls

    def _wait(self, choose: Choices) -> None:
        if choose.chance(8):
            self.clock.jump(choose.of((10_000, 100_000)))
        else:
            self.clock.advance(choose.of(LONG_PAUSES if choose.chance(10) else PAUSES))

    def _get(self, choose: Choices) -> SessionKey:
        return self._session(choose).key

    def _admit(self, choose: Choices) -> Admission:
        session = self._session(choose)
        key: SessionKey | None = session.key
        owner: bytes | None = session.birth.owner if session.birth.user_id else None
        is_another = choose.chance(10)
        if is_another:
            owner = choose.of((None, self.make.owner(choose.of(USERS))))
        link = None
        if choose.chance(25) and self.links:
            link = choose.of(self.links[-4:]).key
            key = choose.of((key, None, None))
        elif choose.chance(8):
            key = None
        new = None
        if key is not None and choose.chance(50) and not is_another:
            new = self.make.new(self._fresh(session, choose), self._caps(choose))
        leases = (self._lease(choose),) if choose.chance(25) else ()
        spends = self._spends(choose, session)
        return Admission(
            self.clock.now(), 0, self._operation(choose, percent=15), key, owner, self._token(choose), new, spends,
            leases, Binding(choose.of(("tools", "files")), choose.of("ab")) if choose.chance(30) else None, link,
            not choose.chance(20), choose.chance(70), choose.chance(10), choose.chance(15),
        )  # fmt: skip

    def _late(self, choose: Choices) -> Admission:
        """By a worker whose clock lags. Stores forget what has run out at different times, so that leases, operations
        and windows that ran out in between are left alone."""
        ask = self._admit(choose)
        spends = tuple([spend for spend in ask.spends if not isinstance(spend.span, Sliding)])
        return replace(ask, spends=spends, leases=(), opens=False, once=False).at(ask.now - choose.of((1, 700, 1500)))

    def _behind(self, choose: Choices) -> Admission:
        """By a worker whose clock lags by less than a window, about counters alone."""
        ask = Admission(self.clock.now(), 0, self.make.operation(), spends=self._spends(choose, self.places[0]))
        return ask.at(ask.now - choose.of((0, 1, 300, 700)))

    def _create(self, choose: Choices) -> tuple[Any, ...]:
        session = self._fresh(self._session(choose), choose)
        return self.make.new(session, self._caps(choose)), self._operation(choose, percent=15)

    def _update(self, choose: Choices) -> Any:
        payload = choose.of((None, *PAYLOADS))
        metadata = choose.of((None, *PAYLOADS))
        idle, stale = choose.of((*IDLES, None, None)), choose.chance(15)
        key, fallback, now = self._session(choose).key, self._session(choose), self.clock.now()

        def changed(found: Session | None) -> Session:
            session = found or replace(fallback, birth=replace(fallback.birth, key=key))
            life = {} if idle is None else {"idle": idle, "absolute_at": now + 60_000 if stale else 0}
            revision = session.revision - stale
            return replace(session, metadata=metadata, data=payload, revision=revision, **life)

        return key, changed

    def _rebind(self, choose: Choices) -> tuple[Any, ...]:
        return self._session(choose).key, choose.of(("tools", "files")), choose.of("ab-"), choose.of("abc-")

    def _link(self, choose: Choices) -> tuple[Any, ...]:
        session = self._session(choose)
        standing = [link for link in self.links[-4:] if link.session not in self.moved]
        if choose.chance(20) and standing:
            link = replace(choose.of(standing), upstream_id="again", seen_at=self.clock.now())
        else:
            link = self.make.link(session, f"legacy {len(self.links)}", handshake=choose.of(PAYLOADS))
            self.links.append(link)
        return link, self._operation(choose, percent=15), choose.of((1, 2, 3, 100))

    def _unlink(self, choose: Choices) -> SessionKey:
        return choose.of(self.links[-4:]).key if self.links else self.make.key_beside(self.places[0].key)

    def _move(self, choose: Choices) -> Any:
        session = self._session(choose)
        target = self._session(choose) if choose.chance(40) else session
        taken = choose.chance(10)
        key = target.key if taken else self.make.key_beside(session.key)
        birth = replace(target.birth, key=key, name=None if choose.chance(50) else target.birth.name)
        caps, stale = self._caps(choose), choose.chance(10)
        self.places.append(replace(session, birth=birth))
        self.recent.append(self.places[-1])
        del self.places[12:-8]
        self.moved.add(session.key)
        return session.key, lambda found: Move(session.key, birth, (found.revision if found else 1) - stale, caps)

    def _delete(self, choose: Choices) -> tuple[Any, ...]:
        return self._session(choose).key, choose.of((EndReason.ENDED, EndReason.UPSTREAM_LOST))

    def _list(self, choose: Choices) -> Query:
        owner = self._session(choose).birth.owner if choose.chance(50) else None
        return Query(owner, 0, "", choose.of((0, 1, 2, 100)))

    def _reap(self, choose: Choices) -> tuple[int, int | None]:
        return choose.of((0, 1000, 1000, 1000)), choose.of((None, None, 30_000, 600_000))

    def _append(self, choose: Choices) -> tuple[Any, ...]:
        return self._session(choose).key, choose.of(tuple(Log)), choose.of(PAYLOADS), choose.of((0, 1, 3, 100))

    def _tail(self, choose: Choices) -> tuple[Any, ...]:
        return self._session(choose).key, choose.of(tuple(Log)), choose.of((0, 1, 2, 100))

    def _revoke(self, choose: Choices) -> facts.Revocation:
        now = self.clock.now()
        if choose.chance(50):
            token = self._token(choose, percent=100)
            assert token is not None
            return facts.TokenRevocation(token.hash, choose.of((NEVER, now + 1000, now + 60_000)))
        return facts.OwnerRevocation(
            0, self.make.owner(choose.of(USERS)), now - choose.of((0, 1000, 60_000, 600_000, 600_000))
        )

    def _record(self, choose: Choices) -> list[Any]:
        """Facts; a number stands for the receipt of that many ends ago."""
        return [self._fact(choose) for _ in range(1 + choose.number(2))]

    def _fact(self, choose: Choices) -> Fact | int:  # noqa: PLR0911  # one for each kind of fact
        session, now = self._session(choose), self.clock.now()
        limits = {choose.of(("calls", "at-once")): choose.of((None, 0, 2, 20))}
        until = choose.of((NEVER, now, now + 1000, now + 60_000))
        match choose.number(9):
            case 0:
                return facts.Touched(session.key, now - choose.of((0, 500, 5000)), choose.number(3))
            case 1:
                late = choose.of((0, 0, 1, 2))
                spends = tuple(
                    [replace(spend, window=max(spend.window - late, 0)) for spend in self._spends(choose, session)]
                )
                operation = self._operation(choose, percent=20)
                return facts.Settled(0, session.birth.owner, operation, choose.of((session.key, None)), spends)
            case 2:
                until = now + choose.of((10_000, 30_000))
                key = choose.of((session.key, None))
                return facts.Renewed(0, self._operation(choose, percent=90), key, (self._lease(choose),), until)
            case 3:
                key = choose.of((session.key, None))
                return facts.Released(0, self._operation(choose, percent=90), key, (self._lease(choose),))
            case 4:
                return facts.SessionLimits(session.key, limits, until)
            case 5:
                return facts.UserLimits(0, self.make.owner(choose.of(USERS)), limits, until)
            case 6:
                return facts.OrgLimits(self.make.owner(choose.of(USERS)), limits, until)
            case 7:
                return facts.Interrupted(session.key)
            case _:
                return choose.number(4)

    # -------------------------------------------------------------- what they are made of

    def _session(self, choose: Choices) -> Session:
        """Mostly one of those that were made or moved last: they are likely to live."""
        found: Session = choose.of(self.recent[-5:] if self.recent and choose.chance(75) else self.places)
        return found

    def _fresh(self, session: Session, choose: Choices) -> Session:
        now = self.clock.now()
        self.recent.append(session)
        birth = replace(
            session.birth, created_at=now, started_by=choose.of((b"", self.make.token(choose.of(TOKENS)).hash))
        )
        idle, absolute = choose.of(IDLES), choose.of((0, 0, 0, now + 3000, now + 3_600_000))
        expires_at = min([end for end in (now + idle if idle else NEVER, absolute or NEVER) if end])
        return replace(
            session, birth=birth, idle=idle, absolute_at=absolute, seen_at=now, expires_at=expires_at,
            data=choose.of(PAYLOADS), metadata=choose.of(PAYLOADS),
        )  # fmt: skip

    def _operation(self, choose: Choices, *, percent: int) -> bytes:
        """Mostly a new one; sometimes one of a few that come again and again."""
        again, known = choose.chance(percent), choose.of(self.operations)
        fresh = self.make.operation()
        return known if again else fresh

    def _token(self, choose: Choices, *, percent: int = 30) -> Token | None:
        if not choose.chance(percent):
            return None
        return self.make.token(choose.of(TOKENS), issued_at=self.clock.now() - choose.of((0, 0, 1000, 100_000)))

    def _caps(self, choose: Choices) -> Caps:
        levels = (self.make.level("MAX_SESSIONS", allowance=6), self.make.level("client", allowance=4))
        return Caps(choose.of((0, 0, 1, 2, 3)), choose.chance(70), levels[: choose.of((0, 0, 1, 2))])

    def _lease(self, choose: Choices) -> Lease:
        scope = choose.of((Scope.USER, Scope.GLOBAL))
        allowance, over, binding = choose.of((0, 1, 2)), choose.of(USERS), not choose.chance(20)
        return self.make.lease(allowance=allowance, scope=scope, over=over, binding=binding)

    def _spends(self, choose: Choices, session: Session) -> tuple[Spend, ...]:
        scopes = (Scope.SESSION, Scope.USER, Scope.CLIENT)[: choose.of((0, 1, 2, 3))]
        return tuple([
            self.make.spend(
                allowance=choose.of(ALLOWANCES), cost=choose.of(COSTS), scope=scope, span=choose.of(WINDOWS),
                over=session.birth.tag if scope is Scope.USER else "one", binding=not choose.chance(10),
                when=When.CREATED if choose.chance(10) else When.ALWAYS,
            )
            for scope in scopes
        ])  # fmt: skip


class Life:
    """One store's life in the world: makes the calls, and makes the answers comparable."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self._store = store
        self._clock = clock
        self._ordinals: dict[str, int] = {}
        self._receipts: list[str] = []

    async def answer(self, method: str, what: Any) -> Any:
        """What the store answers; an error is an answer."""
        try:
            return await getattr(self, "_" + method)(what, self._clock.now())
        except Conflict as error:
            return "Conflict", error.revision
        except (SessionwareError, ValueError) as error:
            return type(error).__name__

    async def _wait(self, _: None, now: int) -> int:
        return now

    async def _get(self, key: SessionKey, now: int) -> Any:
        found = await self._store.get(key, now=now)
        return found and replace(found, links=_sorted(found.links))

    async def _admit(self, ask: Admission, now: int) -> Admitted:
        got = await self._store.admit(ask)
        session = got.session.without_payload() if got.session is not None and ask.once else got.session
        reason = got.reason if ask.now == now else None  # a store may have forgotten it since
        link, evicted = got.link and _bare(got.link), self._ended(got.evicted)
        tallies = tuple([found and _kept(found) for found in got.tallies])
        return replace(got, session=session, tallies=tallies, link=link, reason=reason, evicted=evicted)

    async def _create(self, what: tuple[Any, ...], now: int) -> Created:
        got = await self._store.create(what[0], operation=what[1], now=now)
        return replace(got, session=got.session and got.session.without_payload(), evicted=self._ended(got.evicted))

    async def _update(self, what: tuple[Any, ...], now: int) -> Session:
        key, changed = what
        return (await self._store.update(changed(await self._store.get(key, now=now)), now=now)).without_payload()

    async def _rebind(self, what: tuple[Any, ...], now: int) -> str | None:
        key, pool, was, to = what
        was, to = [None if each == "-" else each for each in (was, to)]
        return await self._store.rebind(key, pool=pool, was=was, to=to, now=now)

    async def _link(self, what: tuple[Any, ...], now: int) -> Linked:
        got = await self._store.link(what[0], operation=what[1], now=now, at_most=what[2])
        return Linked(_bare(got.link), _sorted([_bare(link) for link in got.unlinked]))

    async def _unlink(self, key: SessionKey, now: int) -> Unlinked | None:
        got = await self._store.unlink(key, now=now)
        return got and Unlinked(_bare(got.link), self._ended((got.ended,))[0] if got.ended else None)

    async def _move(self, what: tuple[Any, ...], now: int) -> Moved:
        key, moving = what
        got = await self._store.move(moving(await self._store.get(key, now=now)), now=now)
        unlinked = _sorted([_bare(link) for link in got.unlinked])
        return Moved(got.session.without_payload(), unlinked, self._ended(got.evicted))

    async def _delete(self, what: tuple[Any, ...], now: int) -> Any:
        got = await self._store.delete(what[0], now=now, reason=what[1])
        return got and self._ended((got,))

    async def _list(self, query: Query, now: int) -> Any:
        """All pages: how long each was, and what they showed in all."""
        page = await self._store.list(query, now=now)
        pages: list[Page] = [page]
        while page.cursor:
            page = await self._store.list(replace(query, cursor=page.cursor), now=now)
            pages.append(page)
        shown = sorted([session for each in pages for session in each.sessions], key=lambda each: each.key.hash)
        return [(len(each.sessions), each.total, each.upstreams) for each in pages], shown

    async def _reap(self, what: tuple[int, int | None], now: int) -> Any:
        return self._ended(await self._store.reap(now=now, limit=what[0], idle_for=what[1]))

    async def _append(self, what: tuple[Any, ...], now: int) -> int:
        return await self._store.append(what[0], what[1], what[2], keep=what[3], now=now)

    async def _tail(self, what: tuple[Any, ...], now: int) -> list[bytes]:
        return list(await self._store.tail(what[0], what[1], what[2], now=now))

    async def _revoke(self, revocation: facts.Revocation, now: int) -> Any:
        return self._ended(await self._store.revoke(revocation, now=now))

    async def _record(self, what: list[Any], now: int) -> list[bool]:
        return list(await self._store.record([self._receipt(fact) for fact in what], now=now))

    def _receipt(self, fact: Fact | int) -> Fact:
        if not isinstance(fact, int):
            return fact
        recent = self._receipts[-1 - fact :][:1]
        return facts.Acknowledged(0, recent[0] if recent else "none")

    def _ended(self, ended: Any) -> tuple[Any, ...]:
        """Ends in a fixed order, each receipt by its ordinal, without what may stay behind."""
        shown = []
        for each in sorted(ended, key=self._place):
            if each.receipt not in self._ordinals:
                self._ordinals[each.receipt] = len(self._ordinals)
                self._receipts.append(each.receipt)
            links = _sorted([_bare(link) for link in each.session.links])
            session = replace(each.session.without_payload(), links=links)
            shown.append(Ended(session, each.reason, each.ended_at, str(self._ordinals[each.receipt])))
        return tuple(shown)

    def _place(self, ended: Ended) -> tuple[Any, ...]:
        """The order of ends in one answer; a name may end several times in one millisecond."""
        session = ended.session
        told = self._ordinals.get(ended.receipt, -1)
        life = session.birth.created_at, session.seen_at, session.hits, session.revision
        return session.key.hash, ended.ended_at, ended.reason, told, *life


def _kept(tally: Tally) -> Tally:
    """An empty counter may have been dropped, and is then in the window of whoever asks."""
    empty = tally.counter.used == tally.counter.before == 0
    return replace(tally, counter=Counter(0, 0, 0)) if empty else tally


def _bare(link: Link) -> Link:
    """Without the handshake, which travels with `get` alone."""
    return replace(link, handshake=b"")


def _sorted(links: Any) -> tuple[Link, ...]:
    return tuple(sorted(links, key=lambda link: link.key.hash))
