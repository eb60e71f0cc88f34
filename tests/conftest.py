"""What every test may ask for: the chosen stores, and one real server of each kind per worker of the run."""

import os
from collections.abc import Iterator

import pytest

from tests.redis_groups import RedisCluster, RedisReplicas
from tests.selection import selected_stores
from tests.servers import RedisServer


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A redis-server of this worker's own; `SESSIONWARE_TEST_REDIS_URL` names another to use instead."""
    given = os.environ.get("SESSIONWARE_TEST_REDIS_URL")
    if given:
        yield given
        return
    with RedisServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    """A cluster of this worker's own that nobody harms; `SESSIONWARE_TEST_REDIS_CLUSTER_URL` names another."""
    given = os.environ.get("SESSIONWARE_TEST_REDIS_CLUSTER_URL")
    if given:
        yield given
        return
    with RedisCluster() as cluster:
        yield cluster.url


@pytest.fixture(scope="session")
def redis_sentinel_url() -> Iterator[str]:
    """Sentinels of this worker's own that nobody harms; `SESSIONWARE_TEST_REDIS_SENTINEL_URL` names others."""
    given = os.environ.get("SESSIONWARE_TEST_REDIS_SENTINEL_URL")
    if given:
        yield given
        return
    with RedisReplicas() as group:
        yield group.url


@pytest.fixture(params=selected_stores())
def store_kind(request: pytest.FixtureRequest) -> str:
    """Each store that this run tests, by name."""
    return str(request.param)


@pytest.fixture(scope="session")
def redis_url_if_needed(request: pytest.FixtureRequest) -> str:
    """The server's address, or nothing when this run does not test Redis."""
    return str(request.getfixturevalue("redis_url")) if "redis" in selected_stores() else ""
