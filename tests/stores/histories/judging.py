"""The only place that says whether a recorded history is right, and what it has shown."""

from collections import Counter
from typing import Final

from msgspec import Struct

from tests.stores.histories.bounds import Account, Loose, check_bounds, lag_that_explains
from tests.stores.histories.history import WrongHistory
from tests.stores.histories.orders import Order, find_order
from tests.stores.histories.running import Recorded

BACK_WITHIN_S: Final = 5.0  # issue 5, part 4
LAG_MAX_S: Final = 1.0  # a failover may lose what was acknowledged in the last second (docs/stores.md)
CALMS_S: Final = 1.0  # after a fault, until calls that had been sent in it are answered or given up


class Terms(Struct, frozen=True):
    """What a store promises. `loose`: counters that may show for a moment what a refused request gives back."""

    loose: tuple[str, ...] = ()


EXACT: Final = Terms()


class Verdict(Struct, frozen=True):
    """A right history in figures. `back_s` is the slowest worker's, after each fault."""

    answers: dict[str, int]
    back_s: tuple[float, ...]
    accounts: dict[str, Account]
    order: Order
    lag_s: float

    def __str__(self) -> str:
        told = ", ".join(f"{count} {answer}" for answer, count in sorted(self.answers.items()))
        lines = [f"{told}; an order was found after {self.order.examined} steps"]
        for name, account in self.accounts.items():
            lines.append(
                f"  {name}: {account.admitted} admitted and kept of {account.allowance}, {account.counted} counted, "
                f"{account.possible} unsure; lost {self.order.lost.get(name, 0)}, overshoot {account.overshoot}"
            )
        if self.back_s:
            lines.append("  back after " + ", ".join(f"{seconds:.2f} s" for seconds in self.back_s))
        if self.lag_s:
            lines.append(f"  what was lost had been acknowledged up to {self.lag_s * 1000:.0f} ms before the failover")
        return "\n".join(lines)


def judge(recorded: Recorded, terms: Terms = EXACT) -> Verdict:
    """The figures of a right history. Raises WrongHistory, or Undecided."""
    back = tuple([_back(recorded, number) for number in range(len(recorded.faults))])
    history = recorded.history
    exact = [name for name in history.allowances if name not in terms.loose]
    order = find_order(history.of(exact))
    accounts = check_bounds(history, exact, ended_with=recorded.ended_with)
    if terms.loose:
        fails = tuple([(fault.began, fault.ended + int(CALMS_S * 1e9)) for fault in recorded.faults])
        accounts |= check_bounds(history, terms.loose, ended_with=recorded.ended_with, loose=Loose(fails))
    lag = _check_losses(recorded, accounts, order)
    return Verdict(dict(Counter(attempt.answer.value for attempt in history.attempts)), back, accounts, order, lag)


def _back(recorded: Recorded, number: int) -> float:
    back = recorded.back_after(recorded.faults[number])
    slowest = max(back.values())
    if slowest > BACK_WITHIN_S:
        raise WrongHistory(f"after fault {number} the workers were answered again after {back} s")
    return slowest


def _check_losses(recorded: Recorded, accounts: dict[str, Account], order: Order) -> float:
    """(d) What exceeds the allowance was lost by a failover, and had been acknowledged shortly before it."""
    for name, account in accounts.items():
        lost = order.lost.get(name, account.uncounted + account.possible)
        if account.overshoot > max(lost, 0):
            raise WrongHistory(f"{account.overshoot} {name} too many were admitted, but only {lost} were lost")
    if len(recorded.history.failovers) != 1:  # of several nobody can tell which one lost what
        return 0.0
    began = recorded.history.failovers[0].began
    lag = lag_that_explains(recorded.history, order.lost, failover_at=began) / 1e9
    if lag > LAG_MAX_S:
        raise WrongHistory(f"lost was what had been acknowledged {lag:.2f} s before the failover: {order.lost}")
    return lag
