"""The only place that knows how a law of the contract is run: a fresh store, a clock that stands still, a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import wraps
from typing import Any, Final, TypeVar

from sessionware.core.store import Store
from sessionware.testing.clock import ManualClock
from sessionware.testing.contract.scene import Scene

LAW_TIMEOUT_S: Final = 30.0  # real seconds for one law; none needs a second, so this is a store that hangs

SomeExam = TypeVar("SomeExam", bound="Exam")
Raised = TypeVar("Raised", bound=Exception)


class Exam:
    """What every part of the contract has in common: the one thing that a store's author writes."""

    def open(self, clock: ManualClock) -> AbstractAsyncContextManager[Store]:
        """Make a new, empty store that tells the time by `clock`. Stores are async context managers themselves."""
        raise NotImplementedError(f"{type(self).__name__} must say how to open a store: def open(self, clock)")


def law(check: Callable[[SomeExam, Scene], Awaitable[None]]) -> Callable[[SomeExam], None]:
    """Turn `async def test_...(self, scene)` into a plain test that needs no plugin and no fixture."""

    @wraps(check)
    def run(exam: SomeExam) -> None:
        asyncio.run(_examine(exam, check))

    del run.__wrapped__  # pytest would look through it and want a fixture `scene`
    return run


async def _examine(exam: SomeExam, check: Callable[[SomeExam, Scene], Awaitable[None]]) -> None:
    clock = ManualClock()
    async with asyncio.timeout(LAW_TIMEOUT_S), exam.open(clock) as store:
        scene = Scene(store, clock)
        assert await scene.total() == 0, "the store is not new: open() must make an empty one every time"
        await check(exam, scene)


async def at_once(count: int, action: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """Do `action(0)`, `action(1)`, ... concurrently; the answers, in that order."""
    return list(await asyncio.gather(*[action(number) for number in range(count)]))


async def raises(kind: type[Raised], action: Awaitable[Any]) -> Raised:
    """Await `action`, which must raise `kind`; the error that it raised."""
    try:
        answer = await action
    except kind as error:
        return error
    raise AssertionError(f"it must raise {kind.__name__}, but it answered {answer!r}")
