"""A request is admitted, refused, or decided without the store as the failure policy says."""

import asyncio
import logging
from typing import cast

import pytest
from msgspec.structs import replace

from sessionware.core.admission import Admission, Outcome
from sessionware.core.decision import Allowed, Refused
from sessionware.core.facts import OwnerRevocation, Revoked, TokenRevocation
from sessionware.gate import Unavailable
from sessionware.gate.breaker import CONSECUTIVE_MAX
from sessionware.testing import Fault
from tests.gate.scene import Scene, until


async def with_store_down(scene):
    scene.store.always("any", Fault.REFUSED)
    return scene


async def breaking(scene):
    """Let the breaker open, and forget what that counted."""
    scene.store.always("admit", Fault.REFUSED)
    for _ in range(CONSECUTIVE_MAX):
        await scene.decide(scene.make.session("broken"))
    assert scene.gate.is_store_down
    scene.counts.degraded.clear()


def test_an_answer_is_judged_and_counted():
    async def story():
        scene = Scene("1/minute per session")
        work = await scene.session()
        first, second = await scene.decide(work), await scene.decide(work)
        assert isinstance(first, Allowed)
        assert (second.code, second.status_hint) == ("rate_limited", 429)
        assert scene.counts.admissions[Outcome.ADMITTED] == scene.counts.admissions[Outcome.LIMITED] == 1
        assert sum(scene.counts.latency) == 2
        assert scene.degraded() == {}

    asyncio.run(story())


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST_REPLY, Fault.TIMED_OUT, Fault.TIMED_OUT_LATE])
def test_c35_without_the_store_a_session_is_503_and_never_allowed(fault):
    """C35."""

    async def story():
        scene = Scene()
        work = await scene.session()
        scene.store.always("admit", fault)
        for _ in range(3 * CONSECUTIVE_MAX):
            refused = await scene.decide(work)
            assert isinstance(refused, Refused)
            assert (refused.code, refused.status_hint, refused.message) == (
                "store_unavailable", 503, "Store unavailable"
            )  # fmt: skip
            assert refused.retry_after in range(1, 6)
            assert refused.should_retry
        assert scene.store.calls["admit"] == CONSECUTIVE_MAX, "an open breaker asks nothing"
        assert scene.counts.unavailable == 3 * CONSECUTIVE_MAX

    asyncio.run(story())


def test_clients_do_not_all_come_back_in_the_same_second_though_operations_are_counted():
    async def story():
        scene = await with_store_down(Scene())
        work = scene.make.session("work")
        waits = {
            (await scene.decide(ask=scene.make.ask(work, operation=b"worker" + n.to_bytes(8, "big")))).retry_after
            for n in range(100)
        }
        assert {2, 3, 4, 5} <= waits <= {1, 2, 3, 4, 5}

    asyncio.run(story())


def test_st_01_a_store_that_hangs_costs_one_deadline_and_then_nothing():
    """ST-01."""

    async def story():
        scene = Scene(deadline_ms=1)
        work = await scene.session()
        for _ in range(CONSECUTIVE_MAX):
            scene.store.hold("admit")
            assert (await scene.decide(work)).code == "store_unavailable"
        assert scene.degraded() == {("sessions", "store_slow", "closed"): CONSECUTIVE_MAX}
        calls = scene.store.calls["admit"]
        assert (await scene.decide(work)).code == "store_unavailable"
        assert scene.store.calls["admit"] == calls
        assert scene.degraded()["sessions", "breaker_open", "closed"] == 1

    asyncio.run(story())


def test_st_01_a_healed_store_is_found_by_a_probe():
    """ST-01."""

    async def story():
        scene = Scene()
        work = await scene.session()
        await breaking(scene)
        scene.store.heal()
        assert isinstance(await scene.decide(work), Unavailable)
        scene.monotonic.ms += 1000
        assert isinstance(await scene.decide(work), Allowed)
        assert isinstance(await scene.decide(work), Allowed)
        assert not scene.gate.is_store_down

    asyncio.run(story())


