"""A cluster that a module may harm as it likes, and that is whole again for the next test."""

from collections.abc import Iterator

import pytest

from tests.redis_groups import RedisCluster


@pytest.fixture(scope="module")
def harmed_cluster() -> Iterator[RedisCluster]:
    with RedisCluster("--cluster-require-full-coverage", "no") as cluster:
        yield cluster


@pytest.fixture
def cluster(harmed_cluster: RedisCluster) -> Iterator[RedisCluster]:
    yield harmed_cluster
    stopped = [node for node in harmed_cluster.nodes if not node.is_running]
    for node in stopped:
        harmed_cluster.restart(node)
    if stopped:
        harmed_cluster.wait_until_in_step()
