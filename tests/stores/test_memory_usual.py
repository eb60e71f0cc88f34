"""The memory store's two ways to admit: whatever the short one answers, the long one would have answered."""

import asyncio
from random import Random

import pytest
from msgspec.structs import replace

from sessionware.core.admission import Admitted, Token
from sessionware.core.ledger import CAP, Scope
from sessionware.stores.memory import MemoryStore, admitting
from sessionware.stores.memory.usual import admit_usual
from sessionware.testing import Maker, ManualClock
from tests.selection import is_selected
from tests.stores.differential import METHODS, Life, World, any_step

pytestmark = pytest.mark.skipif(not is_selected("memory"), reason="not among STORES")

LIVES, STEPS = 100, 60


class LongWay(MemoryStore):
    """Never takes the short way."""

    async def admit(self, ask):
        return admitting.admit(self._state, ask)


class ShortWay(MemoryStore):
    """Takes the short way where it can, and counts how often that is."""

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.shortened = 0

    async def admit(self, ask):
        answer = admit_usual(self._state, ask)
        self.shortened += answer is not None
        return answer or await super().admit(ask)


def nearly_usual(ask, random):
    """The same question without most of what is unusual, often with room for what it takes."""
    usual = {"link": None, "candidate": None, "leases": (), "once": False, "opens": False, "touch": True}
    usual |= {"wants_data": True, "token": random.choice((None, None, None, Token(b"t" * 16, -1)))}
    kept = random.choice([None, None, *usual])
    ask = replace(ask, **{name: value for name, value in usual.items() if name != kept})
    if ask.new is not None:
        ask = replace(ask, owner=ask.new.session.birth.owner)
    allowance = random.choice((None, CAP))
    return replace(ask, spends=tuple(replace(each, allowance=allowance or each.allowance) for each in ask.spends))


def test_every_life_is_the_same_on_both_ways():
    """Short lives: after a while every owner has something revoked or overridden, which is not usual."""

    async def life(seed):
        clock, random = ManualClock(), Random(seed)
        long, short = LongWay(clock=clock), ShortWay(clock)
        world, truth, subject = World(clock), Life(long, clock), Life(short, clock)
        for number in range(STEPS):
            method, what = world.call(any_step(random, METHODS))
            calls = [what]
            if method == "admit":
                usual = nearly_usual(what, random)
                calls = [usual, usual.at(usual.now + 1), usual]
            for call in calls:
                wanted = await truth.answer(method, call)
                assert await subject.answer(method, call) == wanted, f"life {seed}, step {number}, {method} {call}"
        return short.shortened

    async def lives():
        return sum([await life(seed) for seed in range(LIVES)])

    shortened = asyncio.run(lives())
    assert shortened > 5 * LIVES


def test_the_usual_request_takes_the_short_way():
    async def story():
        clock = ManualClock()
        store = ShortWay(clock)
        make = Maker.of(store)
        session = make.session("work")
        await store.create(make.new(session), operation=make.operation(), now=clock.now())
        spends = (make.spend(scope=Scope.SESSION), make.spend())
        answers = [await store.admit(make.ask(session, spends=spends, token=make.token("good"))) for _ in range(11)]
        assert all(isinstance(answer, Admitted) for answer in answers)
        assert [[tally.counter.used for tally in answer.tallies] for answer in answers[:3]] == [[1, 1], [2, 2], [3, 3]]
        assert store.shortened == 9, "the first makes the counters, the last does not fit"

    asyncio.run(story())
