"""The proxy in front of two real MCP servers, in the eras before 2026-07-28: our ids stand for the upstreams'."""

import json
import threading
import time

import httpx2
import pytest

from sessionware.client.mcp import McpClient
from sessionware.client.mcp_messages import McpRefused
from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import TOKENS, serving, token
from tests.proxy.stories import FORMS, HELLO, LATER, LIST, SESSIONS, asked, begun, text
from tests.serving import soon


@pytest.fixture
def open_to_all(upstreams):
    with serving(",".join(each.url for each in upstreams)) as server:
        yield server


def client_of(server, user, session=None, **more):
    return McpClient(f"{server.url}/mcp", token=token(user), session=session, is_legacy=True, **more)


def bearer(user):
    return {"Authorization": f"Bearer {token(user)}"}


def test_each_session_of_each_user_finds_its_own_upstream_each_time(proxied, upstreams):
    clients = {who: client_of(proxied, *who) for who in SESSIONS}
    pids = {}
    try:
        for who, mcp in clients.items():
            mcp.__enter__()
            assert mcp.protocol_version == "2025-11-25"
            pids[who] = json.loads(text(mcp.call("remember", {"text": " ".join(who)})))["pid"]
        for _ in range(3):
            for who, mcp in clients.items():
                assert text(mcp.call("recall", {})) == " ".join(who)
                assert text(mcp.call("pid", {})) == str(pids[who])
    finally:
        for mcp in clients.values():
            mcp.__exit__(None, None, None)
    assert set(pids.values()) <= {each.pid for each in upstreams}


def test_strangers_get_sessions_of_their_own_on_both_upstreams(open_to_all, upstreams):
    pids = set()
    for number in range(20):
        with McpClient(f"{open_to_all.url}/mcp", is_legacy=True) as mcp:
            pids.add(json.loads(text(mcp.call("remember", {"text": str(number)})))["pid"])
            assert text(mcp.call("recall", {})) == str(number)
    assert pids == {each.pid for each in upstreams}


def test_the_upstream_s_id_and_our_secrets_stay_on_their_side(proxied):
    legacy_id = begun(proxied, **bearer("alice"), **{"X-Session-ID": "one"})
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}
    answer = asked(proxied, legacy_id, call, **bearer("alice"), **{"X-API-Key-Not": "kept"})
    assert legacy_id not in answer.text
    told = next(line for line in answer.text.splitlines() if line.startswith("data: {"))
    said = json.loads(json.loads(told.removeprefix("data: "))["result"]["content"][0]["text"])
    assert said["session"] not in {"", legacy_id}
    assert {"authorization", "x-session-id", "cookie"}.isdisjoint(said["headers"])
    assert "Mcp-Session-Id" not in answer.headers


def test_an_unknown_id_and_somebody_else_s_are_answered_alike(proxied):
    hers = begun(proxied, **bearer("alice"))
    head, _, tail = hers.partition(".")
    unknown = f"{head}.{tail[:-4]}AAAA"
    expected = {
        "jsonrpc": "2.0", "id": 5,
        "error": {
            "code": -31404, "message": "Session not found: initialize again", "data": {"code": "session_not_found"}
        },
    }  # fmt: skip
    answers = [asked(proxied, hers, **bearer("bob")), asked(proxied, unknown, **bearer("alice"))]
    answers.append(asked(proxied, "no-id-of-ours", **bearer("alice")))
    assert [(each.status_code, each.json()) for each in answers] == [(404, expected)] * 3
    assert asked(proxied, hers, **bearer("alice")).status_code == 200


def test_delete_ends_the_session_upstream_and_here(open_to_all):
    legacy_id = begun(open_to_all)
    assert asked(open_to_all, legacy_id).status_code == 200
    headers = {"Mcp-Session-Id": legacy_id, "MCP-Protocol-Version": "2025-11-25"}
    assert httpx2.delete(f"{open_to_all.url}/mcp", headers=headers).status_code == 200
    answer = asked(open_to_all, legacy_id)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, -31404)


def test_a_session_that_the_upstream_has_forgotten_is_404_for_good():
    with replicas(1) as [only], serving(only.url) as server:
        legacy_id = begun(server)
        only.restart()
        answers = [asked(server, legacy_id) for _ in range(2)]
    assert [each.status_code for each in answers] == [404, 404]
    assert [each.json()["id"] for each in answers] == [5, 5]


