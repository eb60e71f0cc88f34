"""The proxy in front of two real MCP servers, in the era of 2026-07-28: each session finds its own upstream."""

import json
import socket
import time

import httpx2
import pytest

from sessionware.client.mcp import McpClient
from sessionware.client.mcp_messages import McpRefused
from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import TOKENS, serving, token
from tests.proxy.stories import SESSIONS, first_asked, text

DISCOVER = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "server/discover", "Content-Type": "application/json"}


def client_of(server, user, session=None, **more):
    return McpClient(f"{server.url}/mcp", token=token(user), session=session, **more)


def value(called):
    return json.loads(text(called))


def test_each_session_of_each_user_finds_its_own_upstream_each_time(proxied, upstreams):
    handles, pids = {}, {}
    for user, session in SESSIONS:
        with client_of(proxied, user, session) as mcp:
            assert mcp.protocol_version == "2026-07-28"
            remembered = value(mcp.call("remember", {"text": f"{user} {session}"}))
        handles[user, session], pids[user, session] = remembered["handle"], remembered["pid"]
    for _ in range(3):
        for user, session in SESSIONS:
            with client_of(proxied, user, session) as mcp:
                handle = handles[user, session]
                assert text(mcp.call("recall", {"handle": handle})) == f"{user} {session}"
                assert text(mcp.call("pid", {})) == str(pids[user, session])
    assert set(pids.values()) <= {each.pid for each in upstreams}


def test_many_sessions_share_the_upstreams(proxied, upstreams):
    pids = set()
    for number in range(20):
        with client_of(proxied, "alice", f"s{number}") as mcp:
            pids.add(int(text(mcp.call("pid", {}))))
    assert pids == {each.pid for each in upstreams}


def test_no_secret_reaches_the_upstream(proxied):
    with client_of(proxied, "alice", "one") as mcp:
        headers = value(mcp.call("whoami", {}))["headers"]
    secrets = {"authorization", "x-session-id", "cookie", "x-api-key", "mcp-session-id"}
    assert secrets.isdisjoint(headers)
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["via"] == "1.1 sessionware"


@pytest.mark.parametrize("is_legacy", [False, True])
def test_progress_streams_while_the_tool_works(proxied, is_legacy):
    seen = []
    heard = {"on_progress": lambda _: seen.append(time.monotonic())}
    with client_of(proxied, "alice", "one", is_legacy=is_legacy, **heard) as mcp:
        assert text(mcp.call("sleep", {"seconds": 0.8, "steps": 4})) == "slept 0.8 s"
    assert len(seen) == 5
    assert seen[-1] - seen[0] > 0.5


def test_nobody_without_a_credential_gets_a_session(upstreams):
    with serving(",".join(each.url for each in upstreams)) as server:
        with McpClient(f"{server.url}/mcp") as mcp:
            mcp.call("pid", {})
        answer = httpx2.post(
            f"{server.url}/mcp",
            headers=DISCOVER | {"Accept": "application/json, text/event-stream"},
            json={"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {}},
        )
    assert "X-Session-ID" not in answer.headers
    assert "Mcp-Session-Id" not in answer.headers


def test_a_bad_token_is_refused_in_json_rpc_under_the_request_s_id(proxied):
    answer = httpx2.post(
        f"{proxied.url}/mcp",
        headers=DISCOVER | {"Authorization": "Bearer nonsense.of.mine"},
        json={"jsonrpc": "2.0", "id": 7, "method": "server/discover", "params": {}},
    )
    assert answer.status_code == 401
    assert (answer.json()["id"], answer.json()["error"]["code"]) == (7, -31401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_headers_that_contradict_the_body_are_refused(proxied):
    answer = httpx2.post(
        f"{proxied.url}/mcp",
        headers=DISCOVER | {"Authorization": f"Bearer {token('alice')}"},
        json={"jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": {"name": "pid"}},
    )
    assert answer.status_code == 400
    assert (answer.json()["id"], answer.json()["error"]["code"]) == (8, -32020)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("PUT", "/mcp", 405), ("POST", "/other", 404), ("POST", "//evil/mcp", 400)]
)
def test_what_leads_nowhere_is_said_in_json_rpc(proxied, method, path, status):
    answer = httpx2.request(method, f"{proxied.url}{path}", content=b"{}")
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == -(31000 + status)


def test_limits_count_tool_calls_and_never_the_probe(upstreams):
    urls = ",".join(each.url for each in upstreams)
    with serving(urls, **TOKENS | {"limits": "2/day per session"}) as server:
        for _ in range(5):
            with client_of(server, "alice", "one"):
                pass
        with client_of(server, "alice", "one") as mcp:
            mcp.call("pid", {})
            mcp.call("pid", {})
            with pytest.raises(McpRefused) as refused:
                mcp.call("pid", {})
    assert refused.value.status == 429


def test_a_killed_upstream_s_sessions_go_on_elsewhere_and_none_left_is_503():
    with (
        replicas(2) as servers,
        serving(",".join(each.url for each in servers), **TOKENS) as server,
        client_of(server, "alice", "one") as mcp,
    ):
        first = int(text(mcp.call("pid", {})))
        dead = next(each for each in servers if each.pid == first)
        other = next(each for each in servers if each.pid != first)
        dead.kill9()
        assert text(mcp.call("pid", {})) == str(other.pid)
        other.kill9()
        with pytest.raises(McpRefused) as refused:
            mcp.call("pid", {})
    assert (refused.value.status, refused.value.code) == (503, -31503)


def test_an_upstream_that_dies_in_a_stream_leaves_an_error_for_the_request():
    with (
        replicas(1) as [only],
        serving(only.url, **TOKENS) as server,
        client_of(server, "alice", "one", on_progress=lambda told: only.kill9()) as mcp,
        pytest.raises(McpRefused) as refused,
    ):
        mcp.call("sleep", {"seconds": 30, "steps": 100})
    assert refused.value.code == -31502


def test_a_client_that_goes_closes_its_request_upstream():
    """Disconnecting is how a modern client cancels."""
    head = (
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n"
        f"Mcp-Name: slow\r\nAuthorization: Bearer {token('alice')}\r\nContent-Length: 2\r\n\r\n"
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        serving(f"http://127.0.0.1:{upstream.getsockname()[1]}/mcp", **TOKENS) as server,
        server.connect() as client,
    ):
        upstream.settimeout(5)
        client.sendall(head.encode() + b"{}")
        asked, _ = first_asked(upstream, b"{}")
        with asked:
            client.close()
            started = time.monotonic()
            assert rest_of(asked) == b""
            assert time.monotonic() - started < 1


def rest_of(connection):
    try:
        return connection.recv(1)
    except ConnectionResetError:
        return b""
