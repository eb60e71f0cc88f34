"""Amounts that an app names: spent, booked, reserved and settled; usage and overrides."""

from datetime import UTC, datetime

import pytest

from sessionware.core.ledger import CAP
from sessionware.errors import (
    InvalidAmount,
    InvalidValue,
    LimitExceeded,
    PermissionDenied,
    SessionNotFound,
    StoreUnavailable,
)
from sessionware.service import Actor, amounts
from sessionware.testing import Fault
from tests.service.scene import in_scene

LIMITS = (
    "100 tokens/hour per user; 500 storage_mb total per user; 10 compute_seconds/hour per session; 7/minute per user"
)


async def used(s, resource="tokens", **who):
    return (await s.sessions.usage("work", by=who.get("by", s.actor())))[resource]["used"]


async def work(s):
    made = await s.sessions.start("work", by=s.actor())
    return amounts.stand_of(s.runtime, made.session.record)


@in_scene(limits=LIMITS)
async def test_b23_b42_a_hundred_pass_and_the_next_is_refused_with_what_would_have_been(s):
    """B19, B22, B23, B42."""
    await work(s)
    await s.sessions.spend("work", by=s.actor(), tokens=100)
    with pytest.raises(LimitExceeded, match="Quota exceeded for tokens: 101/100") as over:
        await s.sessions.spend("work", by=s.actor(), tokens=1)
    assert (over.value.used, over.value.allowance, over.value.retry_after > 0) == (100, 100, True)
    assert await used(s) == 100


@in_scene(limits=LIMITS)
async def test_b24_what_was_used_long_ago_does_not_count(s):
    """B24."""
    await work(s)
    await s.sessions.spend("work", by=s.actor(), tokens=100)
    s.clock.advance(2 * 3_600_000)
    await s.sessions.start("again", by=s.actor())
    await s.sessions.spend("again", by=s.actor(), tokens=100)


@pytest.mark.parametrize("amount", [-1, 0, True, 1.5, float("nan"), "1", CAP + 1, pytest.param(10**5000, id="huge")])
def test_b23_what_is_no_amount_is_a_mistake_and_takes_nothing(amount):
    """B23, weak spot 9."""

    @in_scene(limits=LIMITS)
    async def story(s):
        await work(s)
        with pytest.raises(InvalidAmount):
            await s.sessions.spend("work", by=s.actor(), tokens=amount)
        assert await used(s) == 0

    story()


@in_scene(limits=LIMITS)
async def test_an_amount_above_the_allowance_can_never_be_taken(s):
    await work(s)
    with pytest.raises(InvalidAmount, match="at most 100"):
        await s.sessions.spend("work", by=s.actor(), tokens=101)


@in_scene(limits=LIMITS)
async def test_several_amounts_are_taken_all_or_nothing(s):
    await work(s)
    await s.sessions.spend("work", by=s.actor(), compute_seconds=10)
    with pytest.raises(LimitExceeded):
        await s.sessions.spend("work", by=s.actor(), tokens=5, compute_seconds=1)
    assert await used(s) == 0


@in_scene(limits=LIMITS)
async def test_a_charge_may_pass_the_allowance_and_never_raises(s):
    stand = await work(s)
    assert await amounts.charge(s.runtime, stand, {"tokens": 150})
    assert await used(s) == 150
    with pytest.raises(LimitExceeded):
        await s.sessions.spend("work", by=s.actor(), tokens=1)
    s.store.on("record", Fault.REFUSED)
    assert not await amounts.charge(s.runtime, stand, {"tokens": 1})


@in_scene(limits=LIMITS)
async def test_a_reservation_is_settled_to_what_was_really_used(s):
    stand = await work(s)
    async with amounts.reserve(s.runtime, stand, {"tokens": 80}) as hold:
        assert await used(s) == 80
        assert await hold.settle(tokens=32)
        assert await hold.settle(tokens=99)  # only the first call counts
    assert await used(s) == 32
    async with amounts.reserve(s.runtime, stand, {"tokens": 10}) as hold:
        await hold.settle(tokens=90)
    assert await used(s) == 122


@in_scene(limits=LIMITS)
async def test_work_that_fails_before_the_first_byte_gives_everything_back(s):
    stand = await work(s)
    with pytest.raises(ZeroDivisionError):
        async with amounts.reserve(s.runtime, stand, {"tokens": 80}):
            raise ZeroDivisionError
    assert await used(s) == 0
    with pytest.raises(ZeroDivisionError):
        async with amounts.reserve(s.runtime, stand, {"tokens": 80}, has_begun=lambda: True):
            raise ZeroDivisionError
    assert await used(s) == 80


@in_scene(limits=LIMITS)
async def test_work_that_settles_nothing_keeps_its_estimate(s):
    stand = await work(s)
    async with amounts.reserve(s.runtime, stand, {"tokens": 80}):
        pass
    assert await used(s) == 80


@in_scene(limits=LIMITS)
async def test_a_reservation_that_does_not_fit_never_enters_its_block(s):
    stand = await work(s)
    await s.sessions.spend("work", by=s.actor(), tokens=50)
    with pytest.raises(LimitExceeded):
        async with amounts.reserve(s.runtime, stand, {"tokens": 80}):
            raise AssertionError("entered")
    s.store.on("admit", Fault.REFUSED)
    with pytest.raises(StoreUnavailable):
        async with amounts.reserve(s.runtime, stand, {"tokens": 1}):
            raise AssertionError("entered")


