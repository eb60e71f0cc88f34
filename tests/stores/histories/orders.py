"""The only place that searches for an order in which a correct store could have done everything at once.

Every effect happens at one instant between its call and its answer (Herlihy and Wing: linearisability). The search
places effects in the order in which their answers came; before each it may place others that run at the same time,
and as many unanswered ones as are needed to explain what the store said it found. Unanswered ones are never placed
before somebody sees them: they can be applied at any time after their call, so waiting loses no order, because what
is given back only makes room. It goes deep first and comes back when it is stuck. Few of the unanswered ones were ever
applied: it begins with none, and where it gets no further it grants itself one more and begins again, with more
patience. It finds an order if there is one and time enough.
"""

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count

from msgspec import Struct
from msgspec.structs import replace

from tests.stores.histories.history import History, WrongHistory
from tests.stores.histories.steps import Amounts, Plan, Step, plan_of

EXAMINED_MAX = 1_000_000  # about a minute; a history that needs more is said to be undecided, never right
PATIENCE = 4000  # steps without getting further, in the first attempt
REACHES_BACK = 60  # answers before the one where it is stuck: from there on it may place one more
SPARE_MAX = 3  # how much more than is seen may have been applied before a failover lost it


class Undecided(Exception):
    """The search was given up: too many orders to look at. Fewer workers or a shorter run would tell."""


class Order(Struct, frozen=True):
    """An order was found: how many unanswered effects it needs, and what failovers have lost in it, by counter."""

    applied_unknown: int
    lost: dict[str, int]
    examined: int


class Point(Struct, frozen=True):
    """How far one order has come.

    After a failover a counter is open until somebody looks: it holds at most what stands in `held`. What is lost is
    less than nothing where more was given back than taken, and both are lost.
    """

    held: Amounts
    lost: Amounts
    is_open: tuple[bool, ...]
    used: tuple[int, ...]  # how many of each group of unanswered effects were placed
    done: frozenset[int] = frozenset()  # placed before their answers came
    failovers: int = 0  # so many are behind it

    @property
    def place(self) -> tuple[object, ...]:
        """What decides how it can go on, apart from `used`: what was lost does not."""
        return self.held, self.is_open, self.done, self.failovers

    def told(self, step: Step) -> "Point | None":
        """After an answered effect; nothing when it cannot be answered so here."""
        held, lost, is_open = list(self.held), list(self.lost), list(self.is_open)
        for index in step.watched:
            found = step.found[index] or 0
            if found > held[index] or (found < held[index] and not is_open[index]):
                return None
            lost[index] += held[index] - found
            held[index], is_open[index] = found, False
        if not step.is_refusal:
            held = [each + more for each, more in zip(held, step.amounts, strict=True)]
        return replace(self, held=tuple(held), lost=tuple(lost), is_open=tuple(is_open))

    def given(self, step: Step) -> "Point":
        """After something was given back: no counter falls below nothing."""
        changed = zip(self.held, step.amounts, self.is_open, strict=True)
        held = tuple([each + less if is_open else max(each + less, 0) for each, less, is_open in changed])
        return replace(self, held=held)

    def failed_over(self, step: Step) -> "Point":
        held = tuple([each - given for each, given in zip(self.held, step.amounts, strict=True)])
        lost = tuple([each + given for each, given in zip(self.lost, step.amounts, strict=True)])
        return replace(self, held=held, lost=lost, is_open=(True,) * len(held), failovers=self.failovers + 1)

    def filled(self, group: int, taken: int, amounts: Amounts) -> "Point":
        held = tuple([each + taken * more for each, more in zip(self.held, amounts, strict=True)])
        used = (*self.used[:group], self.used[group] + taken, *self.used[group + 1 :])
        return replace(self, held=held, used=used)


class Reach(Struct, frozen=True):
    """What may be placed before an answer: what was asked before `at`, and so many unanswered ones in all."""

    at: int
    budget: int


class Grants:
    """How many unanswered effects may be placed up to each level, and how long one attempt may be stuck."""

    def __init__(self) -> None:
        self._since: list[int] = []  # ascending: from each of these levels on one more
        self._back, self._furthest = REACHES_BACK, -1
        self.patience = PATIENCE

    def at(self, level: int) -> int:
        return bisect_right(self._since, level)

    def grant(self, furthest: int) -> None:
        """One more, from a while before the level that was reached; from ever further back if that does not help."""
        if furthest <= self._furthest:
            self._back, self.patience = self._back * 2, self.patience * 2
        else:
            self._back = REACHES_BACK
        self._furthest = max(furthest, self._furthest)
        insort(self._since, max(furthest - self._back, 0))


class Seen:
    """Which points were tried in vain. Whoever has used up no less of the unanswered effects gets no further."""

    def __init__(self) -> None:
        self._used: dict[tuple[object, ...], list[tuple[int, ...]]] = defaultdict(list)

    def add(self, level: int, point: Point) -> bool:
        """Whether it is worth a try."""
        known = self._used[level, *point.place]
        if any(all(a <= b for a, b in zip(each, point.used, strict=True)) for each in known):
            return False
        known.append(point.used)
        return True


def find_order(history: History, *, examined_max: int = EXAMINED_MAX) -> Order:
    """An order that explains every answer. Raises WrongHistory when there is none, Undecided after too many."""
    return _Search(plan_of(history), examined_max).run()


