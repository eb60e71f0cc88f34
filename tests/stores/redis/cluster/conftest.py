"""A cluster that a module may harm as it likes."""

from collections.abc import Iterator

import pytest

from tests.redis_groups import RedisCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster("--cluster-require-full-coverage", "no") as cluster:
        yield cluster
