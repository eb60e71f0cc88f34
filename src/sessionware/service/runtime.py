"""What every part of the service works with, handed over once by whoever assembles it."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from msgspec import Struct, field

from sessionware.core.facts import Acknowledged
from sessionware.core.identity import Identity
from sessionware.core.ids import Addresses, SessionKey
from sessionware.core.limits import RESOURCE_SYNONYMS
from sessionware.core.policy import Policy
from sessionware.core.session import Ended, Link, Override, Session
from sessionware.core.store import Store
from sessionware.errors import StoreUnavailable
from sessionware.service.making import Entropy, Ground
from sessionware.service.terms import Terms
from sessionware.telemetry import Action, Endings, Feature, Observers, Reason, Telemetry
from sessionware.telemetry.health import Health

Locks = WeakValueDictionary[SessionKey, asyncio.Lock]

OPERATION_PREFIX_BYTES: Final = 8  # random: no two runtimes share one; the rest counts
_NO_OVERRIDES: Final[Mapping[str, Override]] = {}


class Reaping(Protocol):
    """Whoever removes what has expired, now; answers the handles of what ended."""

    async def reap(self, *, idle_for: int | None = None) -> list[str]: ...


def operations() -> Callable[[], bytes]:
    """Ids for calls to the store, none used before: a random prefix and a number, many times cheaper than entropy."""
    prefix, numbers = secrets.token_bytes(OPERATION_PREFIX_BYTES), itertools.count()

    def operation() -> bytes:
        return prefix + next(numbers).to_bytes(8, "big")

    return operation


async def nothing_pending(_: SessionKey) -> Sequence[Mapping[str, Any]]:
    """Without a proxy nobody knows what runs."""
    return ()


def no_overrides(_: bytes) -> Mapping[str, Override]:
    return _NO_OVERRIDES


def leave_upstream(_: Sequence[Link]) -> None:
    """Without a proxy no link has an upstream to be told."""


class Runtime(Struct, frozen=True, kw_only=True):
    """The store and all that goes with it.

    `operation` makes an id for one call to the store, never used before. `pending` lists what a session is doing
    right now; `unlinked` is told of legacy MCP sessions whose upstream must be closed although their session lives
    on under another id; `org_limits` are an organisation's overrides as this worker knows them. `locks` let writers
    of one session in this worker wait for each other. `resources` are the ones that limits speak of, and those that
    somebody was told of that none does.
    """

    store: Store
    policy: Policy
    terms: Terms
    telemetry: Telemetry
    observers: Observers
    endings: Endings
    reaper: Reaping
    health: Health
    pending: Callable[[SessionKey], Awaitable[Sequence[Mapping[str, Any]]]] = nothing_pending
    unlinked: Callable[[Sequence[Link]], None] = leave_upstream
    org_limits: Callable[[bytes], Mapping[str, Override]] = no_overrides
    entropy: Entropy = secrets.token_bytes
    operation: Callable[[], bytes] = field(default_factory=operations)
    locks: Locks = field(default_factory=WeakValueDictionary)
    resources: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.resources.update(limit.resource for limit in self.policy.limits.values())
        self.resources.update(RESOURCE_SYNONYMS)

    @property
    def addresses(self) -> Addresses:
        return self.store.addresses

    @property
    def ground(self) -> Ground:
        return Ground(self.terms, self.addresses)

    def org_limits_of(self, identity: Identity | None) -> Mapping[str, Override]:
        """The overrides of the organisation that somebody belongs to; none for nobody and for no organisation."""
        return self.org_limits(identity.org) if identity is not None and identity.org else _NO_OVERRIDES

    def now(self) -> int:
        return self.store.clock.now()

    def tell_started(self, session: Session) -> None:
        self.telemetry.started(session)
        self.observers.started(session)

    async def tell_ended(self, ends: Sequence[Ended]) -> None:
        """Tell everybody of these ends and acknowledge them; an acknowledgement that is lost only tells them twice."""
        if not ends:
            return
        await self._acknowledge(await self.endings.tell(ends))

    async def end(self, key: SessionKey) -> Ended | None:
        """End a session and tell everybody; None when there is none: of many who try at once exactly one does."""
        ended = await self.store.delete(key, now=self.now())
        if ended is not None:
            await self.tell_ended([ended])
        return ended

    async def acknowledge(self, ends: Sequence[Ended]) -> None:
        """Take these ends off the list without telling anybody: the session lives on under another id."""
        await self._acknowledge([Acknowledged(ended.session.key.bucket, ended.receipt) for ended in ends])

    async def _acknowledge(self, receipts: Sequence[Acknowledged]) -> None:
        try:
            await self.store.record(receipts, now=self.now())
        except StoreUnavailable as error:
            self.telemetry.degraded(Feature.FACTS, Reason.STORE_DOWN, Action.DELAYED, error=error)
