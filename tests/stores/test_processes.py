"""Atomicity is the claim: several processes on one store, and exactly as much as allowed."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionware.clock import HostClock
from sessionware.core.facts import Acknowledged
from sessionware.core.session import EndReason
from sessionware.core.store import CLAIM_MS, Query
from sessionware.stores.open import open_store
from sessionware.testing import ManualClock
from sessionware.testing.build import Maker
from tests.selection import selected_stores
from tests.stores.opening import some_place_on

SHARED = [kind for kind in selected_stores() if kind != "memory"]
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=SHARED)
def url(request: pytest.FixtureRequest, tmp_path: Path, server_of: Callable[[str], str]) -> Iterator[str]:
    """A store that several processes can open, and nobody else has."""
    if request.param == "sqlite":
        yield f"sqlite:////{tmp_path}/shared.db"
    else:
        yield some_place_on(server_of(request.param))


class Crew:
    """Worker processes that stay for the next test; to start one takes longer than most parts."""

    def __init__(self) -> None:
        self._workers: list[subprocess.Popen[str]] = []

    def together(self, url: str, part: str, *, processes: int, each: int) -> list[Any]:
        """Let so many processes do a part at the same time; what each of them printed, None where one died."""
        while len(self._workers) < processes:
            command = [sys.executable, "-m", "tests.stores.worker"]
            self._workers.append(
                subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
        chosen = self._workers[:processes]
        for worker in chosen:
            say(worker, json.dumps([url, part, each]))
        for worker in chosen:
            assert heard(worker) == "ready\n"
        for worker in chosen:
            say(worker, "go")
        printed = [heard(worker) for worker in chosen]
        for worker, text in zip(chosen, printed, strict=True):
            if not text:
                self._dismiss(worker)
        return [json.loads(text) if text else None for text in printed]

    def close(self) -> None:
        while self._workers:
            self._dismiss(self._workers[0])

    def _dismiss(self, worker: subprocess.Popen[str]) -> None:
        self._workers.remove(worker)
        worker.kill()
        worker.communicate()


def say(worker: subprocess.Popen[str], text: str) -> None:
    assert worker.stdin is not None
    worker.stdin.write(f"{text}\n")
    worker.stdin.flush()


def heard(worker: subprocess.Popen[str]) -> str:
    """The next line; empty when the process has ended."""
    assert worker.stdout is not None
    return worker.stdout.readline()


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    found = Crew()
    yield found
    found.close()


async def with_one_session(url: str, **fields: Any) -> None:
    async with open_store(url, timeout_ms=10_000) as store:
        make = Maker.of(store)
        await store.create(make.new(make.session("work", **fields)), operation=make.operation(), now=make.now)


def test_four_processes_share_one_allowance_to_the_unit(url: str, crew: Crew) -> None:
    """B23, A36, B40: 4 x 250 concurrent admissions, allowance 100: exactly 100."""
    asyncio.run(with_one_session(url))
    assert sum(crew.together(url, "admit", processes=4, each=250)) == 100


def test_no_increment_is_lost_between_four_processes(url: str, crew: Crew) -> None:
    """C3, A39, SES-18: 4 x 250 increments by compare and set: 1000."""
    asyncio.run(with_one_session(url))
    crew.together(url, "increment", processes=4, each=250)

    async def total() -> int:
        async with open_store(url, timeout_ms=10_000) as store:
            session = await store.get(Maker.of(store).session("work").key, now=store.clock.now())
            assert session is not None
            return int(session.data or b"0")

    assert asyncio.run(total()) == 1000


def test_one_name_is_made_once_by_fifty_creates_in_four_processes(url: str, crew: Crew) -> None:
    """A3."""
    assert sum(crew.together(url, "create_one_name", processes=4, each=50)) == 1


def test_a_cap_of_five_holds_for_creates_in_four_processes(url: str, crew: Crew) -> None:
    """B8, SES-12."""
    crew.together(url, "create_under_a_cap", processes=4, each=20)

    async def listed() -> int:
        async with open_store(url, timeout_ms=10_000) as store:
            make = Maker.of(store)
            page = await store.list(Query(owner=make.owner(), bucket=make.bucket()), now=make.now)
            assert page.total == len(page.sessions)
            return page.total

    assert asyncio.run(listed()) == 5


def test_a_global_cap_of_three_holds_for_creates_in_two_processes(url: str, crew: Crew) -> None:
    """D9: 20 parallel starts on 2 workers: exactly 3."""
    assert sum(crew.together(url, "create_under_a_global_cap", processes=2, each=20)) == 3


def test_a_session_is_closed_once_by_ten_closes_in_each_of_two_processes(url: str, crew: Crew) -> None:
    """D20."""
    asyncio.run(with_one_session(url))
    assert sum(crew.together(url, "close_at_once", processes=2, each=10)) == 1


def test_each_expired_session_is_reaped_by_one_of_two_processes(url: str, crew: Crew) -> None:
    """B12: counted once each."""

    async def fill() -> list[str]:
        async with open_store(url, timeout_ms=10_000) as store:
            make = Maker.of(store)
            sessions = [make.session(f"work-{number}", idle=1) for number in range(300)]
            for session in sessions:
                await store.create(make.new(session), operation=make.operation(), now=make.now)
            return [session.key.hash.hex() for session in sessions]

    wanted = asyncio.run(fill())
    taken = crew.together(url, "reap", processes=2, each=20)
    assert sorted(taken[0] + taken[1]) == sorted(wanted)


def test_an_end_that_died_with_its_worker_is_told_by_another(url: str, crew: Crew) -> None:
    """Store.md 18: removal exactly once, notification at least once."""
    asyncio.run(with_one_session(url))
    assert crew.together(url, "take_and_die", processes=1, each=1) == [None]

    async def others() -> None:
        clock = ManualClock(HostClock().now())
        async with open_store(url, clock=clock, timeout_ms=10_000) as store:
            make = Maker.of(store)
            key = make.session("work").key
            assert await store.get(key, now=make.now) is None
            assert await store.reap(now=make.now, limit=10) == []
            later = clock.advance(CLAIM_MS)
            (ended,) = await store.reap(now=later, limit=10)
            assert (ended.session.key, ended.reason) == (key, EndReason.ENDED)
            assert await store.reap(now=later, limit=10) == []
            assert await store.record([Acknowledged(key.bucket, ended.receipt)], now=later) == [True]
            assert await store.reap(now=later + CLAIM_MS, limit=10) == []

    asyncio.run(others())


def test_what_one_process_made_another_finds_and_after_all_have_gone_it_is_still_there(url: str, crew: Crew) -> None:
    """A36, A38."""
    asyncio.run(with_one_session(url, user="bob"))

    async def found() -> bool:
        async with open_store(url, timeout_ms=10_000) as store:
            make = Maker.of(store)
            return await store.get(make.session("work", user="bob").key, now=make.now) is not None

    assert asyncio.run(found())
