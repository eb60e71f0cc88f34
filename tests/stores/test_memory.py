"""What only the memory store promises: bounded counters, cheap expiry, memory in proportion, and no pause in a step."""

import asyncio
import gc
import tracemalloc
from collections.abc import Coroutine
from typing import Any

import pytest
from msgspec.structs import replace

from sessionware.core.admission import Caps, Outcome
from sessionware.core.facts import Acknowledged, Fact
from sessionware.core.ledger import Scope, When
from sessionware.core.store import OPERATIONS_MAX, Log, Making, Move, Query
from sessionware.core.windows import NEVER, Sliding
from sessionware.stores.memory import MemoryStore
from sessionware.stores.memory.counters import OVERFLOW_BUCKETS
from sessionware.stores.memory.wheel import SLOT_MS, Wheel
from sessionware.testing import ManualClock
from sessionware.testing.contract.scene import Scene
from tests.selection import is_selected

pytestmark = pytest.mark.skipif(not is_selected("memory"), reason="not among STORES")

CAP = 100
TABLES_LEFT = 0.4  # Python's dicts keep the room of what was deleted until the next growth
SWEPT_LATE = 10  # the wheel is a second behind, and sweeps a few at a time


def scene_of(*, counters_cap: int = CAP) -> Scene:
    clock = ManualClock()
    return Scene(MemoryStore(clock=clock, counters_cap=counters_cap), clock)


def counters_in(scene: Scene) -> int:
    store = scene.store
    assert isinstance(store, MemoryStore)
    return len(store._state.counters)  # noqa: SLF001  # the store tells nobody how many it keeps


def done_at_once(step: Coroutine[Any, Any, Any]) -> Any:
    """The answer of a coroutine that never waits; a wait is a failure."""
    try:
        step.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited in the middle of a step: another task could see it half done")


def test_no_method_waits_between_reading_and_writing():
    scene = scene_of()
    store, make, now = scene.store, scene.make, scene.now
    work, link = make.session(None), make.link(make.session(None))
    steps = [
        store.create(make.new(work), operation=make.operation(), now=now),
        store.admit(make.ask(work, spends=(make.spend(),), leases=(make.lease(),))),
        store.get(work.key, now=now),
        store.update(work, now=now),
        store.rebind(work.key, pool="tools", was=None, to="a", now=now),
        store.link(replace(link, session=work.key), operation=make.operation(), now=now),
        store.append(work.key, Log.CONTEXT, b"x", keep=5, now=now),
        store.tail(work.key, Log.CONTEXT, 5, now=now),
        store.list(Query(), now=now),
        store.record([Acknowledged(0, "none")], now=now),
        store.reap(now=now, limit=10),
        store.move(Move(work.key, replace(work.birth, key=make.key_beside(work.key)), work.revision + 1), now=now),
        store.unlink(link.key, now=now),
        store.delete(work.key, now=now),
    ]
    for step in steps:
        done_at_once(step)


def test_a33_a_new_store_remembers_nothing_of_another():
    async def story():
        first, second = scene_of(), scene_of()
        work = await first.start()
        assert await second.get(work) is None
        assert first.store.addresses.salt != second.store.addresses.salt

    asyncio.run(story())


def test_asgi_04_a_flood_of_clients_cannot_grow_the_counters_past_their_cap():
    async def story():
        scene = scene_of()
        for client in range(5 * CAP):
            await scene.admit(spends=(scene.make.spend(scope=Scope.CLIENT, over=str(client)),))
        assert CAP <= counters_in(scene) <= CAP + OVERFLOW_BUCKETS

    asyncio.run(story())


def test_asgi_04_an_exhausted_counter_stays_exhausted_through_a_flood():
    async def story():
        scene = scene_of()
        abuser = scene.make.spend(scope=Scope.CLIENT, over="abuser", allowance=1)
        await scene.admit(spends=(abuser,))
        for client in range(5 * CAP):
            await scene.admit(spends=(scene.make.spend(scope=Scope.CLIENT, over=str(client)),))
        assert await scene.outcome(spends=(abuser,)) is Outcome.LIMITED

    asyncio.run(story())


