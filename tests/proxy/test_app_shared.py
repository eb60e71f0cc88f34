"""Legacy sessions belong to the store: another proxy, and one that was started anew, finds their upstreams."""

import json
from contextlib import ExitStack

import httpx2
import pytest

from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import serving
from tests.proxy.stories import FORMS, HELLO, LATER, begun


def call(server, legacy_id, tool, **arguments):
    message = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = LATER | {"Mcp-Session-Id": legacy_id}
    answer = httpx2.post(f"{server.url}/mcp", headers=headers, json=message)
    assert answer.status_code == 200, answer.text
    told = next(line for line in answer.text.splitlines() if line.startswith("data: {"))
    return json.loads(told.removeprefix("data: "))["result"]["content"][0]["text"]


@pytest.fixture(scope="module")
def urls():
    with replicas(2) as servers:
        yield ",".join(each.url for each in servers)


def test_two_proxies_on_one_store_share_sessions_and_restarts_lose_none(urls, tmp_path):
    store = f"sqlite:///{tmp_path}/shared.db"
    with ExitStack() as running:
        one, two = (running.enter_context(serving(urls, store=store)) for _ in range(2))
        ids = [begun(one) for _ in range(6)]
        for legacy_id in ids:
            call(one, legacy_id, "remember", text=legacy_id[:20])
            assert call(two, legacy_id, "recall") == legacy_id[:20]
    with serving(urls, store=store) as anew:
        assert [call(anew, legacy_id, "recall") for legacy_id in ids] == [legacy_id[:20] for legacy_id in ids]


def test_an_upstream_that_left_the_settings_has_no_sessions(urls, tmp_path):
    store = f"sqlite:///{tmp_path}/left.db"
    first, second = urls.split(",")
    with serving(first, store=store) as server:
        legacy_id = begun(server)
    with serving(second, store=store) as server:
        headers = LATER | {"Mcp-Session-Id": legacy_id}
        answer = httpx2.post(f"{server.url}/mcp", headers=headers, json={"jsonrpc": "2.0", "id": 5, "method": "ping"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, -31404)


def test_an_initialize_that_is_refused_hands_out_no_session(urls):
    with serving(urls) as server:
        answer = httpx2.post(f"{server.url}/mcp", headers=FORMS | {"Accept": "text/plain"}, json=HELLO)
        assert (answer.status_code, answer.headers["content-type"]) == (406, "application/json")
        assert "Mcp-Session-Id" not in answer.headers
        assert "X-Session-ID" not in answer.headers
