"""Four processes race on one store while it is harmed: whatever they were told, there is an order that explains it.

ST-08, C35, A35; issue 5 part 4. Each verdict is printed: `pytest -rP` shows the figures.
"""

import asyncio
from pathlib import Path

import pytest

from tests.selection import is_selected
from tests.stores.histories.grounds import GROUNDS
from tests.stores.histories.judging import Verdict
from tests.stores.histories.run import main, parser
from tests.stores.histories.running import Race

SEED = 20_261_126
BEFORE_S, AFTER_S = 0.4, 0.7

pytestmark = pytest.mark.timeout(180)  # the search for an order has a bound of its own
STORE_OF = {"wire": "redis"}
EXACT = {
    "sqlite": ("hold-lock kill-workers",),
    "redis": (
        "kill9 hang",
        "flush-scripts kill-clients pause-clients",
        "fill-memory make-replica kill-workers",
    ),
    "cluster": ("move-slots hang-master",),
    "postgres": ("stop-immediately kill9", "hang kill-workers"),
}
LONGER = {  # in make test-faults
    "flush-scripts kill-clients pause-clients",
    "fill-memory make-replica kill-workers",
    "move-slots hang-master",
    "hang kill-workers",
    "hold-lock kill-workers",
    "stop-immediately kill9",
}


def needs(ground: str) -> pytest.MarkDecorator:
    store = STORE_OF.get(ground, ground)
    return pytest.mark.skipif(not is_selected(store), reason="not among STORES")


def fight(ground: str, *nemeses: str, after_s: float = AFTER_S, scale: int = 1) -> Verdict:
    """The verdict on a short race with these nemeses in it."""

    async def scenario() -> Verdict:
        async with GROUNDS[ground]() as opened:
            return await opened.fight(*nemeses, race=Race(SEED, BEFORE_S, after_s, scale))

    verdict = asyncio.run(scenario())
    print(verdict)
    assert verdict.answers["ok"] > 100, "too little happened to prove anything"
    assert scale > 1 or verdict.answers["denied"] > 20, "the allowances were never reached"
    return verdict


@pytest.mark.parametrize(
    ("ground", "nemeses"),
    [
        pytest.param(ground, nemeses, marks=[needs(ground), *([pytest.mark.faults] if nemeses in LONGER else [])])
        for ground, each in EXACT.items()
        for nemeses in each
    ],
)
def test_a_store_that_forgets_nothing_stays_exact(ground: str, nemeses: str):
    verdict = fight(ground, *nemeses.split())
    assert [account.overshoot for account in verdict.accounts.values()] == [0, 0, 0]


@needs("redis")
def test_calls_whose_replies_are_lost_count_once_or_not_at_all():
    verdict = fight("wire", "lose-replies")
    assert verdict.order.applied_unknown > 0, "no lost reply was of a call that counts"


@pytest.mark.parametrize(
    ("ground", "nemesis"),
    [
        pytest.param(ground, nemesis, marks=[needs(ground), pytest.mark.faults])
        for ground, nemesis in (("sentinel", "kill-primary"), ("cluster", "kill-session-master"))
    ],
)
def test_a_replica_takes_over_and_the_loss_is_bounded(ground: str, nemesis: str):
    """Service is back within 5 s; what exceeds the allowances had been acknowledged within the last second."""
    fight(ground, nemesis)


@pytest.mark.faults
@needs("sentinel")
def test_what_replicas_had_not_heard_of_is_reported_as_lost():
    """They hear nothing for 0.3 s before the primary dies, while the counters still grow.

    That no more is admitted beyond an allowance than was lost, and that it had been acknowledged within the last
    second, is part of every verdict.
    """
    verdict = fight("sentinel", "kill-primary-ahead", after_s=1.5, scale=5)
    assert max(verdict.order.lost.values()) > 0, "nothing was lost although no replica had heard of it"
    assert verdict.lag_s > 0


@pytest.mark.faults
@needs("sqlite")
def test_people_can_race_on_an_address_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Twice on the same file: each round has counters of its own, which begin at nothing."""
    asked = parser().parse_args([f"sqlite:////{tmp_path}/sessions.db", "--seconds", "1", "--round", "0.5"])
    asyncio.run(main(asked))
    said = capsys.readouterr().out
    assert [said.count(part) for part in ("round 1 of 2", "round 2 of 2", "an order was found")] == [1, 1, 2]
    asked.nemesis = "earthquake"
    with pytest.raises(SystemExit, match="no nemesis earthquake; there are: nothing, kill-workers"):
        asyncio.run(main(asked))