def test_a_session_that_may_be_lost_goes_on_as_its_client():
    async def story():
        scene = await with_store_down(Scene("4/minute per session", sessions="anonymous", workers_hint=2))
        work = scene.make.session("work")
        decisions = [await scene.decide(work, sessionless=scene.ask) for _ in range(3)]
        assert [type(each) for each in decisions] == [Allowed, Allowed, Refused]
        assert decisions[0].answer.session is None
        assert (decisions[2].code, decisions[2].limit.counted_over) == ("rate_limited", "client")
        assert scene.degraded() == {
            ("sessions", "store_down", "anonymous"): 3, ("limits", "store_down", "local"): 3
        }  # fmt: skip

    asyncio.run(story())


def test_a_request_that_is_nothing_without_its_session_is_503_even_then():
    async def story():
        scene = await with_store_down(Scene(sessions="anonymous"))
        assert isinstance(await scene.decide(scene.make.session("work")), Unavailable)

    asyncio.run(story())


@pytest.mark.parametrize(("allowance", "hint", "admitted"), [(8, 4, 2), (2, 4, 1), (9, 2, 4), (0, 4, 0)])
def test_one_worker_allows_its_share_of_a_limit(allowance, hint, admitted):
    async def story():
        scene = await with_store_down(Scene(f"{allowance}/minute per client", workers_hint=hint))
        decisions = [await scene.decide() for _ in range(10)]
        assert sum(isinstance(each, Allowed) for each in decisions) == admitted
        assert {each.status_hint for each in decisions if isinstance(each, Refused)} == {429}

    asyncio.run(story())


def test_one_worker_runs_its_share_of_what_may_run_at_once():
    async def story():
        async with Scene("4 concurrent per client", workers_hint=2).running() as scene:
            await with_store_down(scene)
            first, second = scene.ask(), scene.ask()
            assert isinstance(await scene.decide(ask=first), Allowed)
            assert isinstance(await scene.decide(ask=second), Allowed)
            assert (await scene.decide()).status_hint == 429
            scene.gate.leases.release(first.operation)
            await until(lambda: scene.local.applied["record"])
            assert isinstance(await scene.decide(), Allowed)

    asyncio.run(story())


def test_what_stands_for_money_is_503_without_the_store():
    async def story():
        scene = await with_store_down(Scene("100/minute per client; 1000 tokens/day per client"))
        assert isinstance(await scene.decide(), Unavailable)
        assert scene.degraded() == {("limits", "store_down", "closed"): 1}

    asyncio.run(story())


def test_what_is_only_watched_refuses_nobody_without_the_store():
    async def story():
        scene = await with_store_down(Scene("100/minute per client; shadow 1000 tokens/day per client"))
        assert isinstance(await scene.decide(), Allowed)

    asyncio.run(story())


@pytest.mark.parametrize(("limits", "kind", "status"), [("closed", Unavailable, 503), ("open", Allowed, None)])
def test_limits_are_closed_or_open_when_told_so(limits, kind, status):
    async def story():
        scene = await with_store_down(Scene("1/minute per client", limits=limits))
        decisions = [await scene.decide() for _ in range(3)]
        assert [type(each) for each in decisions] == [kind] * 3
        assert {getattr(each, "status_hint", None) for each in decisions} == {status}
        assert scene.degraded() == {("limits", "store_down", limits): 3}

    asyncio.run(story())


def test_a_request_that_wants_nothing_of_the_store_passes_without_it():
    async def story():
        scene = await with_store_down(Scene("1/minute per client for /elsewhere", limits="closed"))
        assert isinstance(await scene.decide(), Allowed)
        assert scene.store.calls.total() == scene.local.calls.total() == 0

    asyncio.run(story())


@pytest.mark.parametrize("fault", list(Fault)[:4])
@pytest.mark.parametrize("limits", ["local", "closed", "open"])
def test_a_store_error_is_never_a_429(fault, limits):
    async def story():
        scene = Scene("1000/minute per session", limits=limits, sessions="anonymous", workers_hint=1)
        scene.store.always("admit", fault)
        decisions = [await scene.decide(scene.make.session("work"), sessionless=scene.ask) for _ in range(30)]
        assert {getattr(each, "status_hint", 200) for each in decisions} <= {200, 503}

    asyncio.run(story())


def test_a_credential_passes_for_half_a_minute_and_then_fails_closed():
    async def story():
        scene = await with_store_down(Scene(limits="open"))
        ask = replace(scene.ask(), token=scene.make.token())
        assert isinstance(await scene.decide(ask=ask), Allowed)
        scene.monotonic.ms += 29_999
        assert isinstance(await scene.decide(ask=ask), Allowed)
        scene.monotonic.ms += 1
        assert isinstance(await scene.decide(ask=ask), Unavailable)
        assert scene.degraded()["revocation", "store_down", "closed"] == 1
        assert isinstance(await scene.decide(), Allowed), "nobody was proved, nobody can be revoked"

    asyncio.run(story())


