"""Which upstream a session gets, how it keeps it, and how it gets another one when that is gone."""

import json
import threading
import time
from collections import Counter
from contextlib import ExitStack

import httpx2
import pytest

from sessionware.client.mcp import McpClient
from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import TOKENS, installed, serving, standing, token
from tests.proxy.stories import FORMS, HELLO, asked, begun, text
from tests.serving import soon


def bearer(user, **more):
    return {"Authorization": f"Bearer {token(user, **more)}"}


def pid_of(server, legacy_id, **headers):
    call = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "pid", "arguments": {}}}
    answer = asked(server, legacy_id, call, **headers)
    assert answer.status_code == 200, answer.text
    told = next(line for line in answer.text.splitlines() if line.startswith("data: {"))
    return int(json.loads(told.removeprefix("data: "))["result"]["content"][0]["text"])


def modern(server, user, session=None):
    return McpClient(f"{server.url}/mcp", token=token(user), session=session)


@pytest.fixture(scope="module")
def three():
    with replicas(3) as servers:
        yield servers


def urls(servers):
    return ",".join(each.url for each in servers)


def test_b31_nine_sessions_on_three_upstreams_are_three_on_each(three):
    """B31: each new session goes where the fewest are; the same id again changes nothing."""
    with serving(urls(three)) as server:
        ids = [begun(server) for _ in range(9)]
        first = [pid_of(server, each) for each in ids]
        assert Counter(first) == {each.pid: 3 for each in three}
        assert [pid_of(server, each) for each in ids] == first


def test_b32_a_session_keeps_its_upstream_and_gives_its_place_back_when_it_ends(three):
    """B32: twenty calls reach one upstream; after the end the next session takes the place that is free."""
    with standing(urls(three), **TOKENS) as (server, sessionware, proxy):
        names = [f"s{number}" for number in range(9)]
        pids = {}
        for name in names:
            with modern(server, "alice", name) as mcp:
                pids[name] = int(text(mcp.call("pid", {})))
        assert sorted(Counter(pids.values()).values()) == [3, 3, 3]
        with modern(server, "alice", "s0") as mcp:
            assert {int(text(mcp.call("pid", {}))) for _ in range(20)} == {pids["s0"]}
        sessions = sessionware.sessions
        server.run(sessions.close("s0", by=sessions.user("alice")))
        assert soon(lambda: sorted(proxy.placing.loads.of("default").values()) == [2, 3, 3])
        with modern(server, "alice", "s9") as mcp:
            assert int(text(mcp.call("pid", {}))) == pids["s0"]


def test_a37_every_proxy_on_one_store_sends_a_session_to_the_same_upstream(three, tmp_path):
    """A37, E19: it is the store that knows, whichever of the proxies is asked, and after all were started anew."""
    store = f"sqlite:///{tmp_path}/shared.db"
    with ExitStack() as running:
        proxies = [running.enter_context(serving(urls(three), store=store, **TOKENS)) for _ in range(3)]
        seen = {}
        for number in range(12):
            name = f"s{number}"
            pids = set()
            for server in proxies:
                with modern(server, "alice", name) as mcp:
                    pids.add(int(text(mcp.call("pid", {}))))
            assert len(pids) == 1
            seen[name] = pids.pop()
        assert len(set(seen.values())) == 3
    with serving(urls(three), store=store, **TOKENS) as anew:
        for name, pid in seen.items():
            with modern(anew, "alice", name) as mcp:
                assert int(text(mcp.call("pid", {}))) == pid


def test_round_robin_gives_each_new_session_to_the_next_upstream(three):
    with serving(urls(three), upstream_selection="round_robin") as server:
        pids = [pid_of(server, begun(server)) for _ in range(6)]
    assert pids[:3] == pids[3:]
    assert len(set(pids[:3])) == 3


def test_a_hash_sends_the_same_name_to_the_same_upstream_whatever_the_others_have(three):
    with serving(urls(three), upstream_selection="hash", **TOKENS) as server:
        for _ in range(2):
            with modern(server, "alice", "one") as mcp:
                first = int(text(mcp.call("pid", {})))
        with modern(server, "alice", "one") as mcp:
            assert int(text(mcp.call("pid", {}))) == first


