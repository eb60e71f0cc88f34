"""What every test may ask for: the chosen stores, and one real server of each kind per worker of the run."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.postgres_server import PostgresServer
from tests.redis_groups import RedisCluster, RedisReplicas
from tests.selection import selected_stores
from tests.servers import RedisServer

SERVERS = {  # and which fixture starts it
    "redis": "redis_url", "sentinel": "redis_sentinel_url", "cluster": "redis_cluster_url", "postgres": "postgres_url",
}  # fmt: skip


def _url_of(kind: str, start: Callable[[], AbstractContextManager[Any]]) -> Iterator[str]:
    """A server of this worker's own that nobody harms; `SESSIONWARE_TEST_<KIND>_URL` names another to use instead."""
    given = os.environ.get(f"SESSIONWARE_TEST_{kind.upper()}_URL")
    if given:
        yield given
        return
    with start() as server:
        yield str(server.url)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    yield from _url_of("redis", RedisServer)


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    yield from _url_of("redis_cluster", RedisCluster)


@pytest.fixture(scope="session")
def redis_sentinel_url() -> Iterator[str]:
    yield from _url_of("redis_sentinel", RedisReplicas)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    yield from _url_of("postgres", PostgresServer)


@pytest.fixture(params=selected_stores())
def store_kind(request: pytest.FixtureRequest) -> str:
    """Each store that this run tests, by name."""
    return str(request.param)


@pytest.fixture(scope="session")
def server_of(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """The URL of the server that a kind of store needs, started when it is first asked for; empty for those without."""

    def server(kind: str) -> str:
        return str(request.getfixturevalue(SERVERS[kind])) if kind in SERVERS else ""

    return server
