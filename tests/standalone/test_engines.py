"""Two proxies on each distributed engine, and one of its servers dies: what users of the whole thing see."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pytest

from tests.postgres_server import PostgresServer
from tests.redis_groups import RedisCluster, RedisReplicas, until
from tests.selection import is_selected
from tests.serving import soon
from tests.standalone.running_proxy import RunningProxy
from tests.standalone.test_restarting import begun, called

BACK_WITHIN_S = 5.0  # C27
GIVEN_UP_AFTER_S = 20.0

pytestmark = pytest.mark.timeout(120)


class Engine(NamedTuple):
    url: str
    lose_one: Callable[[], object]


@contextmanager
def sentinel() -> Iterator[Engine]:
    with RedisReplicas() as group:
        yield Engine(group.url, group.kill_primary)


@contextmanager
def cluster() -> Iterator[Engine]:
    with RedisCluster("--cluster-node-timeout", "1000") as group:  # a second of the five is the cluster's to notice
        yield Engine(group.url, lambda: group.kill9(group.masters()[0]))


@contextmanager
def postgres() -> Iterator[Engine]:
    with PostgresServer() as server:

        def stop_and_come_back() -> None:
            server.stop_immediately()
            server.start()

        yield Engine(server.url, stop_and_come_back)


ENGINES = [
    pytest.param(engine, id=name, marks=pytest.mark.skipif(not is_selected(name), reason="not among STORES"))
    for name, engine in {"sentinel": sentinel, "cluster": cluster, "postgres": postgres}.items()
]


def answers_everywhere(proxies, sessions) -> bool:
    """Whether every proxy serves every session, with what was remembered in it."""
    for proxy in proxies:
        for session in sessions:
            answer = called(proxy, session, "recall")
            if answer.status_code in {500, 502, 503}:
                return False
            assert (answer.status_code, f"kept by {session[:5]}" in answer.text) == (200, True), answer.text
    return True


@pytest.mark.parametrize("engine", ENGINES)
def test_a36_a37_a38_c17_c27_sessions_are_shared_and_outlive_a_server_and_all_proxies(engine, upstreams):
    with ExitStack() as stack:
        store = stack.enter_context(engine())
        options = ("--upstreams", upstreams, "--store", store.url, "--limits", "10000/hour per user")
        proxies = [stack.enter_context(RunningProxy(*options)) for _ in range(2)]
        sessions = [begun(proxies[number % 2]) for number in range(6)]
        for number, session in enumerate(sessions):
            other = proxies[(number + 1) % 2]
            assert called(other, session, "remember", text=f"kept by {session[:5]}").status_code == 200
        named = proxies[0].post("/session/start").json()["session_id"]
        assert proxies[1].post(f"/session/{named}/ping").status_code == 200

        lost_at = time.monotonic()
        store.lose_one()
        until(lambda: answers_everywhere(proxies, sessions), GIVEN_UP_AFTER_S, "proxies that serve again")
        took = time.monotonic() - lost_at
        print(f"back after {took:.1f} s")
        assert took <= BACK_WITHIN_S
        assert soon(lambda: {proxy.get("/ready").status_code for proxy in proxies} == {200})

        for proxy in proxies:
            proxy.stop()
        with RunningProxy(*options) as later:
            assert answers_everywhere([later], sessions)
            assert later.get(f"/session/{named}/status").status_code == 200
