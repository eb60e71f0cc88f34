"""The only place that deals in amounts which somebody names: spent, booked, reserved and settled, or only read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from sessionware.core.ledger import CAP, Spend, Tally
from sessionware.core.limits import RESOURCE_SYNONYMS
from sessionware.core.policy import Caller, Policy, allowance_of, counted, spend_of, values_of
from sessionware.core.request import Facts
from sessionware.core.windows import Total
from sessionware.errors import InvalidAmount


def plan_amounts(
    policy: Policy, caller: Caller, facts: Facts, amounts: Mapping[str, Any], *, now: int
) -> tuple[Spend, ...]:
    """What named amounts (`tokens=532`) take from every limit of their resource that speaks of the request.

    A resource without a limit takes nothing. Raises InvalidAmount for an amount that is no whole number above
    zero. (That an amount is above the allowance is known only when overrides are: `judge(..., named=True)`.)
    """
    asked = checked_amounts(amounts)
    return tuple(
        spend_of(found, asked[found[0].resource], now=now)
        for found in counted(policy.ladders, caller, facts, now=now)
        if found[0].resource in asked and found[0].window is not None
    )


def released(spends: Iterable[Spend]) -> tuple[Spend, ...]:
    """The same spends given back: levels go down by them. Other windows forget by themselves and give nothing back."""
    return tuple(replace(spend, cost=-spend.cost, binding=False) for spend in spends if isinstance(spend.span, Total))


def booked(spends: Iterable[Spend]) -> tuple[Spend, ...]:
    """The same spends for work that has already happened: counted, and nothing refuses."""
    return tuple(replace(spend, binding=False) for spend in spends)


def settlement(
    policy: Policy, spends: Iterable[Spend], tallies: Iterable[Tally | None], actual: Mapping[str, Any]
) -> tuple[Spend, ...]:
    """The adjustments that turn a reservation into what was really used; a resource not named was not used.

    `tallies` are the store's answer to the reservation: each adjustment names the window that was charged, so
    that a refund never forgives what another window holds. Raises InvalidAmount below zero.
    """
    used = checked_amounts(actual, at_least=0)
    adjustments: list[Spend] = []
    for spend, tally in zip(spends, tallies, strict=True):
        limit = policy.limits.get(spend.limit)
        difference = (used.get(limit.resource, 0) if limit is not None else 0) - spend.cost
        if difference and tally is not None:
            adjustments.append(replace(spend, cost=difference, window=tally.counter.window, binding=False))
    return tuple(adjustments)


def plan_usage(policy: Policy, caller: Caller, facts: Facts, *, now: int) -> tuple[Spend, ...]:
    """Spends of nothing, to be admitted without touching: they only read what this caller has used.

    Limits count here whatever request they speak of; those per tool need a tool in the facts. Leases are left
    out: to ask for one is to take it.
    """
    values = values_of(caller, facts)
    spends: list[Spend] = []
    for ladder in policy.ladders:
        rung = ladder.rung_of(caller.identity, has_user=bool(values[1]))
        place = ladder.counter(values)
        if ladder.window is None or rung is None or place is None:
            continue
        found = (ladder, rung, *place, allowance_of(ladder.name, rung, caller, now=now))
        spends.append(spend_of(found, 0, now=now))
    return booked(spends)


def checked_amounts(amounts: Mapping[str, Any], *, at_least: int = 1) -> dict[str, int]:
    """The amounts by resource, `api_calls` being requests. Raises InvalidAmount for what cannot be counted."""
    checked: dict[str, int] = {}
    for resource, amount in amounts.items():
        if isinstance(amount, bool) or not isinstance(amount, int):
            raise InvalidAmount(f"amount of {resource:.64} must be a whole number, got {_shown(amount)}")
        name = RESOURCE_SYNONYMS.get(resource, resource)
        checked[name] = checked.get(name, 0) + amount
        if not at_least <= amount <= CAP or checked[name] > CAP:
            raise InvalidAmount(f"amount of {resource:.64} must be {at_least}..{CAP:_}, got {_shown(amount)}")
    return checked


def _shown(amount: object) -> str:
    """A refused amount, short: integers beyond all bounds are not even printable."""
    if isinstance(amount, int) and not -CAP * CAP < amount < CAP * CAP:
        return "far less" if amount < 0 else "far more"
    return repr(amount)[:40]
