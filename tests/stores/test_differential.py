"""Every store against the memory store: thousands of steps, the same answers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionware.core.facts import Event, Gap, Interrupted, OrgLimitsNow
from sessionware.core.store import Store
from sessionware.stores.memory import MemoryStore
from sessionware.testing import ManualClock
from tests.selection import selected_stores
from tests.stores.differential import COUNTING, METHODS, Life, Step, World, any_step
from tests.stores.opening import fresh_store

STEPS = 2_500
HEAR_WITHIN_S = 50.0  # for a whole life

steps = st.lists(st.builds(any_step, st.randoms(use_true_random=False)), max_size=40)


async def first_difference(kind: str, url: str, script: Sequence[Step]) -> str | None:
    """Live the script in both stores; what was answered differently, or None."""
    clock = ManualClock()
    async with MemoryStore(clock=clock) as reference, fresh_store(kind, clock, server=url) as store:
        world, truth, subject = World(clock), Life(reference, clock), Life(store, clock)
        heard = [asyncio.ensure_future(hear_until_marked(await listening(each))) for each in (reference, store)]
        for number, step in enumerate(script):
            method, what = world.call(step)
            wanted, got = await truth.answer(method, what), await subject.answer(method, what)
            if got != wanted:
                for ears in heard:
                    ears.cancel()
                return f"step {number}, {method} {what}\nmemory: {wanted}\n{kind}: {got}"
        marker = world.make.new(world.make.session("marker"))
        for each in (reference, store):
            await each.create(marker, operation=world.make.operation(), now=clock.now())
            await each.record([Interrupted(marker.session.key)], now=clock.now())
        wanted_events, got_events = await asyncio.gather(*heard)
        return None if got_events in (wanted_events, None) else f"events\nmemory: {wanted_events}\n{kind}: {got_events}"


async def listening(store: Store) -> AsyncIterator[Event]:
    """A watch that has said its first word: from here on it hears everything."""
    watch = store.watch()
    assert await anext(watch) == Gap()
    return watch


async def hear_until_marked(watch: AsyncIterator[Event]) -> list[str] | None:
    """What a watcher hears of a life until its last word, in no order; of limits as they stand, the last word only.

    None after a Gap: something was missed (hours of a manual clock may pass between two polls), and it was said.
    """
    heard: list[Event] = []
    limits: dict[bytes, Event] = {}
    marker = World(ManualClock()).make.key("marker")
    async with asyncio.timeout(HEAR_WITHIN_S):
        async for event in watch:
            if event == Interrupted(marker):
                break
            if isinstance(event, OrgLimitsNow):
                limits[event.org] = OrgLimitsNow(event.org, dict(sorted(event.limits.items())))
            else:
                heard.append(event)
    return None if Gap() in heard else sorted(map(repr, [*heard, *limits.values()]))


def shrunk(kind: str, url: str, script: list[Step]) -> list[Step]:
    """The same difference with fewer steps: leave out halves, quarters, ... as long as it stays."""
    size = len(script)
    while size >= 1:
        start = 0
        while start < len(script):
            shorter = script[:start] + script[start + size :]
            if asyncio.run(first_difference(kind, url, shorter)):
                script = shorter
            else:
                start += size
        size //= 2
    return script


SUBJECTS = [kind for kind in selected_stores() if kind != "memory"] or ["memory"]
SEEDS = 2
ONE_IS_QUICK = {"sentinel", "cluster", "postgres"}  # more lives of these are in make test-faults


@pytest.mark.parametrize("methods", [METHODS, COUNTING], ids=["all", "counting"])
@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        pytest.param(kind, seed, marks=[pytest.mark.faults] if seed and kind in ONE_IS_QUICK else [])
        for kind in SUBJECTS
        for seed in range(SEEDS)
    ],
)
def test_a_long_life_is_the_same_in_every_store(kind, seed, methods, server_of):
    server = server_of(kind)
    random = Random(seed)
    script = [any_step(random, methods) for _ in range(STEPS)]
    difference = asyncio.run(first_difference(kind, server, script))
    if difference is not None:
        number = int(difference.split(",")[0].split()[1]) if difference.startswith("step") else len(script)
        script = shrunk(kind, server, script[: number + 1])
        difference = asyncio.run(first_difference(kind, server, script))
    assert difference is None, f"{difference}\nafter {len(script)} steps: {script}"


@pytest.mark.parametrize("kind", SUBJECTS)
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(script=steps)
def test_a_short_life_is_the_same_in_every_store(kind, server_of, script):
    assert asyncio.run(first_difference(kind, server_of(kind), script)) is None
