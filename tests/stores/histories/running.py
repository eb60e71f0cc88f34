"""The only place that makes a history with real processes: four workers on one store, and a nemesis that harms it."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Self

from msgspec import Struct

from sessionware.core.store import Store
from sessionware.errors import StoreUnavailable
from sessionware.stores.open import open_store
from tests.stores.histories.history import Answer, Attempt, Failover, History, Kind, Seen, read_log
from tests.stores.histories.worker import ALLOWANCES, Counters

ROOT: Final = Path(__file__).resolve().parents[3]
WORKERS: Final = 4
READY_WITHIN_S: Final = 40.0
ENDS_WITHIN_S: Final = 15.0  # a worker has at most two calls left when it is told to stop
QUIET_WITHIN_S: Final = 15.0
BACK_WITHIN_S: Final = 10.0
LOOKS_EVERY_S: Final = 0.1
PATIENCE_MS: Final = 10_000  # of the first and the last look, which are no part of the race


class Fault(Struct, frozen=True):
    """When harm was done and when it was over. `killed`: from then on the server that was replaced said nothing."""

    began: int
    ended: int
    killed: int = 0


Harm = Callable[["Team"], Awaitable[Fault]]


class Race(Struct, frozen=True):
    """How workers race: what their dice begin with, the scale of the allowances, and how long.

    `before_s` pass before each harm and `after_s` after the last.
    """

    seed: int
    before_s: float
    after_s: float
    scale: int = 1


class Recorded(Struct, frozen=True):
    """What came of a run: the history with the last look at the end of it, and when each fault was."""

    history: History
    faults: tuple[Fault, ...]
    ended_with: dict[str, int]
    killed: frozenset[int]

    def back_after(self, fault: Fault) -> dict[int, float]:
        """Seconds from the beginning of a fault until each worker that lived was answered about every counter again.

        Only what was asked when the harm was over counts, and came back before the next one.
        """
        later = [each.began for each in self.faults if each.began > fault.began]
        until = min(later, default=sys.maxsize)
        lives = [worker for worker in range(WORKERS) if worker not in self.killed]
        mine = {worker: [each for each in self.history.attempts if each.worker == worker] for worker in lives}
        return {
            worker: (answered_again(attempts, since=fault.ended, until=until) - fault.began) / 1e9
            for worker, attempts in mine.items()
        }


def answered_again(attempts: Sequence[Attempt], *, since: int, until: int = sys.maxsize) -> float:
    """When the first answers about every counter had come of what was asked since then; for ever, if they had not."""
    first = dict.fromkeys(ALLOWANCES, float("inf"))
    for attempt in attempts:
        done = attempt.completed
        if attempt.invoked < since or done is None or done >= until or attempt.answer is Answer.UNKNOWN:
            continue
        for name in attempt.amounts:
            first[name] = min(first[name], done)
    return max(first.values())


class Team:
    """The workers of one run, by number; whatever happens, none is left behind."""

    def __init__(self, url: str, folder: Path, race: Race) -> None:
        self._url, self._folder, self._race = url, folder, race
        self._processes: list[asyncio.subprocess.Process] = []
        self.killed: set[int] = set()

    async def __aenter__(self) -> Self:
        try:
            for number in range(WORKERS):
                self._processes.append(await self._start(number))
            async with asyncio.timeout(READY_WITHIN_S):
                for process in self._processes:
                    assert process.stdout is not None
                    assert await process.stdout.readline() == b"ready\n", await _complaint(process)
        except BaseException:
            await self._end_all()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end_all()

    @property
    def alive(self) -> list[int]:
        return [number for number in range(WORKERS) if number not in self.killed]

    def log(self, number: int) -> Path:
        return self._folder / f"worker-{number}.jsonl"

    def go(self) -> None:
        self._tell(range(WORKERS))

    async def kill(self, number: int) -> None:
        """End one as a crash would, in the midst of its calls."""
        self._processes[number].kill()
        await self._processes[number].wait()
        self.killed.add(number)

    async def are_answered(self, since: int) -> bool:
        """Whether every worker that lives has had answers about every counter since then."""
        logs = [await asyncio.to_thread(read_log, self.log(number)) for number in self.alive]
        return all(answered_again(attempts, since=since) < sys.maxsize for attempts in logs)

    async def stop(self) -> None:
        """Returns when all have finished what they were at. Raises AssertionError with what one that failed said."""
        self._tell(self.alive)
        async with asyncio.timeout(ENDS_WITHIN_S):
            for number in self.alive:
                complaint = await _complaint(self._processes[number])
                assert await self._processes[number].wait() == 0, f"worker {number}: {complaint}"

    def _tell(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            pipe = self._processes[number].stdin
            assert pipe is not None
            pipe.write(b"go on\n")

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        arguments = [self._url, self.log(number), number, self._race.seed, self._race.scale]
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.stores.histories.worker", *map(str, arguments),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def _end_all(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def _complaint(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    return (await process.stderr.read()).decode()[-3000:]


class Turns:
    """How often one server took the place of another, and between which instants: also when nobody meant it.

    On a busy machine sentinels, and the nodes of a cluster, take a slow server for a dead one.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._known, self._asked_at = 0, 0
        self.found: list[Failover] = []

    async def ask(self) -> int:
        """How many there were since it was asked before; they are noted."""
        known, asked_at = self._known, self._asked_at
        self._known = await asyncio.to_thread(self._count)
        self._asked_at = time.monotonic_ns()
        more = self._known - known if asked_at else 0
        self.found += [Failover(asked_at, self._asked_at)] * more
        return more