def test_each_initialize_without_a_session_begins_one_of_its_own(three):
    """Somebody with a token and no session name has as many legacy sessions as they begin, on different upstreams."""
    with installed(urls(three), **TOKENS) as (server, sessionware):
        ids = [begun(server, **bearer("alice")) for _ in range(3)]
        assert len({pid_of(server, each, **bearer("alice")) for each in ids}) == 3
        sessions = sessionware.sessions
        assert server.run(sessions.count(by=sessions.user("alice"))) == 3


def test_a_sid_in_the_token_ties_every_initialize_to_one_session(three):
    with installed(urls(three), **TOKENS) as (server, sessionware):
        ids = [begun(server, **bearer("alice", sid="work")) for _ in range(3)]
        assert len({pid_of(server, each, **bearer("alice", sid="work")) for each in ids}) == 1
        sessions = sessionware.sessions
        assert server.run(sessions.count(by=sessions.user("alice"))) == 1


def test_c27_a_dead_upstream_s_modern_sessions_go_on_elsewhere_at_once():
    """C27: kill one of two upstreams; nobody waits, and those of the other one stay where they are."""
    with replicas(2) as servers, serving(urls(servers), **TOKENS) as server, ExitStack() as open_clients:
        clients = [open_clients.enter_context(modern(server, "alice", f"s{number}")) for number in range(6)]
        before = [int(text(mcp.call("pid", {}))) for mcp in clients]
        assert set(before) == {each.pid for each in servers}
        survivor = servers[1].pid
        servers[0].kill9()
        started = time.monotonic()
        after = [int(text(mcp.call("pid", {}))) for mcp in clients]
        assert time.monotonic() - started < 5
        assert set(after) == {survivor}
        servers[0].start()
        assert soon(lambda: [int(text(mcp.call("pid", {}))) for mcp in clients] == after)  # nobody goes back


def test_c27_a_new_legacy_session_is_there_within_five_seconds_of_its_upstream_s_death():
    """C27: 503 while it may come back, 404 once it is known to be dead, and then another upstream."""
    with replicas(2) as servers, serving(urls(servers)) as server:
        ids = {pid_of(server, each): each for each in (begun(server) for _ in range(2))}
        mine = ids[servers[0].pid]
        servers[0].kill9()
        started = time.monotonic()
        while asked(server, mine).status_code != 404:
            threading.Event().wait(0.1)
            assert time.monotonic() - started < 10
        assert pid_of(server, begun(server)) == servers[1].pid
        assert time.monotonic() - started < 5


def test_a_session_of_a_known_dead_upstream_is_404_in_less_than_a_second():
    """mcp.md 4: peers take from two seconds to for ever."""
    with replicas(2) as servers, standing(urls(servers)) as (server, _, proxy):
        ids = [begun(server) for _ in range(4)]
        doomed = [each for each in ids if pid_of(server, each) == servers[0].pid]
        name = f"127.0.0.1:{servers[0].port}"
        servers[0].kill9()
        upstream = proxy.placing.fleet.find("default", name)
        assert upstream is not None
        assert soon(lambda: upstream.health.life == "dead")  # found out by probes alone: nobody has asked
        for each in doomed:
            started = time.monotonic()
            answer = asked(server, each)
            assert (answer.status_code, answer.json()["id"]) == (404, 5)
            assert time.monotonic() - started < 1


def test_an_upstream_that_comes_back_takes_sessions_again():
    with replicas(2) as servers, standing(urls(servers)) as (server, _, proxy):
        servers[0].kill9()
        assert {pid_of(server, begun(server)) for _ in range(3)} == {servers[1].pid}
        servers[0].start()
        upstream = proxy.placing.fleet.find("default", f"127.0.0.1:{servers[0].port}")
        assert upstream is not None
        assert soon(lambda: upstream.health.life == "up")
        assert pid_of(server, begun(server)) == servers[0].pid


def test_without_any_upstream_an_initialize_is_503_and_says_when_to_come_back():
    with replicas(1) as [only], serving(only.url) as server:
        only.kill9()
        answer = httpx2.post(f"{server.url}/mcp", headers=FORMS, json=HELLO)
    assert (answer.status_code, answer.json()["id"]) == (503, 1)
    assert answer.json()["error"]["data"]["retry_after_ms"] == 1000
    assert answer.headers["Retry-After"] == "1"
