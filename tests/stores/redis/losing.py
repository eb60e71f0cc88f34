"""How many acknowledged writes a failover loses: measured, with and without what shrinks the loss.

python -m tests.stores.redis.losing            # each way once
"""

import asyncio
import time
from typing import Final

from msgspec import Struct

from sessionware.core.store import Store
from sessionware.errors import StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.testing.build import Maker
from tests.redis_groups import RedisReplicas
from tests.redis_words import say
from tests.stores.deeds import take, until_it_answers, used

TASKS: Final = 8
WARM_UP_S: Final = 0.5
MANY: Final = 1_000_000_000
GUARDED: Final = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")


class Loss(Struct, frozen=True):
    """What became of the writes around one failover. `at_risk` were acknowledged while no replica heard of them."""

    acknowledged: int
    at_risk: int
    in_doubt: int
    counted: int
    away_s: float

    @property
    def lost(self) -> int:
        """Acknowledged and not there any more: at least so many."""
        return max(self.acknowledged - self.counted, 0)

    def __str__(self) -> str:
        return (
            f"{self.lost} of {self.acknowledged} acknowledged writes lost, {self.at_risk} at risk, "
            f"{self.in_doubt} in doubt, {self.away_s:.2f} s without a primary"
        )


class Writers:
    """Eight tasks that admit as fast as they can."""

    def __init__(self, store: Store) -> None:
        self.acknowledged = 0
        self.in_doubt = 0
        self.answered_at = 0.0
        self._store = store
        self._tasks = [asyncio.create_task(self._write()) for _ in range(TASKS)]
        self._stopped = False

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)

    async def _write(self) -> None:
        make = Maker.of(self._store)
        while not self._stopped:
            try:
                await take(self._store, make, key_name="pace", allowance=MANY)
            except StoreUnavailable as error:
                self.in_doubt += "refused" not in str(error)
                await asyncio.sleep(0.001)
            else:
                self.acknowledged += 1
                self.answered_at = time.monotonic()


async def failover(group: RedisReplicas, *, cut_off_for: float) -> Loss:
    """Write, cut the primary off from its replicas, kill it so many seconds later, and count what is left."""
    async with open_store(group.url) as store:
        writers = Writers(store)
        await asyncio.sleep(WARM_UP_S)
        replicas = group.replicas if cut_off_for else []
        for replica in replicas:
            replica.pause()
        if replicas:
            say(group.primary.port, "CLIENT", "KILL", "TYPE", "replica")  # nothing is under way to them any more
        safe = writers.acknowledged
        await asyncio.sleep(cut_off_for)
        group.kill_primary()
        killed_at = time.monotonic()
        await writers.stop()
        for replica in replicas:
            replica.resume()
        await until_it_answers(store, within=20)
        away = time.monotonic() - killed_at
        counted = await used(store, Maker.of(store), "pace")
        return Loss(writers.acknowledged, writers.acknowledged - safe, writers.in_doubt, counted, away)


async def exposure(group: RedisReplicas, *, within: float = 10.0) -> float:
    """How long a primary goes on acknowledging when its replicas fall silent, their connections still standing."""
    async with open_store(group.url) as store:
        writers = Writers(store)
        await asyncio.sleep(WARM_UP_S)
        replicas = group.replicas
        for replica in replicas:
            replica.pause()
        silent_at = time.monotonic()
        async with asyncio.timeout(within):
            while time.monotonic() - max(writers.answered_at, silent_at) < 1.0:
                await asyncio.sleep(0.01)
        exposed = writers.answered_at - silent_at
        for replica in replicas:
            replica.resume()
        await writers.stop()
        return exposed


def measure() -> None:
    for title, options, cut_off_for in (
        ("replicas in step", (), 0.0),
        ("replicas cut off 0.3 s before", (), 0.3),
        ("replicas cut off 3 s before", (), 3.0),
        ("replicas cut off 3 s before, min-replicas-to-write 1, min-replicas-max-lag 1", GUARDED, 3.0),
    ):
        with RedisReplicas(*options) as group:
            print(f"kill -9, {title}: {asyncio.run(failover(group, cut_off_for=cut_off_for))}", flush=True)
    with RedisReplicas(*GUARDED) as group:
        print(f"silent replicas, the same options: {asyncio.run(exposure(group)):.2f} s until writes are refused")


if __name__ == "__main__":
    measure()
