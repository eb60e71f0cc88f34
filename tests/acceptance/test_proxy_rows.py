"""Acceptance rows that speak of MCP: `sessionware proxy` as a process, in front of real servers."""

import json
import secrets
import time
from contextlib import ExitStack

import httpx2
import jwt
import pytest

from sessionware.client.mcp import McpClient
from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import ISSUER, SECRET, token
from tests.proxy.stories import FORMS, LATER, asked, begun, text
from tests.serving import Server, soon
from tests.standalone.running_proxy import RunningProxy

TRUSTED = ("--jwt-secret", SECRET, "--jwt-issuer", ISSUER, "--jwt-audience", "mcp", "--limits", "off")
ADMIN = {"Authorization": f"Bearer {token('root', scope='sessionware:admin')}"}


def bearer(user, **claims):
    return {"Authorization": f"Bearer {token(user, **claims)}"}


def urls(servers):
    return ",".join(each.url for each in servers)


def count(proxy):
    return httpx2.get(f"{proxy.url}/sessions?count=true", headers=ADMIN).json()["count"]


@pytest.fixture(scope="module")
def two():
    with replicas(2) as servers:
        yield servers


@pytest.fixture(scope="module")
def proxy(two):
    with RunningProxy("--upstreams", urls(two), *TRUSTED) as running:
        yield running


def test_a1_a_call_without_a_session_keeps_no_state(two):
    with RunningProxy("--upstreams", urls(two), "--limits", "off") as open_to_all:
        before = open_to_all.get("/metrics").text
        for _ in range(2):
            with McpClient(f"{open_to_all.url}/mcp") as mcp:
                assert text(mcp.call("recall", {"handle": secrets.token_hex(8)})) == ""
        after = open_to_all.get("/metrics").text
    created = [
        [line for line in each.splitlines() if line.startswith("sessionware_sessions_created_total")]
        for each in (before, after)
    ]
    assert created[0] == created[1]


def test_a2_a14_a_session_remembers_and_arguments_may_be_empty(proxy):
    with McpClient(f"{proxy.url}/mcp", token=token("alice"), session="work", is_legacy=True) as mcp:
        mcp.call("remember", {"text": "tea"})
        assert text(mcp.call("recall", {})) == "tea"
        assert text(mcp.call("recall", {})) == "tea"


def test_e1_e11_two_sessions_keep_two_values(proxy):
    with ExitStack() as opened:
        first, second = (
            opened.enter_context(McpClient(f"{proxy.url}/mcp", token=token("alice"), session=name, is_legacy=True))
            for name in ("one", "two")
        )
        first.call("remember", {"text": "1"})
        second.call("remember", {"text": "2"})
        assert [text(each.call("recall", {})) for each in (first, second)] == ["1", "2"]


