"""The only place that makes histories without a store: by a counter that is right, or wrong in one chosen way."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from tests.stores.histories.history import Answer, Attempt, Failover, History, Kind, Seen


class Flaw(StrEnum):
    """What a counter may get wrong."""

    NONE = "none"
    ONE_TOO_MANY = "admits one beyond the allowance"
    LOST_UPDATE = "forgets a take that it acknowledged"
    REFUSES_EARLY = "refuses though there is room"
    CHARGES_REFUSED = "charges for what it refused"


class Ask(Struct, frozen=True):
    """One call: who, what, when it was applied, how much earlier it was sent and how much later its answer came.

    `is_lost`: the answer never came. `is_applied` then says whether the call did.
    """

    worker: int
    kind: Kind
    amounts: dict[str, int]
    applied: int
    before: int = 1
    after: int = 1
    is_lost: bool = False
    is_applied: bool = True


def simulate(
    asks: Sequence[Ask], allowances: dict[str, int], *, flaw: Flaw = Flaw.NONE, failovers: Sequence[Failover] = ()
) -> tuple[History, dict[str, int]]:
    """What workers would log of a store with this flaw, and what its counters hold in the end.

    The flaw shows once, at the first chance. At the beginning of a failover the last three calls are undone.
    """
    counter = _Counter(allowances, flaw)
    attempts: list[Attempt] = []
    beginnings = sorted(failover.began for failover in failovers)
    for number, ask in enumerate(sorted(asks, key=lambda each: each.applied)):
        while beginnings and beginnings[0] <= ask.applied:
            beginnings.pop(0)
            counter.forget_the_last(3)
        attempt = Attempt(ask.worker, f"{number:04x}", ask.kind, ask.amounts, ask.applied - ask.before)
        if ask.is_lost and not ask.is_applied:
            attempts.append(attempt)
            continue
        answer, seen = counter.apply(ask)
        if ask.is_lost:
            attempts.append(attempt)
        else:
            told = (ask.applied + ask.after, answer, seen)
            attempts.append(Attempt(*_called(attempt), *told))
    return History(allowances, tuple(attempts), tuple(failovers)), counter.used


def _called(attempt: Attempt) -> tuple[int, str, Kind, dict[str, int], int]:
    return attempt.worker, attempt.operation, attempt.kind, attempt.amounts, attempt.invoked


class _Counter:
    def __init__(self, allowances: dict[str, int], flaw: Flaw) -> None:
        self.used = dict.fromkeys(allowances, 0)
        self._allowances, self._flaw = allowances, flaw
        self._past: list[dict[str, int]] = []

    def apply(self, ask: Ask) -> tuple[Answer, dict[str, Seen]]:
        self._past.append(dict(self.used))
        if ask.kind is Kind.GIVE:
            for name, amount in ask.amounts.items():
                self.used[name] = max(self.used[name] + amount, 0)
            return Answer.OK, {}
        if ask.kind is Kind.LOOK:
            return Answer.OK, {name: Seen(self.used[name], fits=True) for name in ask.amounts}
        fits = {name: self._fits(name, amount) for name, amount in ask.amounts.items()}
        admitted = all(fits.values())
        if admitted or self._happens(Flaw.CHARGES_REFUSED):
            for name, amount in ask.amounts.items():
                self.used[name] += amount
        seen = {name: Seen(self.used[name], fits[name]) for name in ask.amounts}
        if admitted and self._happens(Flaw.LOST_UPDATE):
            self.used = self._past[-1]
        return (Answer.OK if admitted else Answer.DENIED), seen

    def forget_the_last(self, calls: int) -> None:
        """What a failover does: the replica had not heard of them."""
        if self._past:
            self.used = dict(self._past[-min(calls, len(self._past))])

    def _fits(self, name: str, amount: int) -> bool:
        fits = self.used[name] + max(amount, 1) <= self._allowances[name]
        if fits:
            return not self._happens(Flaw.REFUSES_EARLY)
        return self._happens(Flaw.ONE_TOO_MANY)

    def _happens(self, flaw: Flaw) -> bool:
        if self._flaw is not flaw:
            return False
        self._flaw = Flaw.NONE
        return True
