"""Observers hear of everything, and none of them can do harm."""

import asyncio
import threading
from typing import Any

import pytest

from sessionware.core.admission import Admitted, Outcome
from sessionware.core.decision import Refused
from sessionware.core.facts import TokenRevocation
from sessionware.core.session import Ended, EndReason
from sessionware.errors import ConfigError
from sessionware.stores.memory import MemoryStore
from sessionware.telemetry import Endings, Observer, Observers, Telemetry
from sessionware.telemetry.health import Health
from sessionware.telemetry.observers import BACKGROUND_MAX
from sessionware.testing import Maker, ManualClock

MAKE = Maker.of(MemoryStore(clock=ManualClock()))
SESSION = MAKE.session("work")
REFUSED = Refused(code="rate_limited", status_hint=429, message="no", answer=Admitted(Outcome.LIMITED, 0))


class Diary(Observer):
    def __init__(self):
        self.told = []

    async def on_start(self, session):
        self.told.append(("start", session))

    async def on_end(self, session, reason):
        self.told.append(("end", session, reason))

    async def on_refused(self, refused):
        self.told.append(("refused", refused))

    async def on_revoked(self, revocation):
        self.told.append(("revoked", revocation))


class Plain(Observer):
    """Written with `def`, as many are."""

    def __init__(self):
        self.told = []

    def on_end(self, session, reason):
        self.told.append((session.birth.name, reason, threading.current_thread() is threading.main_thread()))


class Failing(Observer):
    async def on_end(self, session, reason):
        raise KeyError("a bug of the application")


class FailingPlain(Observer):
    def on_end(self, session, reason):
        raise SystemError("another")


class Stuck(Observer):
    async def on_end(self, session, reason):
        await asyncio.Event().wait()


def degraded(telemetry):
    return {tuple(map(str, label)): number for label, number in telemetry.counts.degraded.items()}


def test_b11_every_occasion_reaches_every_observer():
    """B11."""

    async def story():
        first, second = Diary(), Diary()
        observers = Observers([first, second], telemetry=Telemetry())
        observers.started(SESSION)
        await observers.settled()
        observers.refused(REFUSED)
        await observers.settled()
        revocation = TokenRevocation(b"t", 1)
        observers.revoked(revocation)
        await observers.settled()
        await observers.ended(SESSION, EndReason.EVICTED)
        assert first.told == second.told == [
            ("start", SESSION), ("refused", REFUSED), ("revoked", revocation), ("end", SESSION, EndReason.EVICTED),
        ]  # fmt: skip

    asyncio.run(story())


def test_b11_one_failing_observer_stops_nothing(caplog):
    """B11."""

    async def story():
        telemetry, diary, plain = Telemetry(), Diary(), Plain()
        observers = Observers([Failing(), diary, FailingPlain(), plain], telemetry=telemetry)
        await observers.ended(SESSION, EndReason.ENDED)
        assert diary.told == [("end", SESSION, EndReason.ENDED)]
        assert [told[:2] for told in plain.told] == [("work", EndReason.ENDED)]
        assert degraded(telemetry) == {("observers", "failed", "skipped"): 2}
        await observers.aclose()

    asyncio.run(story())
    assert "KeyError: 'a bug of the application'" in caplog.text or "SystemError: another" in caplog.text


def test_a_plain_function_does_not_block_the_event_loop():
    async def story():
        plain = Plain()
        observers = Observers([plain], telemetry=Telemetry())
        await observers.ended(SESSION, EndReason.ENDED)
        assert plain.told == [("work", EndReason.ENDED, False)]
        await observers.aclose()

    asyncio.run(story())


def test_an_observer_that_hangs_is_left_alone_after_its_deadline():
    async def story():
        telemetry, diary = Telemetry(), Diary()
        observers = Observers([Stuck(), diary], telemetry=telemetry, deadline_ms=1)
        await observers.ended(SESSION, EndReason.ENDED)
        assert len(diary.told) == 1
        assert degraded(telemetry) == {("observers", "slow", "skipped"): 1}

    asyncio.run(story())


def test_a_cancelled_telling_is_really_cancelled():
    async def story():
        telemetry = Telemetry()
        observers = Observers([Stuck()], telemetry=telemetry)
        endings = Endings(observers, telemetry=telemetry)
        telling = asyncio.create_task(endings.tell([Ended(SESSION, EndReason.ENDED, 0, "r")]))
        await asyncio.sleep(0)
        telling.cancel()
        await asyncio.wait([telling])
        assert telling.cancelled()
        assert degraded(telemetry) == {}

    asyncio.run(story())


def test_refusals_that_nobody_can_keep_up_with_are_dropped_and_counted():
    class Busy(Observer):
        async def on_refused(self, refused):
            await asyncio.Event().wait()

    async def story():
        telemetry = Telemetry()
        observers = Observers([Busy()], telemetry=telemetry)
        for _ in range(BACKGROUND_MAX + 7):
            observers.refused(REFUSED)
        assert degraded(telemetry) == {("observers", "overfull", "dropped"): 7}
        await observers.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(story())


def test_nobody_who_listens_costs_no_task():
    async def story():
        observers = Observers([Observer(), Plain()], telemetry=Telemetry())
        observers.refused(REFUSED)
        observers.started(SESSION)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(story())


def test_an_object_that_is_no_observer_is_refused_at_once():
    stranger: Any = object()
    with pytest.raises(ConfigError, match=r"object has no method on_start: derive it from sessionware\.Observer"):
        Observers([stranger], telemetry=Telemetry())


def test_a_plain_function_may_hand_back_what_is_to_be_awaited():
    class Delegating(Diary):
        def on_end(self, session, reason):
            return super().on_end(session, reason)

    async def story():
        diary = Delegating()
        observers = Observers([diary], telemetry=Telemetry())
        await observers.ended(SESSION, EndReason.ENDED)
        assert diary.told == [("end", SESSION, EndReason.ENDED)]
        await observers.aclose()

    asyncio.run(story())


def test_what_a_session_has_done_is_forgotten_with_it():
    async def story():
        telemetry, health = Telemetry(), Health()
        health.called(SESSION.key, now=0, took_ms=1)
        endings = Endings(Observers(telemetry=telemetry), telemetry=telemetry, health=health)
        await endings.tell([Ended(SESSION, EndReason.ENDED, 0, "receipt")])
        assert health.health(SESSION.key) == {"status": "unknown"}

    asyncio.run(story())


def test_ends_are_acknowledged_each_time_and_told_once():
    async def story():
        telemetry, diary = Telemetry(), Diary()
        endings = Endings(Observers([diary], telemetry=telemetry), telemetry=telemetry)
        ended = Ended(SESSION, EndReason.ENDED, 0, "receipt")
        first, again = await endings.tell([ended]), await endings.tell([ended])
        assert [fact.receipt for fact in first] == [fact.receipt for fact in again] == ["receipt"]
        assert len(diary.told) == telemetry.counts.ended[EndReason.ENDED] == 1

    asyncio.run(story())
