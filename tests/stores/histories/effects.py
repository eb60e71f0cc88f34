"""The only place that knows that an operation counts once, however often it was tried: attempts become effects."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from msgspec import Struct

from tests.stores.histories.history import Answer, Attempt, History, Kind, Seen, WrongHistory

FOREVER = 2**63


class Effect(Struct, frozen=True):
    """What happened at one instant between `begun` and `ended`, if it happened.

    With `seen` the store said what it found: before a refusal or a look, after a take.
    """

    kind: Kind
    amounts: dict[str, int]
    begun: int
    ended: int
    seen: dict[str, Seen] = {}
    is_refusal: bool = False
    said_by: str = ""  # which operation of which worker, for messages

    @property
    def is_certain(self) -> bool:
        return self.ended != FOREVER


def effects_of(history: History) -> list[Effect]:
    """All effects, certain or possible. Raises WrongHistory where a repeated operation contradicts itself.

    Across a failover it may: what was forgotten is done again.
    """
    operations: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in sorted(history.attempts, key=lambda each: each.invoked):
        operations[attempt.operation].append(attempt)
    found: list[Effect] = []
    for attempts in operations.values():
        of_kind = _of_give if attempts[0].kind is Kind.GIVE else _of_take
        found += of_kind(attempts, may_forget=bool(history.failovers))
    return found


def _of_take(attempts: Sequence[Attempt], *, may_forget: bool) -> Iterator[Effect]:
    admitted = [each for each in attempts if each.answer is Answer.OK]
    possible = [each.invoked for each in attempts if each.answer is Answer.UNKNOWN]
    answers = {tuple(sorted((name, seen.used) for name, seen in each.seen.items())) for each in admitted}
    if len(answers) > 1 and not may_forget:
        raise WrongHistory(f"{_who(attempts[0])} was admitted more than once: repeats found {sorted(answers)}")
    for attempt in attempts:
        if attempt.answer is not Answer.DENIED:
            continue
        if not may_forget and any(_end(each) < attempt.invoked for each in admitted):
            raise WrongHistory(f"{_who(attempt)} was admitted, and refused when it was repeated")
        yield _effect(attempt, attempt.invoked, _end(attempt), is_refusal=True)
    for answer in sorted(answers):
        same = [each for each in admitted if tuple(sorted((n, s.used) for n, s in each.seen.items())) == answer]
        yield _effect(same[0], min([same[0].invoked, *possible]), min(map(_end, same)))
    if possible and not admitted:
        yield _effect(attempts[0], min(possible), FOREVER)


def _of_give(attempts: Sequence[Attempt], *, may_forget: bool) -> Iterator[Effect]:
    booked = [each for each in attempts if each.answer is Answer.OK]
    repeated = [each for each in attempts if each.answer is Answer.REPEATED]
    begun = attempts[0].invoked
    if may_forget:
        for each in booked:
            yield _effect(each, begun, _end(each))
    elif len(booked) > 1:
        raise WrongHistory(f"{_who(attempts[0])} was booked {len(booked)} times")
    for each in repeated:
        if not any(other is not each and other.invoked < _end(each) for other in attempts if other not in repeated):
            raise WrongHistory(f"{_who(each)} was booked before, as the store says, but nobody had asked for it")
    answered = booked + repeated
    if (answered and not may_forget) or (repeated and not booked):
        yield _effect(attempts[0], begun, min(map(_end, answered)))
    elif not answered:
        yield _effect(attempts[0], begun, FOREVER)


def _effect(attempt: Attempt, begun: int, ended: int, *, is_refusal: bool = False) -> Effect:
    seen = attempt.seen if ended != FOREVER else {}
    return Effect(attempt.kind, attempt.amounts, begun, ended, seen, is_refusal, _who(attempt))


def _end(attempt: Attempt) -> int:
    return FOREVER if attempt.completed is None else attempt.completed


def _who(attempt: Attempt) -> str:
    amounts = ", ".join(f"{amount:+d} {name}" for name, amount in attempt.amounts.items())
    return f"operation {attempt.operation} of worker {attempt.worker} ({attempt.kind}: {amounts})"
