"""Four processes race on one store while it is harmed: whatever they were told, there is an order that explains it.

ST-08, C35, A35; issue 5 part 4. Each verdict is printed: `pytest -rP` shows the figures.
"""

import asyncio
from pathlib import Path

import pytest

from tests.selection import is_selected
from tests.servers import RedisServer
from tests.stores.histories.judging import EXACT, Terms, Verdict, judge
from tests.stores.histories.nemeses import OF_REDIS, OfRedis, kill_workers, losing_replies
from tests.stores.histories.running import Harm, record
from tests.stores.redis.faulty_wire import FaultyWire

SEED = 20_261_126
BEFORE_S, AFTER_S = 0.6, 0.9

on_redis = pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")
on_sqlite = pytest.mark.skipif(not is_selected("sqlite"), reason="not among STORES")


async def fight(
    url: str, folder: Path, *harms: Harm, may_lose: bool = False, after_s: float = AFTER_S, terms: Terms = EXACT
) -> Verdict:
    """The verdict on a short race with these harms in it."""
    recorded = await record(
        url, [(harm, may_lose) for harm in harms], folder=folder, seed=SEED, before_s=BEFORE_S, after_s=after_s
    )
    verdict = judge(recorded, terms)
    print(verdict)
    assert verdict.answers["ok"] > 100, "too little happened to prove anything"
    assert verdict.answers["denied"] > 20, "the allowances were never reached"
    return verdict


@on_redis
@pytest.mark.parametrize("nemesis", OF_REDIS)
def test_redis_under(nemesis: str, tmp_path: Path):
    with RedisServer(persistent=True) as server:
        harmed = OfRedis(server)
        harm = OF_REDIS[nemesis]
        verdict = asyncio.run(fight(server.url, tmp_path, lambda team: harm(harmed, team)))
    assert [account.overshoot for account in verdict.accounts.values()] == [0, 0, 0]


@on_redis
def test_redis_whose_replies_are_lost(tmp_path: Path):
    async def scenario(server: RedisServer) -> Verdict:
        async with FaultyWire(server.port) as wire:
            return await fight(wire.url("sw:"), tmp_path, losing_replies(wire))

    with RedisServer() as server:
        verdict = asyncio.run(scenario(server))
    assert verdict.order.applied_unknown > 0, "no lost reply was of a call that counts"


@pytest.mark.parametrize("store", [pytest.param("redis", marks=on_redis), pytest.param("sqlite", marks=on_sqlite)])
def test_workers_that_are_killed(store: str, redis_url: str, tmp_path: Path):
    urls = {"redis": f"{redis_url}?prefix=history:", "sqlite": f"sqlite:////{tmp_path}/sessions.db"}
    asyncio.run(fight(urls[store], tmp_path, kill_workers))