def test_a22_a_revoked_token_opens_nothing_and_ends_what_it_started(two):
    with RunningProxy("--upstreams", urls(two), *TRUSTED) as proxy:
        hers, his = bearer("alice", jti="hers"), bearer("bob", jti="his")
        mine, theirs = begun(proxy, **hers), begun(proxy, **his)
        revoked = httpx2.post(f"{proxy.url}/tokens/revoke", headers=ADMIN, json={"iss": ISSUER, "jti": "hers"})
        assert revoked.status_code == 200
        assert len(revoked.json()["handles"]) == 1
        assert asked(proxy, mine, **hers).status_code == 401
        modern = FORMS | hers | {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
        again = httpx2.post(
            f"{proxy.url}/mcp", headers=modern, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        )
        assert again.status_code == 401
        assert asked(proxy, theirs, **his).status_code == 200


def test_e2_idle_time_and_cleanup_are_set_by_the_environment(two):
    with RunningProxy(
        "--upstreams", urls(two), "--limits", "off",
        environ={"SESSIONWARE_SESSION_TTL": "1s", "SESSIONWARE_CLEANUP_INTERVAL": "1s"},
    ) as proxy:  # fmt: skip
        mine = begun(proxy)
        assert asked(proxy, mine).status_code == 200
        assert soon(lambda: 'reason="expired"} 1.0' in proxy.get("/metrics").text)
        assert asked(proxy, mine).status_code == 404


def test_e6_what_is_said_in_one_session_is_in_no_other(proxy):
    hers = bearer("alice")
    for name in ("a", "b"):
        assert httpx2.put(f"{proxy.url}/session/{name}", headers=hers).status_code in {200, 201}
    message = {"role": "user", "content": "hello"}
    assert httpx2.post(f"{proxy.url}/session/a/context", headers=hers, json=message).status_code == 201
    contexts = [httpx2.get(f"{proxy.url}/session/{name}/context", headers=hers).json() for name in ("a", "b")]
    assert [each["count"] for each in contexts] == [1, 0]


def test_e7_asking_for_a_state_makes_no_session(proxy):
    before = count(proxy)
    answer = httpx2.get(f"{proxy.url}/session/nobody/status", headers=bearer("alice"))
    assert (answer.status_code, count(proxy)) == (404, before)


async def talker(scope, receive, send):
    """A server whose stream says whose it is; nothing else."""
    if scope["type"] != "http":
        return
    named = dict(scope["headers"]).get(b"mcp-session-id", secrets.token_hex(8).encode())
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": "2025-11-25"}}).encode()
        head = [(b"content-type", b"application/json"), (b"mcp-session-id", named)]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    told = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": named.decode()}})
    await send({"type": "http.response.body", "body": f"data: {told}\n\n".encode(), "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


def first_event(lines):
    return next(line for line in lines if line.startswith("data: "))


def test_c20_e8_a_stream_says_only_what_its_own_session_is_told_and_keeps_it_alive():
    """PX-17: it comes at once, and nobody may gather it. E22: streams with affinity, behind limits of each session."""
    with (
        Server(talker) as upstream,
        RunningProxy(
            "--upstreams", f"{upstream.url}/mcp", "--limits", "off",
            environ={"SESSIONWARE_SESSION_TTL": "2s", "SESSIONWARE_CLEANUP_INTERVAL": "1s"},
        ) as proxy,
        ExitStack() as opened,
    ):  # fmt: skip
        ids = [begun(proxy) for _ in range(2)]
        said, streams = [], []  # a stream that nobody holds is closed
        for each in ids:
            headers = LATER | {"Mcp-Session-Id": each, "Accept": "text/event-stream"}
            started = time.monotonic()
            stream = opened.enter_context(httpx2.stream("GET", f"{proxy.url}/mcp", headers=headers, timeout=20))
            assert (stream.headers["X-Accel-Buffering"], stream.status_code) == ("no", 200)
            streams.append(stream.iter_lines())
            said.append(first_event(streams[-1]))
            assert time.monotonic() - started < 2
        assert len(set(said)) == 2
        opened_at = time.monotonic()
        assert soon(lambda: time.monotonic() - opened_at > 3)  # longer than a session without a stream would live
        assert [asked(proxy, each).status_code for each in ids] == [200, 200]


def test_ses09_a_session_that_is_closed_on_one_worker_is_closed_on_all_and_its_streams_end(tmp_path):
    store = ("--store", f"sqlite:///{tmp_path}/shared.db", "--store-timeout", "5s", "--workers", "2")
    with (
        Server(talker) as upstream,
        RunningProxy("--upstreams", f"{upstream.url}/mcp", *TRUSTED, *store) as proxy,
    ):
        hers = bearer("alice")
        mine = begun(proxy, **hers, **{"X-Session-ID": "work"})
        headers = LATER | hers | {"Mcp-Session-Id": mine, "Accept": "text/event-stream"}
        with httpx2.stream("GET", f"{proxy.url}/mcp", headers=headers, timeout=20) as stream:
            lines = stream.iter_lines()
            assert first_event(lines)
            assert httpx2.delete(f"{proxy.url}/session/work", headers=hers).status_code == 200
            closed_at = time.monotonic()
            assert [line for line in lines if line.startswith("data: ")] == []
            assert time.monotonic() - closed_at < 3  # a second is promised
        assert {asked(proxy, mine, **hers).status_code for _ in range(6)} == {404}


def test_e15_e16_sessions_are_counted_and_their_removal_is_told(two):
    with RunningProxy("--upstreams", urls(two), *TRUSTED) as proxy:
        for name in ("a", "b", "c"):
            begun(proxy, **bearer("alice"), **{"X-Session-ID": name})
        assert count(proxy) == 3
        httpx2.delete(f"{proxy.url}/session/a", headers=bearer("alice"))
        assert count(proxy) == 2


def test_tp01_a_token_of_another_service_opens_nothing(proxy):
    stolen = jwt.encode(
        {"iss": ISSUER, "aud": "elsewhere", "sub": "alice", "exp": int(time.time()) + 60, "iat": int(time.time())},
        SECRET, "HS256", headers={"typ": "at+jwt"},
    )  # fmt: skip
    answer = httpx2.post(
        f"{proxy.url}/mcp", headers=FORMS | {"Authorization": f"Bearer {stolen}"},
        json={"jsonrpc": "2.0", "id": 7, "method": "tools/list"},
    )  # fmt: skip
    assert (answer.status_code, answer.json()["id"]) == (401, 7)