def test_asgi_04_clients_beyond_the_cap_share_and_are_still_limited():
    async def story():
        scene = scene_of(counters_cap=0)
        late = scene.make.spend(scope=Scope.CLIENT, over="late", allowance=3)
        same_place = replace(late, key=late.key[:4] + bytes(12))
        outcomes = [await scene.outcome(spends=(spend,)) for spend in (late, same_place, late, same_place)]
        assert outcomes == [Outcome.ADMITTED] * 3 + [Outcome.LIMITED]
        other_limit = replace(late, limit="other", key=bytes(16))
        assert await scene.outcome(spends=(other_limit,)) is Outcome.ADMITTED

    asyncio.run(story())


def test_asgi_04_the_counter_that_fills_the_cap_does_not_reset_the_one_that_is_shared():
    """Two spends in one step: the first takes the last place, the second must not be written as if it were alone."""

    async def story():
        scene = scene_of(counters_cap=2)
        for filler in ("one", "two"):
            await scene.admit(spends=(scene.make.spend(scope=Scope.CLIENT, over=filler, span=Sliding(SLOT_MS)),))
        exhausting = scene.make.spend(scope=Scope.CLIENT, allowance=100, cost=100)
        beside, late = [replace(exhausting, key=exhausting.key[:4] + bytes([number] * 12)) for number in (1, 2)]
        assert await scene.outcome(spends=(exhausting,)) is Outcome.ADMITTED
        scene.later(5 * SLOT_MS)  # the fillers are stale: there is room for one of the next two
        new = scene.make.spend(scope=Scope.CLIENT, over="new")
        assert await scene.outcome(spends=(new, beside)) is Outcome.ADMITTED
        assert await scene.outcome(spends=(late,)) is Outcome.LIMITED

    asyncio.run(story())


def test_users_and_organisations_keep_counters_of_their_own_beyond_the_cap():
    async def story():
        scene = scene_of(counters_cap=0)
        for scope in (Scope.USER, Scope.ORG, Scope.GLOBAL):
            spends = [scene.make.spend(scope=scope, over=str(number), allowance=1) for number in range(50)]
            outcomes = {await scene.outcome(spends=(spend,)) for spend in spends}
            assert outcomes == {Outcome.ADMITTED}

    asyncio.run(story())


def test_stale_counters_make_room_again_without_any_sweep():
    async def story():
        scene = scene_of()
        for client in range(2 * CAP):
            await scene.admit(spends=(scene.make.spend(scope=Scope.CLIENT, over=str(client)),))
        scene.later(10 * 60_000)
        for client in range(CAP):
            await scene.admit(spends=(scene.make.spend(scope=Scope.CLIENT, over=f"new {client}"),))
        assert counters_in(scene) <= CAP + SWEPT_LATE

    asyncio.run(story())


def test_a_reap_drops_what_counts_for_nothing_any_more():
    async def story():
        scene = scene_of(counters_cap=10_000)
        used = scene.make.spend(scope=Scope.CLIENT, over="used", span=Sliding(60_000), allowance=10)
        for client in range(1000):
            await scene.admit(spends=(scene.make.spend(scope=Scope.CLIENT, over=str(client)), used))
        scene.later(4 * 60_000)
        await scene.admit(spends=(used.at(scene.now),))
        await scene.reap()
        assert counters_in(scene) == 1
        assert await scene.used(used) == 1

    asyncio.run(story())


def test_the_answers_to_operations_are_bounded_per_owner():
    async def story():
        scene = scene_of()
        first, session = scene.make.operation(), scene.make.session("first")
        bobs, bobs_operation = scene.make.session("bobs", user="bob"), scene.make.operation()
        await scene.create(session, operation=first)
        await scene.create(bobs, operation=bobs_operation)
        for number in range(OPERATIONS_MAX):
            await scene.create(scene.make.session(str(number)))
        assert (await scene.create(session, operation=first)).outcome is Making.EXISTS
        assert (await scene.create(bobs, operation=bobs_operation)).outcome is Making.CREATED

    asyncio.run(story())


