"""Life and readiness are two things: without its store the proxy lives, and is not ready (A47)."""

import time

import pytest

from tests.redis_groups import RedisReplicas
from tests.selection import is_selected
from tests.servers import RedisServer
from tests.serving import soon
from tests.standalone.running_proxy import RunningProxy

needs_redis = pytest.mark.skipif(not is_selected("redis"), reason="redis is not selected")
needs_sentinel = pytest.mark.skipif(not is_selected("sentinel"), reason="sentinel is not selected")


@needs_redis
def test_a47_redis_is_killed_ready_is_503_and_health_200(upstreams):
    with RedisServer() as redis, RunningProxy("--upstreams", upstreams, "--store", redis.url) as proxy:
        assert proxy.get("/ready").json()["status"] == "ready"
        redis.kill9()
        assert soon(lambda: proxy.get("/ready").status_code == 503)
        refused = proxy.get("/ready")
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["status"] == "unavailable"
        assert proxy.get("/health").status_code == 200
        assert proxy.get("/metrics").status_code == 200
        redis.start()
        assert soon(lambda: proxy.get("/ready").status_code == 200)


@needs_redis
def test_a47_a_store_that_comes_after_the_proxy_is_found_by_asking_whether_it_is_ready(upstreams):
    with RedisServer() as redis:
        url = redis.url
        redis.stop()
        with RunningProxy("--upstreams", upstreams, "--store", url) as proxy:
            assert proxy.get("/ready").status_code == 503
            redis.start()
            assert soon(lambda: proxy.get("/ready").status_code == 200)


@needs_sentinel
def test_c27_a_primary_is_killed_ready_is_503_and_200_again_within_five_seconds(upstreams):
    """C27: nobody restarts the proxy, and it starts without a primary as well."""
    with RedisReplicas() as group, RunningProxy("--upstreams", upstreams, "--store", group.url) as proxy:
        assert proxy.get("/ready").json()["status"] == "ready"
        group.kill_primary()
        killed_at = time.monotonic()
        assert soon(lambda: proxy.get("/ready").status_code == 503)
        assert soon(lambda: proxy.get("/ready").status_code == 200)
        assert time.monotonic() - killed_at < 5
