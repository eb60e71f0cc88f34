"""What a failover may lose, and what shrinks it: the promise of docs/stores.md, measured each time."""

import asyncio

import pytest

from tests.redis_groups import RedisReplicas
from tests.selection import is_selected
from tests.stores.redis.losing import GUARDED, TASKS, exposure, failover

pytestmark = [
    pytest.mark.skipif(not is_selected("sentinel"), reason="not among STORES"),
    pytest.mark.timeout(120),
    pytest.mark.faults,
]


def test_a_failover_loses_at_most_what_no_replica_had_heard_of(capsys: pytest.CaptureFixture[str]) -> None:
    """C27, security.md 2 (d): the overshoot is bounded by the lag window, and reported."""
    with RedisReplicas() as group:
        loss = asyncio.run(failover(group, cut_off_for=0.3))
    with capsys.disabled():
        print(f"\nreplicas cut off 0.3 s before the primary is killed: {loss}")
    assert 0 < loss.lost <= loss.at_risk
    assert loss.away_s < 5


def test_a_primary_that_wants_replicas_loses_nothing_when_it_is_cut_off_from_them() -> None:
    """Security.md 4: `min-replicas-to-write 1`: NOREPLICAS is StoreUnavailable, never a lost yes."""
    with RedisReplicas(*GUARDED) as group:
        loss = asyncio.run(failover(group, cut_off_for=0.3))
    assert loss.lost == 0
    assert loss.at_risk <= TASKS  # answers that were on their way to us already


def test_a_primary_whose_replicas_fall_silent_stops_within_three_seconds() -> None:
    """Security.md 4: `min-replicas-max-lag 1`, which Redis looks at once a second."""
    with RedisReplicas(*GUARDED) as group:
        assert asyncio.run(exposure(group)) < 3