def test_e18_memory_is_linear_in_sessions_and_is_given_back():
    async def bytes_held(count: int) -> tuple[int, int]:
        scene = scene_of()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            await scene.start(None, user=str(number))
        gc.collect()
        full = tracemalloc.get_traced_memory()[0] - before
        scene.later(scene.make.session(None).idle)
        told = 0
        while ended := await scene.reap(count):
            facts: list[Fact] = [Acknowledged(each.session.key.bucket, each.receipt) for each in ended]
            told += sum(await scene.record(*facts))
        assert told == count
        scene.later(24 * 3_600_000)
        await scene.reap()
        gc.collect()
        return full, tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        small, small_left = asyncio.run(bytes_held(1000))
        large, large_left = asyncio.run(bytes_held(4000))
    finally:
        tracemalloc.stop()
    assert 3.2 < large / small < 4.8, f"{small} bytes for 1000 sessions, {large} for 4000"
    assert small_left < small * TABLES_LEFT
    assert large_left < large * TABLES_LEFT


def test_endless_sessions_leave_nothing_behind():
    """They are never due: an index of expiry that held them would hold them after their end."""

    async def story():
        scene = scene_of()
        for _ in range(100):
            work = await scene.start("work", idle=0)
            await scene.end(work)
        store = scene.store
        assert isinstance(store, MemoryStore)
        records = store._state.records  # noqa: SLF001  # what lies in an index is told to nobody
        assert records._wheel.take(NEVER, 1000, is_due=lambda _: True) == []  # noqa: SLF001  # the same

    asyncio.run(story())


def test_expiry_looks_at_each_filing_once():
    """Amortised O(1): 10,000 sessions due in one second are taken in small steps, none of them looked at again."""
    wheel, looked_at = Wheel(), 0

    def is_due(_: bytes) -> bool:
        nonlocal looked_at
        looked_at += 1
        return True

    for number in range(10_000):
        wheel.file(number.to_bytes(4, "big"), 5 * SLOT_MS + number % SLOT_MS)
    taken = []
    while batch := wheel.take(6 * SLOT_MS, 7, is_due=is_due):
        assert len(batch) <= 7
        taken += batch
    assert len(set(taken)) == len(taken) == 10_000
    assert looked_at == 0, "whole seconds that have passed need no second look"


def test_what_is_not_due_yet_stays_in_its_second():
    wheel = Wheel()
    due = {b"early": 5_100, b"late": 5_900}
    for key, at in due.items():
        wheel.file(key, at)
    assert wheel.take(4_999, 10, is_due=lambda _: True) == []
    assert wheel.take(5_500, 10, is_due=lambda key: due[key] <= 5_500) == [b"early"]
    assert wheel.take(5_500, 10, is_due=lambda key: due[key] <= 5_500) == []
    assert wheel.take(5_900, 10, is_due=lambda key: due[key] <= 5_900) == [b"late"]


def test_a_question_that_makes_nothing_is_answered_like_the_whole_one_while_the_session_lives():
    async def story():
        scene = scene_of()
        session, always = scene.make.session("work"), scene.make.spend(allowance=10)
        making = replace(scene.make.spend("making", allowance=10), when=When.CREATED)
        whole = scene.make.ask(session, new=scene.make.new(session), spends=(always, making))
        short = whole.without_making()
        assert (await scene.store.admit(short)).outcome is Outcome.UNKNOWN
        assert (await scene.store.admit(whole)).is_new
        first, second = await scene.store.admit(short), await scene.store.admit(whole)
        assert [answer.session and answer.session.hits for answer in (first, second)] == [2, 3]
        assert [tally and tally.counter.used for tally in first.tallies] == [2]
        assert [tally and tally.counter.used for tally in second.tallies] == [3, None]

    asyncio.run(story())


def test_refused_creates_at_a_full_level_end_nobody_who_lives():
    async def story():
        scene = scene_of()
        caps = Caps(levels=(scene.make.level(allowance=3),))
        made = [await scene.start_anonymous(caps=caps) for _ in range(3)]
        for _ in range(20):
            assert (await scene.create(scene.make.anonymous(), caps)).outcome is Making.FULL
        assert [await scene.lives(session) for session in made] == [True] * 3

    asyncio.run(story())
