"""Life and readiness are two things: without its store the proxy lives, and is not ready (A47)."""

import pytest

from tests.selection import is_selected
from tests.servers import RedisServer
from tests.serving import soon
from tests.standalone.running_proxy import RunningProxy

pytestmark = pytest.mark.skipif(not is_selected("redis"), reason="redis is not selected")


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


def test_a47_a_store_that_comes_after_the_proxy_is_found_by_asking_whether_it_is_ready(upstreams):
    with RedisServer() as redis:
        url = redis.url
        redis.stop()
        with RunningProxy("--upstreams", upstreams, "--store", url) as proxy:
            assert proxy.get("/ready").status_code == 503
            redis.start()
            assert soon(lambda: proxy.get("/ready").status_code == 200)