def test_a_dead_upstream_is_503_at_first_and_then_404():
    with replicas(1) as [only], serving(only.url) as server:
        legacy_id = begun(server)
        only.kill9()
        first = asked(server, legacy_id)
        assert (first.status_code, first.json()["error"]["code"]) == (503, -31503)
        assert first.json()["error"]["data"]["retry_after_ms"] == 1000
        statuses, deadline = [], time.monotonic() + 10
        while 404 not in statuses and time.monotonic() < deadline:
            statuses.append(asked(server, legacy_id).status_code)
            threading.Event().wait(0.3)
        assert set(statuses) == {503, 404}
        assert asked(server, legacy_id).status_code == 404


def test_one_upstream_s_death_takes_only_its_own_sessions():
    with replicas(2) as servers, serving(",".join(each.url for each in servers)) as server:
        clients = [McpClient(f"{server.url}/mcp", is_legacy=True) for _ in range(8)]
        pids = []
        for mcp in clients:
            mcp.__enter__()
            pids.append(int(text(mcp.call("pid", {}))))
        servers[0].kill9()
        for mcp, pid in zip(clients, pids, strict=True):
            if pid == servers[1].pid:
                assert text(mcp.call("pid", {})) == str(pid)
            else:
                with pytest.raises(McpRefused) as refused:
                    mcp.call("pid", {})
                assert refused.value.status == 503
        with McpClient(f"{server.url}/mcp", is_legacy=True) as mcp:
            assert text(mcp.call("pid", {})) == str(servers[1].pid)
        for mcp in clients:
            mcp.__exit__(None, None, None)


def test_a_stateless_upstream_leaves_no_session_behind():
    with replicas(1, "--stateless") as [only], serving(only.url) as server:
        answer = httpx2.post(f"{server.url}/mcp", headers=FORMS, json=HELLO)
        assert answer.status_code == 200
        assert '"protocolVersion":"2025-11-25"' in answer.text.replace(" ", "")
        assert "Mcp-Session-Id" not in answer.headers
        assert "X-Session-ID" not in answer.headers


def test_a_body_that_is_no_json_is_refused_in_json_rpc(open_to_all):
    answer = httpx2.post(f"{open_to_all.url}/mcp", headers=FORMS, content=b"{nonsense")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("Parse error")


def test_a_body_over_the_bound_is_413(upstreams):
    with serving(upstreams[0].url, max_body="1000") as server:
        answer = httpx2.post(f"{server.url}/mcp", headers=FORMS, content=b"[" + b" " * 1000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, -31413)


def test_limits_count_tool_calls_and_never_the_handshake(upstreams):
    with serving(upstreams[0].url, limits="2/day per session", **TOKENS) as server:
        for _ in range(4):
            with client_of(server, "alice", "one"):
                pass
        with client_of(server, "alice", "one") as mcp:
            mcp.call("pid", {})
            mcp.call("pid", {})
            with pytest.raises(McpRefused) as refused:
                mcp.call("pid", {})
    assert (refused.value.status, refused.value.code) == (429, -31429)


@pytest.mark.parametrize("user", [None, "alice"])
def test_to_begin_anew_after_a_lost_upstream_is_free_once_per_lost_session(user):
    """CREATE_LIMIT: mcp.md, "Both"."""
    headers = {} if user is None else bearer(user)
    with replicas(1) as [only], serving(only.url, create_limit="2/hour per user", **TOKENS) as server:

        def begin():
            return httpx2.post(f"{server.url}/mcp", headers=FORMS | headers, json=HELLO)

        first, second = [begin().headers["Mcp-Session-Id"] for _ in range(2)]
        assert (begin().status_code, begin().json()["error"]["code"]) == (429, -31429)
        only.restart()
        assert soon(lambda: httpx2.post(f"{server.url}/mcp", headers=LATER | headers, json=LIST).status_code != 503)
        for _ in range(3):
            assert asked(server, first, **headers).status_code == 404
        assert [begin().status_code for _ in range(2)] == [200, 429]
        assert asked(server, second, **headers).status_code == 404
        third = begin()
        assert [third.status_code, begin().status_code] == [200, 429]
        given_up = {"Mcp-Session-Id": third.headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-11-25"}
        assert httpx2.delete(f"{server.url}/mcp", headers=headers | given_up).status_code == 200
        assert begin().status_code == 429  # who ends a session has had it
