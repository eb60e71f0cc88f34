"""The only place that checks a history by sums alone: what surely was taken, and what may have been, at each instant.

It knows less than the search for an order, and trusts less: no figure that a store said about other requests, only
who was admitted, who was refused and what is left at the end. It also holds where a counter may show for a moment
what a refused request is about to give back (the wide limits of a cluster).
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from msgspec import Struct

from tests.stores.histories.effects import Effect, effects_of
from tests.stores.histories.history import History, Kind, WrongHistory
from tests.stores.histories.steps import FORGETS_NS


class Account(Struct, frozen=True):
    """One counter at the end: what was admitted and not given back, what the store holds, and what may be in it."""

    allowance: int
    admitted: int
    counted: int
    possible: int  # the amounts of unanswered takes, and of refused ones that may be charged all the same
    overshoot: int  # by how much they surely exceeded the allowance at some instant; only a failover may do that
    uncounted: int  # admitted, but not in the counter any more


class Loose(Struct, frozen=True):
    """A refused request may be charged while it is under way, and for good if that is when giving back failed."""

    fails: tuple[tuple[int, int], ...] = ()  # between which instants


def check_bounds(
    history: History, names: Sequence[str], *, ended_with: dict[str, int], loose: Loose | None = None
) -> dict[str, Account]:
    """The accounts of these counters. Raises WrongHistory at the first answer that no correct store can give.

    `ended_with` is what the counters held when nobody was at work any more. After a failover too much may be
    admitted; the account says how much.
    """
    effects = effects_of(history)
    return {name: _Counter(name, history, effects, loose).checked(ended_with[name]) for name in names}


class _Counter:
    def __init__(self, name: str, history: History, effects: Iterable[Effect], loose: Loose | None) -> None:
        self._name, self._allowance = name, history.allowances[name]
        self._may_lose, self._loose = bool(history.failovers), loose
        mine = [effect for effect in effects if name in effect.amounts]
        takes = [effect for effect in mine if effect.kind is Kind.TAKE]
        self._admitted = [each for each in takes if each.is_certain and not each.is_refusal]
        self._unanswered = [each for each in takes if not each.is_certain]
        self._refused = [each for each in takes if each.is_refusal]
        self._kept = [each for each in self._refused if self._may_keep(each)]
        self._gives = [effect for effect in mine if effect.kind is Kind.GIVE]
        self._sum_of = {
            "admitted by": self._sums(self._admitted, "ended"),
            "asked by": self._sums([*self._admitted, *self._unanswered, *self._kept], "begun"),
            "given by": self._sums(self._gives, "begun"),
            "surely given by": self._sums([each for each in self._gives if self._stays(each, history)], "ended"),
        }

    def checked(self, ended_with: int) -> Account:
        overshoot = max([0, *[self._surplus(effect) for effect in self._admitted]])
        for effect in self._refused:
            if not effect.seen[self._name].fits:
                self._check_refused(effect)
        return self._account(ended_with, overshoot)

    def _surplus(self, effect: Effect) -> int:
        """(a) By how much it exceeds the allowance, even if everybody who may give back had done so."""
        before = self._sum("admitted by", effect.begun) + self._sum("given by", effect.ended)
        surplus = before + effect.amounts[self._name] - self._allowance
        if surplus > 0 and not self._may_lose:
            raise WrongHistory(
                f"{effect.said_by} was admitted although at least {before} of {self._allowance} {self._name} were taken"
            )
        return surplus

    def _check_refused(self, effect: Effect) -> None:
        """(b) If everybody who may have been charged was, there was no room."""
        held = self._sum("asked by", effect.ended) + self._sum("surely given by", effect.begun)
        held += sum(each.amounts[self._name] for each in self._beside(effect))
        amount = effect.amounts[self._name]
        if held + max(amount, 1) <= self._allowance:
            raise WrongHistory(
                f"{effect.said_by} was refused although at most {held} of {self._allowance} {self._name} were taken"
            )

    def _beside(self, effect: Effect) -> Iterable[Effect]:
        """Refused at the same time: where that is allowed, they were charged for a moment."""
        if self._loose is None:
            return ()
        return [
            each
            for each in self._refused
            if each is not effect and each.begun < effect.ended and effect.begun < each.ended and each not in self._kept
        ]

    def _stays(self, give: Effect, history: History) -> bool:
        """Whether what was given back surely is, and no failover can have lost it."""
        return give.is_certain and not any(
            give.begun < failover.ended and give.ended > failover.began - FORGETS_NS for failover in history.failovers
        )

    def _may_keep(self, effect: Effect) -> bool:
        fails = self._loose.fails if self._loose is not None else ()
        return any(effect.begun < ended and began < effect.ended for began, ended in fails)

    def _account(self, ended_with: int, overshoot: int) -> Account:
        """(c) What is left is what was admitted, less what was given back, and some of what nobody can tell."""
        given = sum(each.amounts[self._name] for each in self._gives if each.is_certain)
        admitted = sum(each.amounts[self._name] for each in self._admitted) + given
        unsure = [each.amounts[self._name] for each in [*self._unanswered, *self._gives] if not each.is_certain]
        unsure += [each.amounts[self._name] for each in self._kept]
        if not self._may_lose and ended_with - admitted not in _sums_of(unsure):
            raise WrongHistory(
                f"{ended_with} {self._name} are counted in the end; {admitted} were admitted and kept, and no choice "
                f"among the unanswered {sorted(unsure)} makes up for the difference"
            )
        possible = sum(amount for amount in unsure if amount > 0)
        return Account(self._allowance, admitted, ended_with, possible, overshoot, max(0, admitted - ended_with))

    def _sums(self, effects: list[Effect], when: str) -> tuple[list[int], list[int]]:
        times, sums = [], [0]
        for effect in sorted(effects, key=lambda each: int(getattr(each, when))):
            times.append(int(getattr(effect, when)))
            sums.append(sums[-1] + effect.amounts[self._name])
        return times, sums

    def _sum(self, what: str, before: int) -> int:
        times, sums = self._sum_of[what]
        return sums[bisect_left(times, before)]


def _sums_of(amounts: list[int]) -> set[int]:
    """Every sum of some of the amounts."""
    found = {0}
    for amount in amounts:
        found |= {each + amount for each in found}
    return found


def lag_that_explains(history: History, lost: dict[str, int], *, failover_at: int) -> int:
    """How long before a failover the oldest write was acknowledged that must be among the lost ones: nanoseconds.

    Lost are the last writes before it; of each counter so many that what they took, less what they gave back, is as
    much as is lost. Raises WrongHistory when there were not that many: something else forgets.
    """
    certain = [each for each in effects_of(history) if each.is_certain and not each.is_refusal]
    latest_first = sorted([each for each in certain if each.ended < failover_at], key=lambda each: -each.ended)
    lag = 0
    for name, amount in lost.items():
        sign, net, gross = (1 if amount > 0 else -1), 0, 0
        for effect in latest_first:
            if sign * net >= abs(amount):
                break
            net += effect.amounts.get(name, 0)
            gross += max(sign * effect.amounts.get(name, 0), 0)
            lag = max(lag, failover_at - effect.ended)
        if gross < abs(amount):
            raise WrongHistory(f"{amount} {name} are lost, and only {gross} were acknowledged before the failover")
    return lag
