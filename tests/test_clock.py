"""The clock: the store's time, counted monotonically, suspicious of jumps."""

import pytest

from sessionware.clock import CALIBRATE_EVERY_MS, LOOK_EVERY_MS, SETTLE_MS, HostClock, StoreClock
from sessionware.testing import ManualClock


class Instruments:
    """A monotonic clock and a wall clock that a test sets by hand."""

    def __init__(self) -> None:
        self.monotonic = 5_000
        self.wall = 1_700_000_000_000

    def pass_ms(self, ms: int) -> None:
        self.monotonic += ms
        self.wall += ms


@pytest.fixture
def host() -> Instruments:
    return Instruments()


@pytest.fixture
def clock(host: Instruments) -> StoreClock:
    return StoreClock(monotonic=lambda: host.monotonic, wall=lambda: host.wall)


def test_time_is_the_stores_time_plus_what_has_passed(host, clock):
    clock.calibrate([(host.monotonic, 1_800_000_000_000, host.monotonic)])
    host.pass_ms(1_234)
    assert clock.now() == 1_800_000_001_234


def test_the_quickest_round_trip_is_believed(host, clock):
    """Store.md 7: best of five."""
    base = host.monotonic
    clock.calibrate([(base - 100, 777, base), (base - 4, 2_000, base - 2), (base - 50, 999, base)])
    assert clock.now() == 2_003


def test_a_wall_clock_that_is_set_does_not_move_the_time(host, clock):
    clock.calibrate([(host.monotonic, 1_800_000_000_000, host.monotonic)])
    host.wall -= 86_400_000
    assert clock.now() == 1_800_000_000_000
    assert clock.wants_calibration()


def test_a_calibration_is_wanted_every_ten_seconds(host, clock):
    assert clock.wants_calibration()
    clock.calibrate([(host.monotonic, 1, host.monotonic)])
    assert not clock.wants_calibration()
    host.pass_ms(CALIBRATE_EVERY_MS - 1)
    assert not clock.wants_calibration()
    host.pass_ms(1)
    assert clock.wants_calibration()


def test_without_samples_nothing_changes(host, clock):
    before = clock.now()
    clock.calibrate([])
    assert clock.now() == before
    assert clock.wants_calibration()


@pytest.mark.parametrize("jump", [61_000, -61_000, 3_600_000, -86_400_000])
def test_a_jump_makes_the_clock_settle_for_one_interval(host, clock, jump):
    """Security.md 4: the reaper pauses before mass-expiring."""
    clock.calibrate([(host.monotonic, 1_800_000_000_000, host.monotonic)])
    assert not clock.is_settling()
    clock.calibrate([(host.monotonic, 1_800_000_000_000 + jump, host.monotonic)])
    assert clock.jumps == 1
    assert clock.is_settling()
    host.pass_ms(SETTLE_MS)
    assert not clock.is_settling()


def test_a_small_correction_is_not_a_jump(host, clock):
    clock.calibrate([(host.monotonic, 1_800_000_000_000, host.monotonic)])
    clock.calibrate([(host.monotonic, 1_800_000_059_000, host.monotonic)])
    assert clock.jumps == 0
    assert not clock.is_settling()


def test_the_first_calibration_is_never_a_jump(host, clock):
    clock.calibrate([(host.monotonic, 5, host.monotonic)])
    assert clock.jumps == 0


def test_the_host_clock_follows_the_wall_and_notices_when_it_jumps(host):
    clock = HostClock(nanoseconds=lambda: host.monotonic * 1_000_000, wall=lambda: host.wall)
    host.pass_ms(500)
    assert clock.now() == host.wall
    host.wall += 3_600_000
    assert clock.is_settling()
    assert clock.jumps == 1
    assert clock.now() == host.wall


def test_a_wall_clock_that_is_set_is_noticed_within_a_tenth_of_a_second(host):
    clock = HostClock(nanoseconds=lambda: host.monotonic * 1_000_000, wall=lambda: host.wall)
    before = clock.now()
    host.wall += 3_600_000
    host.pass_ms(LOOK_EVERY_MS - 1)
    assert clock.now() == before + LOOK_EVERY_MS - 1
    host.pass_ms(1)
    assert clock.now() == host.wall == before + LOOK_EVERY_MS + 3_600_000
    assert clock.jumps == 1


def test_the_real_host_clock_runs():
    clock = HostClock()
    assert clock.now() >= 1_700_000_000_000
    assert not clock.is_settling()


def test_a_manual_clock_moves_when_told_and_settles_after_a_jump():
    clock = ManualClock(1_000)
    assert clock.advance(5) == clock.now() == 1_005
    assert clock.jump(-1_000) == 5
    assert clock.is_settling()
    clock.advance(1)
    assert not clock.is_settling()
    with pytest.raises(ValueError, match="use jump"):
        clock.advance(-1)
