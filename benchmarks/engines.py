"""The only place that starts the engines of a benchmark: new, empty, on free ports, stopped when it is over."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from tests.postgres_server import PostgresServer
from tests.redis_groups import RedisCluster, RedisReplicas
from tests.redis_words import info
from tests.servers import RedisServer

DURABLE = ("fsync=on", "full_page_writes=on", "shared_buffers=128MB")  # as PostgreSQL comes, not as the suite starts it
NAMES = ("memory", "sqlite", "redis", "sentinel", "cluster", "postgres")


class Engine(Struct, frozen=True):
    """Where an engine is, and how many bytes it holds by its own account."""

    url: str
    bytes_held: Callable[[], int]
    port: int = 0


@contextmanager
def running(name: str, folder: Path) -> Iterator[Engine]:
    """One engine with nothing in it; files go to `folder`."""
    match name:
        case "memory":
            yield Engine("memory://", _resident)
        case "sqlite":
            yield Engine(f"sqlite:///{folder}/bench.db", lambda: _in_files(folder, "bench.db*"))
        case "redis":
            with RedisServer() as server:
                yield Engine(server.url, lambda: _in_memory(server), server.port)
        case "sentinel":
            with RedisReplicas() as group:
                yield Engine(group.url, lambda: _in_memory(group.primary))
        case "cluster":
            with RedisCluster() as cluster:
                yield Engine(cluster.url, lambda: sum(_in_memory(master) for master in cluster.masters()))
        case "postgres":
            with PostgresServer(*DURABLE) as database:
                yield Engine(database.url, lambda: _in_files(database.data, "base/**/*"))
        case _:
            raise SystemExit(f"no store is called {name}: there are {', '.join(NAMES)}")


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _in_memory(server: RedisServer) -> int:
    return int(info(server.port, "memory")["used_memory"])


def _in_files(folder: Path, pattern: str) -> int:
    return sum(each.stat().st_size for each in folder.glob(pattern) if each.is_file())
