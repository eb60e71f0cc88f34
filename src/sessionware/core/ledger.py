"""The only place that knows how a counter rolls from window to window, and what fits.

The values here and beside it are frozen and never refer to themselves, so the garbage collector need not look at
them (`gc=False`): with 100,000 sessions in memory that is most of its work.

The law, the same to the bit in Python, Lua and SQL: roll the counter forward to the spend's window;
`level = used + before * carry // 1_000_000`; it fits if `cost < 0 or level + max(cost, 1) <= allowance`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.windows import FULL_CARRY, Window, position

LEASE_MS: Final = 30_000  # renewed every 10 s: two renewals may be lost before a slot frees itself
CAP: Final = 9_000_000_000  # times FULL_CARRY it still fits 63 bits, and Lua's 53 after the split division


class Scope(StrEnum):
    """Over whom a limit counts."""

    SESSION = "session"
    USER = "user"
    ORG = "org"
    CLIENT = "client"
    GLOBAL = "global"


class When(StrEnum):
    """Whether a spend takes part in every admission or only in one that makes the session."""

    ALWAYS = "always"
    CREATED = "created"


class Counter(Struct, frozen=True, gc=False):
    """The stored state of one limit for one key."""

    window: int
    used: int
    before: int


class Spend(Struct, frozen=True, gc=False):
    """What one request takes from one limit.

    `key` addresses the counter: a field of the session record for `Scope.SESSION`, a counter of its own
    otherwise. After `stale_at` the counter is worth nothing and may be dropped.
    """

    limit: str
    key: bytes
    scope: Scope
    span: Window
    allowance: int
    cost: int
    window: int
    carry: int
    stale_at: int
    binding: bool = True
    when: When = When.ALWAYS

    def at(self, now: int) -> Spend:
        """The same spend, placed in time anew."""
        return placed((self,), now)[0]


class Lease(Struct, frozen=True, gc=False):
    """One running request or stream inside a `concurrent` limit: the limit's lease set, and how many fit."""

    limit: str
    key: bytes
    scope: Scope
    allowance: int
    binding: bool = True


class Tally(Struct, frozen=True, gc=False):
    """What the store found for one spend: the counter as it stands now, the allowance that held, and whether it fit.

    `allowance` is the spend's own unless an override of the session or the user replaced it.
    """

    counter: Counter
    allowance: int
    fits: bool


class LeaseTally(Struct, frozen=True, gc=False):
    """What the store found for one lease: how many run now (this one included if admitted), and whether it fit."""

    running: int
    allowance: int
    fits: bool


def placed(spends: Iterable[Spend], now: int) -> tuple[Spend, ...]:
    """The same spends, placed in time anew."""
    found: list[Spend] = []
    for spend in spends:
        place = position(spend.span, now)
        found.append(replace(spend, window=place.number, carry=place.carry, stale_at=place.stale_at))
    return tuple(found)


def rolled(counter: Counter | None, window: int) -> Counter:
    """The counter as the window `window` sees it.

    One window ahead of us is a clock ahead of ours: it stays. Further ahead is nonsense left by a clock that
    jumped: it is re-based as if it had been spent in the window before ours, so that it counts and then slides out.
    (Kept as `used` it would refuse until time has caught up, because a refusal writes nothing.)
    """
    if counter is None:
        return Counter(window, 0, 0)
    stored = counter.window
    if stored == window or stored == window + 1:
        return counter
    if stored == window - 1:
        return Counter(window, 0, counter.used)
    if stored < window:
        return Counter(window, 0, 0)
    return Counter(window, 0, counter.used)


def level(counter: Counter, spend: Spend) -> int:
    """How much of the allowance a rolled counter holds at the spend's instant."""
    if not counter.before:
        return counter.used
    carry = spend.carry if counter.window == spend.window else FULL_CARRY
    return counter.used + counter.before * carry // FULL_CARRY


def fits(counter: Counter, spend: Spend, allowance: int) -> bool:
    """Whether the spend may be taken from a rolled counter."""
    cost = spend.cost
    return cost < 0 or level(counter, spend) + (cost or 1) <= allowance


def taken(counter: Counter, spend: Spend, allowance: int) -> Counter | None:
    """The rolled counter after the spend, as `fits` and `charged` say in two steps; None when it does not fit.

    Stores without a network ask it for each spend of each request.
    """
    cost, used, before = spend.cost, counter.used, counter.before
    at = used
    if before:
        at += before * (spend.carry if counter.window == spend.window else FULL_CARRY) // FULL_CARRY
    if cost > 0:
        if at + cost > allowance or used + cost > CAP:
            return None if at + cost > allowance else charged(counter, cost)
        return Counter(counter.window, used + cost, before)
    if cost == 0:
        return counter if at + 1 <= allowance else None
    return charged(counter, cost)


def charged(counter: Counter, cost: int) -> Counter:
    """The rolled counter after `cost` was taken; saturates at 0 and CAP."""
    used = counter.used + cost
    if used < 0:
        used = 0
    elif used > CAP:
        used = CAP
    return Counter(counter.window, used, counter.before)


def adjusted(counter: Counter | None, *, window: int, cost: int) -> Counter | None:
    """Give back (or add) `cost` in the window where it was charged, long after the fact.

    The same window changes `used`, one back changes `before`. Returns None when that window has run out and
    there is nothing left to adjust.
    """
    if counter is None or counter.window < window:
        return charged(rolled(counter, window), cost) if counter or cost > 0 else None
    if counter.window == window:
        return charged(counter, cost)
    if counter.window == window + 1:
        return Counter(counter.window, counter.used, min(max(counter.before + cost, 0), CAP))
    return None