class _Search:
    def __init__(self, plan: Plan, examined_max: int) -> None:
        self._plan = plan
        self._examined, self._examined_max = 0, examined_max
        self._furthest: tuple[int, Point | None] = (-1, None)
        self._grants = Grants()
        self._gave_up = False

    def run(self) -> Order:
        while True:
            self._gave_up = False
            furthest, end = self._attempt()
            if end is not None:
                lost = dict(zip(self._plan.names, end.lost, strict=True))
                return Order(sum(end.used), lost, self._examined)
            if not self._gave_up:
                raise WrongHistory(self._stuck())
            self._grants.grant(furthest)

    def _attempt(self) -> tuple[int, Point | None]:
        """How far it came, and the end of an order if it found one."""
        nothing = (0,) * len(self._plan.names)
        start = Point(nothing, nothing, (False,) * len(nothing), (0,) * len(self._plan.groups))
        seen = Seen()
        furthest, give_up_at = -1, self._examined + self._grants.patience
        levels: list[Iterator[Point]] = [iter([start])]
        while levels:
            if self._examined > give_up_at:
                self._gave_up = True
                return furthest, None
            point = next(levels[-1], None)
            if point is None:
                levels.pop()
                continue
            level = len(levels) - 1
            if not seen.add(level, point):
                continue
            if level > furthest:
                furthest, give_up_at = level, self._examined + self._grants.patience
                self._furthest = max(self._furthest, (level, point), key=lambda each: each[0])
            if level == len(self._plan.steps):
                return level, point
            levels.append(self._after(point, level))
        return furthest, None

    def _after(self, point: Point, level: int) -> Iterator[Point]:
        """Every way to get the effect done whose answer comes next, those with few unanswered effects first."""
        if level in point.done:
            yield replace(point, done=point.done - {level})
            return
        reach, ticket = Reach(self._plan.steps[level].ended, self._grants.at(level)), count()
        waiting = [(0, next(ticket), point)]
        known = {(point.place, point.used)}
        while waiting:
            cost, _, here = heappop(waiting)
            if level in here.done:
                yield replace(here, done=here.done - {level})
                continue
            for number in (level, *self._plan.beside[level]):
                if number in here.done:
                    continue
                for there in self._placed(here, number, reach):
                    if (there.place, there.used) in known:
                        continue
                    known.add((there.place, there.used))
                    if number == level and there.used == here.used:
                        yield replace(there, done=there.done - {level})  # nothing that waits can be cheaper
                    else:
                        heappush(waiting, (cost + sum(there.used) - sum(here.used), next(ticket), there))

    def _placed(self, point: Point, number: int, reach: Reach) -> Iterator[Point]:
        """The effect, and whatever unanswered ones it takes to explain what was found."""
        self._examined += 1
        if self._examined > self._examined_max:
            raise Undecided(f"{self._examined_max} steps of the search were not enough: {self._stuck()}")
        step = self._plan.steps[number]
        point = replace(point, done=point.done | {number})
        if step.effect is None:
            yield point.failed_over(step)
        elif step.is_give:
            yield point.given(step)
        else:
            for filled in self._filled(point, step, reach):
                there = filled.told(step)
                if there is not None:
                    yield there

    def _filled(self, point: Point, step: Step, reach: Reach) -> Iterator[Point]:
        """Place unanswered effects until every counter that was seen holds what was found there."""
        watched = step.watched
        least = {index: (step.found[index] or 0) - point.held[index] for index in watched}
        most = {
            index: max(missing, 0) + SPARE_MAX if point.is_open[index] else missing for index, missing in least.items()
        }
        if all(least[index] <= 0 <= most[index] for index in watched):
            yield point
            if not any(point.is_open):
                return  # it is explained: to place more would need something to undo it
        groups = self._plan.groups
        useful = [number for number, group in enumerate(groups) if any(group.amounts[index] for index in watched)]
        if useful:
            yield from self._fill(point, useful, least, most, reach)

    def _fill(
        self, point: Point, useful: list[int], least: dict[int, int], most: dict[int, int], reach: Reach
    ) -> Iterator[Point]:
        """Every choice of how many of each useful group: amounts are small, and so are the sums."""
        number, *others = useful
        group = self._plan.groups[number]
        can_fall = any(min(self._plan.groups[each].amounts) < 0 for each in useful)
        for taken in range(self._room(point, number, reach.at) + 1):
            there = point.filled(number, taken, group.amounts)
            if taken and not self._fits(point, there):
                return
            left = {index: want - taken * group.amounts[index] for index, want in least.items()}
            rest = {index: want - taken * group.amounts[index] for index, want in most.items()}
            if min(rest.values()) < 0 and not can_fall:
                return
            if sum(there.used) > reach.budget:
                self._gave_up = True
                return
            if others:
                yield from self._fill(there, others, left, rest, reach)
            elif all(left[index] <= 0 <= rest[index] for index in left):
                yield there

    def _room(self, point: Point, number: int, at: int) -> int:
        """How many of a group can still be placed."""
        group = self._plan.groups[number]
        if group.is_forgotten and point.failovers == self._plan.failovers:
            return 0
        return group.available(at) - point.used[number]

    def _fits(self, before: Point, after: Point) -> bool:
        """Whether a correct store could have admitted so much more."""
        changed = zip(before.held, after.held, before.is_open, self._plan.allowances, strict=True)
        return all(now <= then or is_open or now <= allowance for then, now, is_open, allowance in changed)

    def _stuck(self) -> str:
        level, point = self._furthest
        if point is None:
            return "nothing could be placed"
        step = self._plan.steps[min(level, len(self._plan.steps) - 1)]
        unknown = {group.amounts: group.available(step.ended) for group in self._plan.groups}
        return (
            f"no order explains {step} ({', '.join(self._plan.names)}); {level} answers before it are explained and "
            f"leave {point.held} of {self._plan.allowances}; unanswered so far {unknown}, applied {point.used}"
        )