async def record(
    url: str, harms: Sequence[Harm], race: Race, *, folder: Path, turns: Callable[[], int] = int
) -> Recorded:
    """Let four workers race for a while; harm the store in their midst, one harm after the other.

    `turns` counts how often one server has taken the place of another.
    """
    changes = Turns(turns)
    async with open_store(url, timeout_ms=PATIENCE_MS) as store:
        counters = Counters(store, race.scale, race.seed)
        await counters.create(store)
        faults: list[Fault] = []
        async with Team(url, folder, race) as team:
            await changes.ask()
            team.go()
            for harm in harms:
                await asyncio.sleep(race.before_s)
                await changes.ask()
                faults.append(await harm(team))
                await _until_answered(team, faults[-1].ended)
                await changes.ask()
            await asyncio.sleep(race.after_s)
            await team.stop()
            await changes.ask()
        attempts = [attempt for number in range(WORKERS) for attempt in read_log(team.log(number))]
        last = await _look_when_it_is_quiet(store, counters)
    failovers = tuple(_narrowed(changes.found, faults, attempts))
    held = {name: found.used for name, found in last.seen.items()}
    return Recorded(
        History(counters.allowances, (*attempts, last), failovers),
        tuple(faults),
        held,
        frozenset(team.killed),
    )


def _narrowed(failovers: Sequence[Failover], faults: Sequence[Fault], attempts: Sequence[Attempt]) -> list[Failover]:
    """Of those that were meant it is known when: from the harm to the first answer to what was asked after it."""
    left = list(failovers)
    found: list[Failover] = []
    for fault in faults:
        around = [each for each in left if fault.killed and each.began <= fault.killed <= each.ended]
        if not around:
            continue
        left.remove(around[0])
        answered = [
            each.completed
            for each in attempts
            if each.invoked > fault.killed and each.completed is not None and each.answer is not Answer.UNKNOWN
        ]
        found.append(Failover(fault.began, min(answered, default=around[0].ended) - 1))
    return [*found, *left]


async def _until_answered(team: Team, since: int) -> None:
    """Wait until the service is back; not for ever, for whether it came back in time is for the judge to say."""
    give_up_at = time.monotonic() + BACK_WITHIN_S
    while not await team.are_answered(since) and time.monotonic() < give_up_at:
        await asyncio.sleep(LOOKS_EVERY_S)


async def _look_when_it_is_quiet(store: Store, counters: Counters) -> Attempt:
    """The last look, when nothing is on its way any more: two looks in a row that see the same."""
    before = None
    give_up_at = time.monotonic() + QUIET_WITHIN_S
    while True:
        invoked = time.monotonic_ns()
        try:
            seen: dict[str, Seen] | None = await counters.look(store)
        except StoreUnavailable:
            seen = None
        if seen is not None and seen == before:
            amounts = dict.fromkeys(seen, 0)
            return Attempt(-1, "the last look", Kind.LOOK, amounts, invoked, time.monotonic_ns(), Answer.OK, seen)
        assert time.monotonic() < give_up_at, f"the counters never came to rest: {before}, then {seen}"
        before = seen
        await asyncio.sleep(0.1)
