"""The only place that takes, books, reserves and settles the amounts that an app names.

await spend(runtime, stand, {"tokens": 532})            takes all of it, or raises
await charge(runtime, stand, {"tokens": 532})           books what has happened
await release(runtime, stand, {"storage_mb": 3})        brings a level down
async with reserve(runtime, stand, {"tokens": 1000}) as hold:
await hold.settle(tokens=532)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import Admission
from sessionware.core.amounts import booked, plan_amounts, released, settlement
from sessionware.core.decision import Refused, judge
from sessionware.core.facts import Settled
from sessionware.core.identity import Identity
from sessionware.core.ledger import Spend, Tally
from sessionware.core.policy import Caller, Plan, admission, plan_creation
from sessionware.core.request import Facts
from sessionware.core.session import Session
from sessionware.core.standing import Standing
from sessionware.errors import SessionwareError, StoreUnavailable
from sessionware.service.making import identity_of
from sessionware.service.refusals import raise_refused
from sessionware.service.runtime import Runtime
from sessionware.telemetry import Action, Feature, Reason

DOUBTS_MAX: Final = 1_000  # names that may come from a client are not kept for ever
log: Final = logging.getLogger("sessionware")


class Stand(Struct, frozen=True):
    """Who takes, and about which request: what limits look at. `owner` is whose operations these are."""

    caller: Caller
    facts: Facts
    owner: bytes


def stand_of(runtime: Runtime, session: Session, known: Identity | None = None) -> Stand:
    """The stand of a session for work without a request: of `known`, if it owns it, else of whom its record names."""
    birth = session.birth
    identity = known
    if known is None or known.owner != birth.owner:
        identity = identity_of(birth, ground=runtime.ground)
    org_limits = runtime.org_limits_of(identity)
    caller = Caller(identity, birth.key, birth.tag, birth.key.bucket, org_limits)
    return Stand(caller, Facts(client=birth.client), birth.owner)


async def spend(runtime: Runtime, stand: Stand, amounts: Mapping[str, Any]) -> tuple[Standing, ...]:
    """Take the amounts from every limit that speaks of them, all or nothing; answers how those limits stand.

    Raises LimitExceeded, InvalidAmount, SessionNotFound, InvalidToken, StoreUnavailable.
    """
    _doubt(runtime, amounts)
    now = runtime.now()
    spends = plan_amounts(runtime.policy, stand.caller, stand.facts, amounts, now=now)
    ask = about_amounts(runtime, stand, spends, now=now)
    answer = await runtime.store.admit(ask)
    decision = judge(ask, answer, runtime.policy, named=True)
    if isinstance(decision, Refused):
        raise_refused(decision)
    _noticed(runtime, stand, amounts)
    return decision.standings


async def charge(runtime: Runtime, stand: Stand, amounts: Mapping[str, Any]) -> bool:
    """Book what has already happened; it may pass the allowance. False when the store could not be told.

    Raises InvalidAmount for what is no amount, and nothing else.
    """
    _doubt(runtime, amounts)
    now = runtime.now()
    spends = booked(plan_amounts(runtime.policy, stand.caller, stand.facts, amounts, now=now))
    _noticed(runtime, stand, amounts)
    return await _settle(runtime, stand, spends, runtime.operation())


async def release(runtime: Runtime, stand: Stand, amounts: Mapping[str, Any]) -> bool:
    """Bring levels (`total` limits) down by what is no more in use. False when the store could not be told.

    Raises InvalidAmount for what is no amount, and nothing else.
    """
    now = runtime.now()
    spends = released(plan_amounts(runtime.policy, stand.caller, stand.facts, amounts, now=now))
    return await _settle(runtime, stand, spends, runtime.operation())


async def give_back_making(runtime: Runtime, session: Session, facts: Facts) -> bool:
    """Give back what making this session took from CREATE_LIMIT, once however often it is asked.

    `facts` are of the request that made it. A window that is over forgets by itself. False when the store could not be
    told.
    """
    stand, birth = stand_of(runtime, session), session.birth
    asked = replace(facts, client=birth.client)
    made = plan_creation(runtime.policy, stand.caller, asked, now=birth.created_at)
    spends = tuple(replace(spend, cost=-spend.cost, binding=False) for spend in made)
    return await _settle(runtime, stand, spends, birth.key.hash)


def reserve(
    runtime: Runtime,
    stand: Stand,
    amounts: Mapping[str, Any],
    *,
    has_begun: Callable[[], bool] = lambda: False,
    refused: Callable[[SessionwareError], object] = lambda _: None,
) -> Reservation:
    """Take an estimate when the block is entered; `settle` in it turns the estimate into the truth.

    A block that fails before `has_begun` (the first byte has left) gives everything back; one that ends without
    `settle` keeps the estimate. `refused` is called with the error that entering the block raises.
    """
    return Reservation(runtime, stand, amounts, has_begun=has_begun, refused=refused)


class Reservation:
    """An estimate that is charged now and adjusted once."""

    def __init__(
        self,
        runtime: Runtime,
        stand: Stand,
        amounts: Mapping[str, Any],
        *,
        has_begun: Callable[[], bool],
        refused: Callable[[SessionwareError], object],
    ) -> None:
        self._runtime = runtime
        self._stand = stand
        self._amounts = amounts
        self._has_begun = has_begun
        self._refused = refused
        self._operation = runtime.operation()
        self._spends: tuple[Spend, ...] = ()
        self._tallies: tuple[Tally | None, ...] = ()
        self._is_settled = False

    async def __aenter__(self) -> Self:
        try:
            await self._take()
        except SessionwareError as error:
            self._refused(error)
            raise
        return self

    async def _take(self) -> None:
        runtime, stand = self._runtime, self._stand
        _doubt(runtime, self._amounts)
        now = runtime.now()
        spends = plan_amounts(runtime.policy, stand.caller, stand.facts, self._amounts, now=now)
        ask = replace(about_amounts(runtime, stand, spends, now=now), operation=self._operation, once=True)
        answer = await runtime.store.admit(ask)
        decision = judge(ask, answer, runtime.policy, named=True)
        if isinstance(decision, Refused):
            raise_refused(decision)
        self._spends, self._tallies = ask.spends, answer.tallies

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not self._is_settled and not self._has_begun():
            await self._adjust({})

    async def settle(self, **actual: int) -> bool:
        """Say what was really used; a resource that is not named was not used. Only the first call counts.

        False when the store could not be told: the estimate stands then. Raises InvalidAmount below zero.
        """
        if self._is_settled:
            return True
        return await self._adjust(actual)

    async def _adjust(self, actual: Mapping[str, Any]) -> bool:
        adjustments = settlement(self._runtime.policy, self._spends, self._tallies, actual)
        self._is_settled = True
        _noticed(self._runtime, self._stand, actual)
        return await _settle(self._runtime, self._stand, adjustments, self._operation)


def about_amounts(runtime: Runtime, stand: Stand, spends: tuple[Spend, ...], *, now: int) -> Admission:
    """The question about these spends alone: it keeps no session alive and wants no data."""
    ask = admission(stand.caller, Plan(spends), now=now, operation=runtime.operation())
    return replace(ask, touch=False, wants_data=False)


async def _settle(runtime: Runtime, stand: Stand, spends: tuple[Spend, ...], operation: bytes) -> bool:
    """Tell the store; a charge that is lost is counted, because what it stood for has happened."""
    if not spends:
        return True
    caller = stand.caller
    bucket = caller.session.bucket if caller.session is not None else caller.bucket
    fact = Settled(bucket, stand.owner, operation, caller.session, spends)
    try:
        await runtime.store.record([fact], now=runtime.now())
    except StoreUnavailable as error:
        runtime.telemetry.degraded(Feature.FACTS, Reason.STORE_DOWN, Action.DROPPED, error=error)
        return False
    return True


def _doubt(runtime: Runtime, amounts: Mapping[str, Any]) -> None:
    """Say once of each resource that no limit speaks of it: what is taken under that name is counted nowhere."""
    known = runtime.resources
    for resource in amounts:
        if resource not in known and len(known) < DOUBTS_MAX:
            known.add(resource)
            log.warning(
                "%.64s=... is taken, and no limit speaks of it (there are limits of: %s)",
                resource, ", ".join(sorted({limit.resource for limit in runtime.policy.limits.values()})) or "nothing",
            )  # fmt: skip


def _noticed(runtime: Runtime, stand: Stand, amounts: Mapping[str, Any]) -> None:
    tokens = amounts.get("tokens")
    if isinstance(tokens, int) and tokens > 0 and stand.caller.session is not None:
        runtime.health.spent(stand.caller.session, now=runtime.now(), tokens=tokens)
