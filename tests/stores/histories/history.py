"""The only place that says what a history is: every attempt of every worker, with its times and what it was told."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace


class Kind(StrEnum):
    """What a worker tried."""

    TAKE = "take"  # an admission: all of its amounts, or none
    GIVE = "give"  # a settlement that gives back: its amounts are negative
    LOOK = "look"  # an admission that takes nothing, to see what the counters hold


class Answer(StrEnum):
    """What it was told."""

    OK = "ok"
    DENIED = "denied"
    REPEATED = "repeated"  # a settlement that was booked before
    UNKNOWN = "unknown"  # an error, or the worker died: it may have been applied, and may still be


class Seen(Struct, frozen=True):
    """What one counter held when the store answered, and whether the amount fitted."""

    used: int
    fits: bool


class Attempt(Struct, frozen=True):
    """One call of a worker. Times are nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.

    Attempts with one operation id are one operation, tried again. `amounts` and `seen` are by counter.
    """

    worker: int
    operation: str
    kind: Kind
    amounts: dict[str, int]
    invoked: int
    completed: int | None = None
    answer: Answer = Answer.UNKNOWN
    seen: dict[str, Seen] = {}


class Failover(Struct, frozen=True):
    """From `began` to `ended` one server took the place of another, and acknowledged writes may have been lost."""

    began: int
    ended: int


class History(Struct, frozen=True):
    """All attempts against counters that began at nothing, and what each counter allows."""

    allowances: dict[str, int]
    attempts: tuple[Attempt, ...]
    failovers: tuple[Failover, ...] = ()

    def of(self, counters: Sequence[str]) -> "History":
        """What happened to some of the counters: refusals that were another counter's are left out."""
        kept = [_of(attempt, counters) for attempt in self.attempts]
        allowances = {name: self.allowances[name] for name in counters}
        return replace(self, allowances=allowances, attempts=tuple([each for each in kept if each is not None]))


class WrongHistory(AssertionError):
    """No correct store could have answered so; the message names what was answered and what could have been."""


def _of(attempt: Attempt, counters: Sequence[str]) -> Attempt | None:
    amounts = {name: amount for name, amount in attempt.amounts.items() if name in counters}
    seen = {name: found for name, found in attempt.seen.items() if name in counters}
    if not amounts or (attempt.answer is Answer.DENIED and all(found.fits for found in seen.values())):
        return None
    return replace(attempt, amounts=amounts, seen=seen)


class Log:
    """Where a worker writes its attempts: once before each call and once after, so that its death hides nothing."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._encoder = msgspec.json.Encoder()

    def write(self, attempt: Attempt) -> None:
        self._file.write(self._encoder.encode(attempt) + b"\n")

    def close(self) -> None:
        self._file.close()


def read_log(path: Path) -> list[Attempt]:
    """The attempts of one worker in the order of their calls; those that never came back are UNKNOWN."""
    found: dict[tuple[str, int], Attempt] = {}
    decoder = msgspec.json.Decoder(Attempt)
    for line in path.read_bytes().split(b"\n")[:-1]:  # a worker that was killed may leave half a line
        attempt = decoder.decode(line)
        found[attempt.operation, attempt.invoked] = attempt
    return list(found.values())
