"""What runs is renewed while it runs, and freed when it ends."""

import asyncio

import pytest

from sessionware.core.admission import Outcome
from sessionware.core.ledger import LEASE_MS
from sessionware.gate import LeaseKeeper, Running
from tests.gate.scene import Scene, until


def test_a_running_request_keeps_its_slot_beyond_the_lease():
    """ASGI-09."""

    async def story():
        async with Scene("1 concurrent per session").running() as scene:
            work = await scene.session()
            ask = scene.ask(work)
            await scene.decide(ask=ask)
            for _ in range(6):
                scene.clock.advance(LEASE_MS // 3)
                told = scene.store.applied["record"]
                scene.gate.leases.renew()
                await until(lambda told=told: scene.store.applied["record"] > told)
            assert (await scene.decide(work)).status_hint == 429
            scene.clock.advance(LEASE_MS)
            assert (await scene.store.admit(scene.ask(work))).outcome is Outcome.ADMITTED, "nobody renewed any more"

    asyncio.run(story())


@pytest.mark.parametrize(
    "begin",
    [LeaseKeeper.begin, lambda keeper, operation, key: keeper.register(operation, Running(key.bucket, key))],
    ids=["begun", "registered"],
)
def test_a_request_without_leases_is_told_at_its_first_renewal_and_then_released(begin):
    async def story():
        async with Scene().running() as scene:
            work = await scene.session()
            leases = scene.gate.leases
            short, long = scene.make.operation(), scene.make.operation()
            begin(leases, short, work.key)
            leases.release(short)
            leases.release(short)
            begin(leases, long, work.key)
            assert leases.running == 1
            assert scene.gate.facts.waiting == 0, "a short request costs the store nothing"
            leases.renew()
            assert scene.gate.facts.waiting == 2, "it runs, and its session is active"
            leases.release(long)
            assert scene.gate.facts.waiting == 3
            assert leases.running == 0

    asyncio.run(story())


def test_a_request_that_was_begun_takes_on_what_it_is_registered_as():
    """Its session was rotated, say: the new key is told of, and the old one no more."""

    async def story():
        scene = Scene()
        work, moved = await scene.session(), await scene.session("moved")
        leases, operation = scene.gate.leases, scene.make.operation()
        leases.begin(operation, work.key)
        leases.register(operation, Running(moved.key.bucket, moved.key, opens=True))
        assert leases.running == 1
        leases.renew()
        assert scene.gate.facts.waiting == 2, "it is one request of one session still"
        leases.release(operation)
        assert (leases.running, scene.gate.facts.waiting) == (0, 3)

    asyncio.run(story())


def test_a_request_that_took_leases_is_no_second_one_when_it_begins():
    async def story():
        async with Scene("1 concurrent per session").running() as scene:
            work = await scene.session()
            ask = scene.ask(work)
            await scene.decide(ask=ask)
            scene.gate.leases.begin(ask.operation, work.key)
            assert scene.gate.leases.running == 1
            scene.gate.leases.release(ask.operation)
            assert (scene.gate.leases.running, scene.gate.facts.waiting) == (0, 1)

    asyncio.run(story())


def test_what_was_begun_is_forgotten_when_the_worker_stops():
    async def story():
        async with Scene().running() as scene:
            scene.gate.leases.begin(scene.make.operation(), (await scene.session()).key)
        assert (scene.gate.leases.running, scene.store.calls["record"]) == (0, 0)

    asyncio.run(story())


def test_renewals_come_by_themselves():
    async def story():
        async with Scene("1 concurrent per session").running() as scene:
            work = await scene.session()
            keeper = LeaseKeeper(scene.gate.facts, clock=scene.clock, every_ms=1)
            keeper.register(b"op", Running(work.key.bucket, work.key, scene.ask(work).leases))
            keeper.start()
            await until(lambda: scene.store.applied["record"] >= 2)
            await keeper.aclose()
            assert keeper.running == 0

    asyncio.run(story())


def test_a_worker_that_stops_frees_what_it_ran():
    async def story():
        scene = Scene("1 concurrent per session")
        work = await scene.session()
        async with scene.running():
            await scene.decide(work)
        assert (await scene.store.admit(scene.ask(work))).outcome is Outcome.ADMITTED

    asyncio.run(story())


def test_a_rotated_session_keeps_its_running_requests():
    async def story():
        async with Scene("1 concurrent per session").running() as scene:
            work, other = await scene.session(), await scene.session("other")
            ask = scene.ask(work)
            await scene.decide(ask=ask)
            scene.gate.leases.register(ask.operation, Running(other.key.bucket, other.key, ask.leases))
            assert scene.gate.leases.running == 1
            scene.gate.leases.release(ask.operation)
            await until(lambda: scene.store.applied["record"])
            assert (await scene.store.admit(scene.ask(work))).outcome is Outcome.ADMITTED

    asyncio.run(story())
