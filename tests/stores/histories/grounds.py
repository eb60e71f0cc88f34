"""The only place that knows on what a history is fought: each store with servers of its own, and its nemeses."""

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tests.postgres_server import PostgresServer
from tests.redis_groups import RedisCluster, RedisReplicas
from tests.servers import RedisServer
from tests.stores.faulty_wire import FaultyWire
from tests.stores.histories.history import WrongHistory
from tests.stores.histories.judging import EXACT, Terms, Verdict, judge
from tests.stores.histories.nemeses import (
    OF_WORKERS,
    of_cluster,
    of_postgres,
    of_redis,
    of_sentinels,
    of_sqlite,
    of_wire,
)
from tests.stores.histories.orders import Undecided
from tests.stores.histories.running import Harm, Race, Recorded, record


class Ground(Struct, frozen=True):
    """A store's address, what it promises, and who can harm it there; how often a server took another's place."""

    url: str
    nemeses: dict[str, Harm]
    terms: Terms = EXACT
    turns: Callable[[], int] = int

    async def fight(self, *nemeses: str, race: Race) -> Verdict:
        """The verdict on a race with these nemeses in it, one after the other. Raises WrongHistory, Undecided."""
        harms = [({**OF_WORKERS, **self.nemeses})[name] for name in nemeses]
        with tempfile.TemporaryDirectory(prefix="sessionware-history-") as folder:
            recorded = await record(self.url, harms, race, folder=Path(folder), turns=self.turns)
        try:
            return judge(recorded, self.terms)
        except (WrongHistory, Undecided) as error:
            error.add_note(f"what was recorded is kept in {_kept(recorded)}")
            raise


def _kept(recorded: Recorded) -> str:
    path = Path(tempfile.mkstemp(prefix="sessionware-history-", suffix=".json")[1])
    path.write_bytes(msgspec.json.encode(recorded))
    return str(path)


@asynccontextmanager
async def on_sqlite() -> AsyncIterator[Ground]:
    with tempfile.TemporaryDirectory(prefix="sessionware-history-") as folder:
        path = Path(folder) / "sessions.db"
        yield Ground(f"sqlite:////{path}", of_sqlite(path))


@asynccontextmanager
async def on_redis() -> AsyncIterator[Ground]:
    with RedisServer(persistent=True) as server:
        yield Ground(server.url, of_redis(server))


@asynccontextmanager
async def on_a_wire() -> AsyncIterator[Ground]:
    with RedisServer() as server:
        async with FaultyWire(server.port) as wire:
            yield Ground(wire.url("sw:"), of_wire(wire))


@asynccontextmanager
async def on_sentinels() -> AsyncIterator[Ground]:
    with RedisReplicas() as group:
        yield Ground(group.url, of_sentinels(group), turns=group.failovers)


@asynccontextmanager
async def on_guarded_sentinels() -> AsyncIterator[Ground]:
    """A primary that nobody follows takes no write: what a failover can lose is what was on its way."""
    with RedisReplicas("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1") as group:
        yield Ground(group.url, of_sentinels(group), turns=group.failovers)


@asynccontextmanager
async def on_a_cluster() -> AsyncIterator[Ground]:
    """What counts over everybody lies elsewhere than the session: a request that is refused has it for a moment."""
    with RedisCluster() as cluster:
        yield Ground(cluster.url, of_cluster(cluster), Terms(loose=("everybody",)), cluster.failovers)


@asynccontextmanager
async def on_postgres() -> AsyncIterator[Ground]:
    with PostgresServer() as server:
        yield Ground(server.url, of_postgres(server))


GROUNDS: Final[dict[str, Callable[[], AbstractAsyncContextManager[Ground]]]] = {
    "sqlite": on_sqlite,
    "redis": on_redis,
    "wire": on_a_wire,
    "sentinel": on_sentinels,
    "guarded-sentinel": on_guarded_sentinels,
    "cluster": on_a_cluster,
    "postgres": on_postgres,
}