def test_what_was_revoked_before_the_store_went_down_stays_refused():
    async def story():
        scene = Scene("100/minute per client")
        token, owner = scene.make.token("stolen"), scene.make.owner("mallory")
        now = scene.clock.now()
        await scene.gate.hear(Revoked(TokenRevocation(token.hash, now + 60_000)))
        await scene.gate.hear(Revoked(OwnerRevocation(0, owner, now)))
        await with_store_down(scene)
        for ask in (
            replace(scene.ask(), token=token),
            replace(scene.ask(), owner=owner, token=scene.make.token("other")),
        ):
            refused = await scene.decide(ask=ask)
            assert (refused.code, refused.status_hint) == ("invalid_token", 401)
        assert isinstance(await scene.decide(ask=replace(scene.ask(), token=scene.make.token("good"))), Allowed)

    asyncio.run(story())


def test_leases_are_released_when_nobody_knows_whether_they_were_taken():
    async def story():
        async with Scene("1 concurrent per session").running() as scene:
            work = await scene.session()
            for fault in (Fault.LOST_REPLY, Fault.TIMED_OUT_LATE):
                scene.store.on("admit", fault)
                before = scene.store.applied["record"]
                assert isinstance(await scene.decide(work), Unavailable)
                await until(lambda before=before: scene.store.applied["record"] > before)
                ask = scene.ask(work)
                assert isinstance(await scene.decide(ask=ask), Allowed)
                scene.gate.leases.release(ask.operation)
                await until(lambda before=before: scene.store.applied["record"] > before + 1)

    asyncio.run(story())


@pytest.mark.parametrize("fault", [Fault.CANCELLED, Fault.CANCELLED_LATE])
def test_a_client_that_goes_away_while_it_is_admitted_leaves_no_lease(fault):
    async def story():
        async with Scene("1 concurrent per session").running() as scene:
            work = await scene.session()
            scene.store.on("admit", fault)
            doomed = asyncio.create_task(scene.decide(work))
            await asyncio.wait([doomed])
            assert doomed.cancelled()
            await until(lambda: scene.store.applied["record"])
            assert isinstance(await scene.decide(work), Allowed)
            assert scene.degraded() == {}, "a client that leaves says nothing about the store"

    asyncio.run(story())


def test_a_running_request_is_registered_until_it_is_released():
    async def story():
        async with Scene("1 concurrent per session").running() as scene:
            work = await scene.session()
            ask = scene.ask(work)
            assert isinstance(await scene.decide(ask=ask), Allowed)
            assert scene.gate.leases.running == 1
            assert (await scene.decide(work)).status_hint == 429
            assert scene.gate.leases.running == 1, "what was refused does not run"
            scene.gate.leases.release(ask.operation)
            await until(lambda: scene.store.applied["record"])
            assert isinstance(await scene.decide(work), Allowed)

    asyncio.run(story())


def test_a_bug_is_not_called_an_unavailable_store():
    async def story():
        scene, nothing = Scene(), cast("Admission", None)
        with pytest.raises(AttributeError):
            await scene.gate.decide(nothing, scene.policy, about_session=True)
        assert not scene.gate.is_store_down
        assert scene.counts.unavailable == 0

    asyncio.run(story())


def test_every_degraded_request_is_counted_and_one_a_second_is_logged(caplog):
    async def story():
        scene = await with_store_down(Scene())
        work = scene.make.session("work")
        with caplog.at_level(logging.WARNING, "sessionware"):
            for _ in range(4):
                await scene.decide(work)
            assert len(caplog.records) == 1
            scene.monotonic.ms += 1000
            await scene.decide(work)
        assert scene.degraded() == {("sessions", "store_down", "closed"): 5}
        said = "(StoreUnavailable: admit failed (a fault of this test))"  # what the engine says
        assert [record.getMessage() for record in caplog.records] == [
            f"degraded: sessions, store_down: closed {said}",
            f"degraded: sessions, store_down: closed {said} (and 3 times more since)",
        ]

    asyncio.run(story())
