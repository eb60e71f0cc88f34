"""How long a session lives, and what is left of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionware.core.ids import SessionKey
from sessionware.core.session import (
    TOMBSTONE_MAX_MS,
    Birth,
    Proof,
    Session,
    deadline,
    is_idle_longer_than,
    remaining,
    tombstone_ms,
)
from sessionware.core.windows import NEVER

T0 = 1_767_225_600_000


def session(*, idle=1_800_000, absolute_at=0, now=T0):
    birth = Birth(SessionKey(0, b"h"), "a" * 12, b"o", Proof.ID, now)
    return Session(birth, idle, absolute_at, deadline(now, idle, absolute_at), now)


def test_an_idle_session_dies_exactly_at_its_deadline():
    alive = session(idle=1000)
    assert alive.is_live(T0 + 999)
    assert not alive.is_live(T0 + 1000)


def test_ses07_a_touch_moves_the_idle_deadline_but_never_past_the_absolute_one():
    """SES-07."""
    touched = session(idle=1000, absolute_at=T0 + 1500).touched(T0 + 900)
    assert touched.expires_at == T0 + 1500
    assert (touched.seen_at, touched.hits) == (T0 + 900, 1)


def test_c24_a_touch_leaves_everything_else_as_it_was():
    """C24: only last activity moves; the revision stays."""
    before = session()
    after = before.touched(T0 + 5)
    assert (after.birth, after.revision, after.data) == (before.birth, before.revision, before.data)


def test_a_session_without_limits_lives_for_ever():
    eternal = session(idle=0)
    assert eternal.expires_at == NEVER
    assert eternal.is_live(T0 * 1000)


@pytest.mark.parametrize(("passed", "timed_out"), [(1_799_999, False), (1_800_000, True), (1_800_001, True)])
def test_b38_the_timeout_check_holds_at_the_boundary(passed, timed_out):
    """B38: thirty minutes are over when they are over."""
    idle = session()
    assert is_idle_longer_than(idle, T0 + passed, 1_800_000) is timed_out
    assert idle.is_live(T0 + passed) is not timed_out


@given(st.integers(-(10**12), 10**12))
def test_a_clock_set_back_never_lengthens_what_remains(shift):
    left = remaining(session(idle=60_000), T0 + shift)
    assert 0 <= left <= 60_000


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_no_touch_ever_passes_the_absolute_deadline(idle, life, passed):
    touched = session(idle=idle, absolute_at=T0 + life).touched(T0 + passed)
    assert touched.expires_at <= T0 + life


def test_a_session_at_home_keeps_everything_but_its_payload():
    full = session()
    bare = full.without_payload()
    assert (bare.metadata, bare.data) == (None, None)
    assert (bare.birth, bare.expires_at, bare.revision) == (full.birth, full.expires_at, full.revision)


@pytest.mark.parametrize(("idle", "kept"), [(0, TOMBSTONE_MAX_MS), (1000, 1000), (10**8, TOMBSTONE_MAX_MS)])
def test_a_tombstone_is_kept_for_the_idle_time_but_at_most_an_hour(idle, kept):
    assert tombstone_ms(session(idle=idle)) == kept
