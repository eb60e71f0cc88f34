"""The only place that says how a limit stands for a caller: what headers, refusals and usage reports tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from sessionware.core.admission import Admission, Admitted
from sessionware.core.ledger import Counter, Scope, Spend, Tally, level, placed
from sessionware.core.limits import REQUESTS, Limit, span_text
from sessionware.core.policy import Policy
from sessionware.core.windows import NEVER, Sliding, Window, ends_at, period_ms, resets_at, wait_for_fit

CONCURRENT_RETRY_MS: Final = 1_000  # nobody knows when a running request ends; most end within a second
HOPELESS_MS: Final = 120_000  # a client that would wait longer than this should tell its user instead

# What a header says of one limit: its name, the allowance, what remains, `effective_seconds` and `period_seconds`.
Glance = tuple[str, int, int, int | None, int | None]


class Standing(Struct, frozen=True, gc=False):
    """One limit as the store found it at `now`, for one caller.

    `used` is what counts against `allowance`; it may be more when work was charged after the fact. `window`
    and `counter` are None for a concurrency limit, `limit` for a spend of no configured limit. Everything else
    follows when it is asked for.
    """

    name: str
    limit: Limit | None
    counted_over: Scope
    window: Window | None
    allowance: int
    used: int
    cost: int
    counter: Counter | None
    fits: bool
    binding: bool
    now: int

    @property
    def resource(self) -> str:
        return REQUESTS if self.limit is None else self.limit.resource

    @property
    def scope(self) -> str:
        """What was really counted over: without a session or a user the client stood in."""
        if self.limit is None:
            return self.counted_over
        if self.counted_over is Scope.CLIENT and Scope.CLIENT not in self.limit.over:
            return "client and tool" if self.limit.per_tool else "client"
        return self.limit.scope_text

    @property
    def span(self) -> str:
        """The window as it is written in the limit."""
        return "" if self.limit is None else span_text(self.limit.span)

    @property
    def shadow(self) -> bool:
        return not self.binding if self.limit is None else self.limit.shadow

    @property
    def remaining(self) -> int:
        return max(self.allowance - self.used, 0)

    @property
    def percentage(self) -> float:
        """How much of the allowance is used; 0 when there is none."""
        return round(100 * self.used / self.allowance, 2) if self.allowance else 0.0

    @property
    def attempted(self) -> int:
        """What would have been used if this had been taken."""
        return self.used + max(self.cost, 1)

    @property
    def period_seconds(self) -> int | None:
        """The length of the window in whole seconds; None for a level and for concurrency."""
        return period_ms(self.window, self.now) // 1000 or None if self.window is not None else None

    @property
    def effective_seconds(self) -> int | None:
        """For how long `remaining` holds: until the window ends, or until there is room again if there is none."""
        if self.window is None:
            return None
        if self.remaining == 0:
            return _whole_seconds(self._wait(1))
        end = ends_at(self.window, self.now)
        return None if end == NEVER else _whole_seconds(end - self.now)

    @property
    def retry_after_ms(self) -> int:
        """When the same would fit if nobody else spends; exact, except where no clock can tell."""
        return CONCURRENT_RETRY_MS if self.window is None else self._wait(self.cost)

    @property
    def should_retry(self) -> bool:
        """Whether a client should wait and try again by itself."""
        return self.allowance > 0 and self.retry_after_ms <= HOPELESS_MS

    @property
    def resets_at(self) -> int | None:
        """When nothing used so far counts any more; None when time alone does not help."""
        if self.window is None:
            return None
        instant = resets_at(self.window, self.now)
        return None if instant == NEVER else instant

    @property
    def glance(self) -> Glance:
        """What a header says of it."""
        return self.name, self.allowance, self.remaining, self.effective_seconds, self.period_seconds

    def _wait(self, cost: int) -> int:
        if self.window is None or self.counter is None:
            return CONCURRENT_RETRY_MS
        counter = (self.counter.window, self.counter.used, self.counter.before)
        return wait_for_fit(self.window, self.now, counter=counter, cost=cost, allowance=self.allowance)


def standings(ask: Admission, answer: Admitted, policy: Policy) -> tuple[Standing, ...]:
    """How every limit of an admission stands, in the order of the question; those that took no part are left out.

    The store may have placed the question at a later instant of its own clock: that instant holds.
    """
    if answer.now != ask.now:
        ask = ask.at(answer.now)
    limits = policy.limits
    found = [
        _standing(spend, tally, limits.get(spend.limit), answer.now)
        for spend, tally in zip(ask.spends, answer.tallies, strict=False)
        if tally is not None
    ]
    found += [
        Standing(
            lease.limit, limits.get(lease.limit), lease.scope, None, tally.allowance,
            tally.running, 1, None, tally.fits, lease.binding, answer.now,
        )
        for lease, tally in zip(ask.leases, answer.leases, strict=False)
    ]  # fmt: skip
    return tuple(found)


def glances(ask: Admission, answer: Admitted) -> tuple[Glance, ...]:
    """The glance of each standing that binds and has a window, without the standing: every response wants them."""
    now = answer.now
    spends = ask.spends if now == ask.now else placed(ask.spends, now)
    found: list[Glance] = []
    for index, tally in enumerate(answer.tallies):  # none where counters were not looked at
        spend = spends[index]
        if tally is None or not spend.binding:
            continue
        window, allowance = spend.span, tally.allowance
        counter = tally.counter
        remaining = allowance - (level(counter, spend) if counter.before else counter.used)
        if remaining > 0 and isinstance(window, Sliding):  # nearly every one
            period = window.period
            seconds = (period - now % period + 999) // 1000
            found.append((spend.limit, allowance, remaining, seconds, period // 1000 or None))
        else:
            found.append(_standing(spend, tally, None, now).glance)
    return tuple(found)


def glances_of(standings: Iterable[Standing]) -> tuple[Glance, ...]:
    """The glance of each that binds and has a window."""
    return tuple([each.glance for each in standings if each.binding and each.window is not None])


def usage_report(ask: Admission, answer: Admitted, policy: Policy) -> list[dict[str, object]]:
    """What a caller has used, per limit, ready to be sent; `ask` comes from `plan_usage`. Times are milliseconds."""
    return [
        {
            "name": standing.name,
            "resource": standing.resource,
            "scope": standing.scope,
            "window": standing.span,
            "used": standing.used,
            "limit": standing.allowance,
            "remaining": standing.remaining,
            "percentage": standing.percentage,
            "period_seconds": standing.period_seconds,
            "resets_at": standing.resets_at,
            "shadow": standing.shadow,
        }
        for standing in standings(ask, answer, policy)
    ]


def _standing(spend: Spend, tally: Tally, limit: Limit | None, now: int) -> Standing:
    return Standing(
        spend.limit, limit, spend.scope, spend.span, tally.allowance,
        level(tally.counter, spend), spend.cost, tally.counter, tally.fits, spend.binding, now,
    )  # fmt: skip


def _whole_seconds(milliseconds: int) -> int:
    return -(-milliseconds // 1000)