@in_scene(limits=LIMITS)
async def test_amounts_of_an_ended_session_find_nothing(s):
    stand = await work(s)
    await s.sessions.close("work", by=s.actor())
    with pytest.raises(SessionNotFound):
        await amounts.spend(s.runtime, stand, {"tokens": 1})


@in_scene(limits=LIMITS)
async def test_b25_a_report_says_what_is_used_of_what(s):
    """B25, B20: 25 of 100 is 25 percent; reading it takes nothing and touches nothing."""
    await work(s)
    await s.sessions.spend("work", by=s.actor(), tokens=25)
    before = (await s.sessions.get("work", by=s.actor())).record
    report = await s.sessions.usage("work", by=s.actor())
    assert report["tokens"] == {"used": 25, "limit": 100, "percentage": 25.0, "period_seconds": 3600}
    assert report["storage_mb"]["period_seconds"] is None
    [row] = [each for each in report["limits"] if each["name"] == "tokens-hour-user"]
    assert (row["remaining"], row["window"], row["scope"], row["shadow"]) == (75, "hour", "user", False)
    assert row["resets_at"] == "2027-01-15T10:00:00Z"
    assert (await s.sessions.get("work", by=s.actor())).record == before
    assert (await s.sessions.usage(by=s.actor()))["tokens"]["used"] == 25
    assert (await s.sessions.usage(by=s.sessions.user("bob")))["tokens"]["used"] == 0


@in_scene(limits="10 tokens/hour per user; big=1000 tokens/day per user; shadow 1 tokens/second per user")
async def test_of_several_limits_of_a_resource_the_fullest_speaks_for_it(s):
    await work(s)
    await s.sessions.spend("work", by=s.actor(), tokens=5)
    report = await s.sessions.usage("work", by=s.actor())
    assert report["tokens"] == {"used": 5, "limit": 10, "percentage": 50.0, "period_seconds": 3600}
    assert [row["shadow"] for row in report["limits"]] == [False, False, True]


@in_scene(limits=LIMITS)
async def test_b21_b25_another_allowance_for_one_user_holds_at_once(s):
    """B21, B25: with an allowance of 0 everything is refused and the percentage is 0."""
    await work(s)
    await s.sessions.set_limits({"tokens-hour-user": 0}, user="alice")
    with pytest.raises(LimitExceeded):
        await s.sessions.spend("work", by=s.actor(), tokens=1)
    assert (await s.sessions.usage("work", by=s.actor()))["tokens"]["percentage"] == 0.0
    await s.sessions.set_limits({"tokens-hour-user": None}, user="alice")
    await s.sessions.spend("work", by=s.actor(), tokens=100)


@in_scene(limits=LIMITS)
async def test_c25_another_allowance_for_one_session_ends_when_it_was_said_to(s):
    """C25."""
    made = await s.sessions.start("work", by=s.actor())
    until = datetime.fromtimestamp((s.clock.now() + 1000) / 1000, UTC)
    await s.sessions.set_limits({"compute_seconds-hour-session": 1}, session=made.session.handle, until=until)
    with pytest.raises(InvalidAmount):
        await s.sessions.spend("work", by=s.actor(), compute_seconds=5)
    s.clock.advance(1000)
    await s.sessions.spend("work", by=s.actor(), compute_seconds=5)


@in_scene(limits=LIMITS)
async def test_limits_of_an_organisation_are_written_for_every_worker(s):
    await s.sessions.set_limits({"tokens-hour-user": 5}, org="acme")
    assert s.store.calls["record"] == 1


@pytest.mark.parametrize(
    ("limits", "whom"),
    [
        ({"nonsense": 1}, {"user": "alice"}),
        ({"tokens-hour-user": -1}, {"user": "alice"}),
        ({"tokens-hour-user": True}, {"user": "alice"}),
        ({"tokens-hour-user": 10**12}, {"user": "alice"}),
        ({}, {"user": "alice"}),
        ({"tokens-hour-user": 1}, {}),
        ({"tokens-hour-user": 1}, {"user": "alice", "org": "acme"}),
    ],
)
def test_limits_that_are_none_are_refused_with_a_reason(limits, whom):
    @in_scene(limits=LIMITS)
    async def story(s):
        with pytest.raises(InvalidValue):
            await s.sessions.set_limits(limits, **whom)

    story()


@in_scene(limits=LIMITS)
async def test_one_user_cannot_spend_anothers_amounts(s):
    made = await s.sessions.start(by=s.actor("alice"))
    with pytest.raises(PermissionDenied):
        await s.sessions.spend(made.id, by=s.actor("bob"), tokens=1)


@in_scene(limits="100 tokens/hour per session")
async def test_an_anonymous_session_spends_of_its_own(s):
    made = await s.sessions.start(by=s.stranger())
    other = await s.sessions.start(by=s.stranger())
    await s.sessions.spend(made.id, by=s.holder(made), tokens=100)
    await s.sessions.spend(other.id, by=Actor(client="192.0.2.1"), tokens=100)
    assert s.runtime.health.metrics(made.session.record.key, now=s.clock.now())["tokens_used"] == 100
