"""The only place that searches for an order in which a correct store could have done everything at once.

Every effect happens at one instant between its call and its answer (Herlihy and Wing: linearisability). The search
places effects in the order in which their answers came; before each it may place others that run at the same time,
and as many unanswered ones as are needed to explain what the store said it found. Unanswered ones are never placed
before somebody sees them: they can be applied at any time after their call, so waiting loses no order, because what
is given back only makes room. It goes deep first and comes back when it is stuck, so it finds an order if there is one.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count

from msgspec import Struct
from msgspec.structs import replace

from tests.stores.histories.effects import Effect, effects_of
from tests.stores.histories.history import Failover, History, Kind, WrongHistory

EXAMINED_MAX = 1_000_000  # about a minute; a history that needs more is said to be undecided, never right
FORGETS_NS = 1_000_000_000  # a failover may undo what was given back in the second before it
SPARE_MAX = 3  # how much more than is seen may have been applied before a failover lost it

Amounts = tuple[int, ...]


class Undecided(Exception):
    """The search was given up: too many orders to look at. Fewer workers or a shorter run would tell."""


class Order(Struct, frozen=True):
    """An order was found: how many unanswered effects it needs, and what failovers have lost in it, by counter."""

    applied_unknown: int
    lost: dict[str, int]
    examined: int


class Point(Struct, frozen=True):
    """How far one order has come.

    A counter holds its sum minus what was lost. After a failover what is lost stays open until somebody looks; it is
    less than nothing where more was given back than taken and both are lost, down to `least_lost`.
    """

    sums: Amounts
    lost: Amounts
    is_open: tuple[bool, ...]
    least_lost: Amounts
    done: frozenset[int] = frozenset()  # placed before their answers came
    used: tuple[int, ...] = ()  # how many of each group of unanswered effects were placed


class Step(Struct, frozen=True):
    """An effect as the search sees it; amounts stand in the order of the counters.

    Without an effect it is a failover, and the amounts are what was given back so shortly before that it may be lost.
    """

    amounts: Amounts
    begun: int
    ended: int
    effect: Effect | None = None
    found: tuple[int | None, ...] = ()  # what each counter must hold right before, if it was seen


class Want(Struct, frozen=True):
    """By how much each counter that was seen must still grow, at least and at most, by what was asked before `at`."""

    watched: tuple[int, ...]
    least: Amounts
    most: Amounts
    at: int

    def after(self, added: Amounts) -> "Want":
        least = tuple([want - more for want, more in zip(self.least, added, strict=True)])
        most = tuple([want - more for want, more in zip(self.most, added, strict=True)])
        return replace(self, least=least, most=most)

    @property
    def is_met(self) -> bool:
        return all(self.least[index] <= 0 <= self.most[index] for index in self.watched)

    def is_exceeded_by(self, added: Amounts) -> bool:
        return any(added[index] > self.most[index] for index in self.watched)


class Group(Struct, frozen=True):
    """Unanswered effects with equal amounts: whichever was applied, the counters are the same. When they began."""

    amounts: Amounts
    begun: tuple[int, ...]

    def available(self, at: int) -> int:
        return bisect_left(self.begun, at)


def find_order(history: History, *, examined_max: int = EXAMINED_MAX) -> Order:
    """An order that explains every answer. Raises WrongHistory when there is none, Undecided after too many."""
    return _Search(history, examined_max).run()


class _Search:
    def __init__(self, history: History, examined_max: int) -> None:
        self._names = tuple(history.allowances)
        self._allowances = tuple(history.allowances.values())
        effects = effects_of(history)
        steps = [self._step(effect) for effect in effects if effect.is_certain]
        steps += [self._failover(failover, steps) for failover in history.failovers]
        self._steps = sorted(steps, key=lambda step: step.ended)
        self._pending = _pending(self._steps)
        self._groups = self._grouped([effect for effect in effects if not effect.is_certain])
        self._examined, self._examined_max = 0, examined_max
        self._furthest: tuple[int, Point] | None = None

    def run(self) -> Order:
        nothing = (0,) * len(self._names)
        start = Point(nothing, nothing, (False,) * len(self._names), nothing, used=(0,) * len(self._groups))
        seen: set[tuple[int, Point]] = set()
        levels: list[Iterator[Point]] = [iter([start])]
        while levels:
            point = next(levels[-1], None)
            if point is None:
                levels.pop()
                continue
            level = len(levels) - 1
            if (level, point) in seen:
                continue
            seen.add((level, point))
            if self._furthest is None or level > self._furthest[0]:
                self._furthest = level, point
            if level == len(self._steps):
                return Order(sum(point.used), dict(zip(self._names, point.lost, strict=True)), self._examined)
            levels.append(self._after(point, level))
        raise WrongHistory(self._stuck())

    def _after(self, point: Point, level: int) -> Iterator[Point]:
        """Every way to get the effect done whose answer comes next, those with few unanswered effects first."""
        at = self._steps[level].ended
        if level in point.done:
            yield replace(point, done=point.done - {level})
            return
        pending = self._pending[level]
        ticket = count()
        waiting: list[tuple[int, int, Point]] = [(0, next(ticket), point)]
        known = {point}
        while waiting:
            cost, _, here = heappop(waiting)
            if level in here.done:
                yield replace(here, done=here.done - {level})
                continue
            for number in pending:
                if number in here.done:
                    continue
                for there in self._placed(here, number, at):
                    if there not in known:
                        known.add(there)
                        heappush(waiting, (cost + sum(there.used) - sum(here.used), next(ticket), there))

    def _placed(self, point: Point, number: int, at: int) -> Iterator[Point]:
        """The effect, and whatever unanswered ones it takes to explain what was found."""
        self._examined += 1
        if self._examined > self._examined_max:
            raise Undecided(f"{self._examined_max} steps of the search were not enough: {self._stuck()}")
        step, done = self._steps[number], point.done | {number}
        if step.effect is None:
            least_lost = tuple([lost + given for lost, given in zip(point.lost, step.amounts, strict=True)])
            yield replace(point, is_open=(True,) * len(self._names), least_lost=least_lost, done=done)
        elif step.effect.kind is Kind.GIVE:
            yield replace(point, sums=self._given(point, step.amounts), done=done)
        else:
            for filled in self._filled(point, step, at):
                there = self._told(filled, step)
                if there is not None:
                    yield replace(there, done=done)

    def _told(self, point: Point, step: Step) -> Point | None:
        """The counters after an answered effect, or nothing when it cannot be answered so here."""
        assert step.effect is not None
        lost, is_open = list(point.lost), list(point.is_open)
        for index, found in enumerate(step.found):
            if found is None:
                continue
            missing = point.sums[index] - found
            if is_open[index]:
                if missing < point.least_lost[index]:
                    return None
            elif missing != lost[index]:
                return None
            lost[index], is_open[index] = missing, False
        if not step.effect.is_refusal:
            sums = tuple([held + more for held, more in zip(point.sums, step.amounts, strict=True)])
            return replace(point, sums=sums, lost=tuple(lost), is_open=tuple(is_open))
        return replace(point, lost=tuple(lost), is_open=tuple(is_open))

    def _given(self, point: Point, amounts: Amounts) -> Amounts:
        """No counter falls below nothing."""
        return tuple(
            [
                held if not less else held + less if is_open else max(held + less, lost)
                for held, less, lost, is_open in zip(point.sums, amounts, point.lost, point.is_open, strict=True)
            ]
        )

    def _filled(self, point: Point, step: Step, at: int) -> Iterator[Point]:
        """Place unanswered effects until every counter that was seen holds what was found there."""
        want = self._want(point, step, at)
        if want.is_met:
            yield point
            if not any(point.is_open):
                return  # it is explained: to place more would need something to undo it
        useful = [
            number for number, group in enumerate(self._groups) if any(group.amounts[index] for index in want.watched)
        ]
        if useful:
            yield from self._fill(point, useful, want)

    def _want(self, point: Point, step: Step, at: int) -> Want:
        least, most = [0] * len(self._names), [0] * len(self._names)
        watched = tuple([index for index, found in enumerate(step.found) if found is not None])
        for index in watched:
            lost = (point.least_lost if point.is_open[index] else point.lost)[index]
            missing = (step.found[index] or 0) + lost - point.sums[index]
            least[index] = missing
            most[index] = max(missing, 0) + SPARE_MAX if point.is_open[index] else missing
        return Want(watched, tuple(least), tuple(most), at)

    def _fill(self, point: Point, useful: list[int], want: Want) -> Iterator[Point]:
        """Every choice of how many of each useful group: amounts are small, and so are the sums."""
        number, *others = useful
        group = self._groups[number]
        room = group.available(want.at) - point.used[number]
        for taken in range(room + 1):
            added = tuple([taken * amount for amount in group.amounts])
            if taken and not self._fits(point, added):
                return
            if want.is_exceeded_by(added) and not self._can_fall(useful):
                return
            sums = tuple([held + more for held, more in zip(point.sums, added, strict=True)])
            used = (*point.used[:number], point.used[number] + taken, *point.used[number + 1 :])
            there = replace(point, sums=sums, used=used)
            left = want.after(added)
            if others:
                yield from self._fill(there, others, left)
            elif left.is_met:
                yield there

    def _can_fall(self, groups: list[int]) -> bool:
        return any(min(self._groups[number].amounts) < 0 for number in groups)

    def _fits(self, point: Point, added: Amounts) -> bool:
        """Whether a correct store could have admitted so much more."""
        return all(
            more <= 0 or is_open or held - lost + more <= allowance
            for held, lost, is_open, more, allowance in zip(
                point.sums, point.lost, point.is_open, added, self._allowances, strict=True
            )
        )

    def _failover(self, failover: Failover, steps: list[Step]) -> Step:
        gives = [
            step.amounts
            for step in steps
            if step.effect is not None
            and step.effect.kind is Kind.GIVE
            and step.begun < failover.ended
            and step.ended > failover.began - FORGETS_NS
        ]
        given = tuple([sum(amounts) for amounts in zip(*gives, strict=True)]) or (0,) * len(self._names)
        return Step(given, failover.began, failover.ended)

    def _step(self, effect: Effect) -> Step:
        """Raises WrongHistory when the answer contradicts itself, whatever was before."""
        found: list[int | None] = []
        all_fit = True
        for name, allowance in zip(self._names, self._allowances, strict=True):
            amount = effect.amounts.get(name, 0)
            if name not in effect.amounts or effect.kind is Kind.GIVE:
                found.append(None)
                continue
            if name not in effect.seen:
                raise WrongHistory(f"{effect.said_by} was answered without a word about {name}")
            before = effect.seen[name].used - (0 if effect.is_refusal else amount)
            fits = before + max(amount, 1) <= allowance
            if effect.kind is Kind.TAKE and effect.seen[name].fits is not fits:
                raise WrongHistory(f"{effect.said_by} was told that {name} fits: {not fits}; it holds {before}")
            found.append(before)
            all_fit = all_fit and fits
        if effect.kind is Kind.TAKE and all_fit is effect.is_refusal:
            what = "refused where it fits" if all_fit else "admitted where it does not fit"
            raise WrongHistory(f"{effect.said_by} was {what}: it found {found} of {self._allowances}")
        return Step(self._amounts(effect), effect.begun, effect.ended, effect, tuple(found))

    def _grouped(self, effects: list[Effect]) -> list[Group]:
        begun: dict[Amounts, list[int]] = {}
        for effect in effects:
            if any(effect.amounts.values()):
                begun.setdefault(self._amounts(effect), []).append(effect.begun)
        return [Group(amounts, tuple(sorted(each))) for amounts, each in sorted(begun.items())]

    def _amounts(self, effect: Effect) -> Amounts:
        return tuple([effect.amounts.get(name, 0) for name in self._names])

    def _stuck(self) -> str:
        if self._furthest is None:
            return "nothing could be placed"
        level, point = self._furthest
        step = self._steps[min(level, len(self._steps) - 1)]
        said = "a failover" if step.effect is None else f"{step.effect.said_by}, which found {step.found}"
        holds = tuple([held - lost for held, lost in zip(point.sums, point.lost, strict=True)])
        unknown = Counter({group.amounts: group.available(step.ended) for group in self._groups})
        return (
            f"no order explains {said} ({self._names}); {level} answers before it are explained and leave {holds} of "
            f"{self._allowances}, unanswered so far {dict(unknown)}, already applied {point.used}"
        )


def _pending(steps: list[Step]) -> list[list[int]]:
    """Beside each step, which steps had begun before its answer came and were not answered before: itself included."""
    found: list[list[int]] = []
    beginning = sorted(range(len(steps)), key=lambda number: steps[number].begun, reverse=True)
    running: set[int] = set()
    for number, step in enumerate(steps):
        while beginning and steps[beginning[-1]].begun < step.ended:
            running.add(beginning.pop())
        found.append(sorted(running))
        running.discard(number)
    return found
