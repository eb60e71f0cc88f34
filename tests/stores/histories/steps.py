"""The only place that makes of effects what a search can place: vectors of amounts, in the order of their answers."""

from bisect import bisect_left

from msgspec import Struct

from tests.stores.histories.effects import Effect, effects_of
from tests.stores.histories.history import Failover, History, Kind, WrongHistory

FORGETS_NS = 1_000_000_000  # a failover may undo what was given back in the second before it

Amounts = tuple[int, ...]


class Step(Struct, frozen=True):
    """One effect; amounts stand in the order of the counters.

    Without an effect it is a failover, and the amounts are what was given back so shortly before that it may be lost.
    """

    amounts: Amounts
    begun: int
    ended: int
    effect: Effect | None = None
    found: tuple[int | None, ...] = ()  # what each counter must hold right before, if it was seen

    @property
    def is_give(self) -> bool:
        return self.effect is not None and self.effect.kind is Kind.GIVE

    @property
    def is_refusal(self) -> bool:
        return self.effect is not None and self.effect.is_refusal

    @property
    def watched(self) -> list[int]:
        """Which counters were seen."""
        return [index for index, found in enumerate(self.found) if found is not None]

    def __str__(self) -> str:
        return f"{self.effect.said_by}, which found {self.found}" if self.effect is not None else "a failover"


class Group(Struct, frozen=True):
    """Unanswered effects with equal amounts: whichever was applied, the counters are the same. When they began."""

    amounts: Amounts
    begun: tuple[int, ...]
    is_forgotten: bool = False  # by a failover that is still to come

    def available(self, at: int) -> int:
        return bisect_left(self.begun, at)


class Plan(Struct, frozen=True):
    """All that must be placed, in the order of the answers, and beside each step which others run at that time.

    A step stands beside itself. `groups` may be placed, and need not.
    """

    names: tuple[str, ...]
    allowances: Amounts
    steps: list[Step]
    beside: list[list[int]]
    groups: list[Group]
    failovers: int


def plan_of(history: History) -> Plan:
    """Raises WrongHistory when an answer contradicts itself, whatever was before."""
    names = tuple(history.allowances)
    effects = effects_of(history)
    steps = [_step(history, effect) for effect in effects if effect.is_certain]
    steps += [_failover(failover, steps, len(names)) for failover in history.failovers]
    steps.sort(key=lambda step: step.ended)
    groups = _grouped(names, [effect for effect in effects if not effect.is_certain])
    allowances = tuple(history.allowances.values())
    return Plan(names, allowances, steps, _beside(steps), groups, len(history.failovers))


def _step(history: History, effect: Effect) -> Step:
    names = tuple(history.allowances)
    if effect.kind is Kind.GIVE:
        return Step(_amounts(names, effect), effect.begun, effect.ended, effect, (None,) * len(names))
    found: list[int | None] = []
    all_fit = True
    for name, allowance in history.allowances.items():
        if name not in effect.amounts:
            found.append(None)
            continue
        if name not in effect.seen:
            raise WrongHistory(f"{effect.said_by} was answered without a word about {name}")
        amount, seen = effect.amounts[name], effect.seen[name]
        before = seen.used - (0 if effect.is_refusal else amount)
        fits = before + max(amount, 1) <= allowance
        if effect.kind is Kind.TAKE and seen.fits is not fits:
            raise WrongHistory(f"{effect.said_by} was told that {name} fits: {seen.fits}; it holds {before}")
        found.append(before)
        all_fit = all_fit and fits
    if effect.kind is Kind.TAKE and all_fit is effect.is_refusal:
        what = "refused where it fits" if all_fit else "admitted where it does not fit"
        raise WrongHistory(f"{effect.said_by} was {what}: it found {found} of {history.allowances}")
    return Step(_amounts(names, effect), effect.begun, effect.ended, effect, tuple(found))


def _failover(failover: Failover, steps: list[Step], width: int) -> Step:
    gives = [
        step.amounts
        for step in steps
        if step.is_give and step.begun < failover.ended and step.ended > failover.began - FORGETS_NS
    ]
    given = tuple([sum(amounts) for amounts in zip(*gives, strict=True)]) or (0,) * width
    return Step(given, failover.began, failover.ended)


def _grouped(names: tuple[str, ...], effects: list[Effect]) -> list[Group]:
    begun: dict[tuple[Amounts, bool], list[int]] = {}
    for effect in effects:
        if any(effect.amounts.values()):
            begun.setdefault((_amounts(names, effect), effect.is_forgotten), []).append(effect.begun)
    return [Group(amounts, tuple(sorted(each)), forgotten) for (amounts, forgotten), each in sorted(begun.items())]


def _amounts(names: tuple[str, ...], effect: Effect) -> Amounts:
    return tuple([effect.amounts.get(name, 0) for name in names])


def _beside(steps: list[Step]) -> list[list[int]]:
    """Which steps had begun before the answer of each came, and were not answered before."""
    found: list[list[int]] = []
    beginning = sorted(range(len(steps)), key=lambda number: steps[number].begun, reverse=True)
    running: set[int] = set()
    for number, step in enumerate(steps):
        while beginning and steps[beginning[-1]].begun < step.ended:
            running.add(beginning.pop())
        found.append(sorted(running))
        running.discard(number)
    return found
