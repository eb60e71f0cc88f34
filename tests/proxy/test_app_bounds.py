"""How much of an answer comes back, and how long an upstream may take to begin one (A49, C14, PX-08)."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from sessionware.client.mcp import McpClient
from sessionware.client.mcp_messages import McpRefused
from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import TOKENS, serving, token
from tests.proxy.stories import FORMS, LATER, LIST, call, first_asked, modern
from tests.proxy.telling_upstream import Told, events, json_answer, telling

SHORT = {"jsonrpc": "2.0", "id": 5, "result": {"text": "x" * 900}}
LONG = {"jsonrpc": "2.0", "id": 5, "result": {"text": "x" * 9000}}
BOUND = {"max_answer": "4k"}
CHUNKED = (("content-type", "application/json"),)


def asked(door, message=None):
    message = message or call("pid")
    return httpx2.post(f"{door.url}/mcp", headers=modern("tools/call", "pid"), json=message)


def messages_in(text):
    """What a client takes from the stream: events of another type it passes over."""
    found = []
    for event in text.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in event.splitlines())
        if fields.get("event", "message") == "message" and "data" in fields:
            found.append(json.loads(fields["data"]))
    return found


def test_a_long_answer_is_422_before_its_head():
    """A49: the response ceiling; known by Content-Length."""
    with telling(json_answer(LONG)) as upstream, serving(upstream.url, **BOUND) as door:
        answer = asked(door)
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (422, 5, -31422)
    assert "4096 bytes" in answer.json()["error"]["message"]


@pytest.mark.parametrize("settings", [BOUND, {}])
def test_a_short_answer_passes_and_without_the_setting_any(settings):
    told = SHORT if settings else LONG
    with telling(json_answer(told)) as upstream, serving(upstream.url, **settings) as door:
        assert asked(door).json() == told


def test_an_answer_that_turns_out_long_is_cut_visibly():
    """PX-11: nobody takes the rest for the whole."""
    parts = [json.dumps(LONG).encode()[at : at + 500] for at in range(0, 9500, 500)]
    with telling(Told(parts, headers=CHUNKED)) as upstream, serving(upstream.url, **BOUND) as door:
        body = json.dumps(call("pid"))
        head = "".join(f"{name}: {value}\r\n" for name, value in modern("tools/call", "pid").items())
        with door.connect() as client:
            client.sendall(
                f"POST /mcp HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            received = rest_of(client)
    assert received.startswith(b"HTTP/1.1 200")
    assert not received.endswith(b"0\r\n\r\n")
    assert len(received) < 4096 + 1000


def test_plain_http_servers_answer_as_long_as_they_like():
    with telling(json_answer(LONG), "") as upstream, serving(f"app[http]={upstream.url}", **BOUND) as door:
        assert httpx2.get(f"{door.url}/app/").json() == LONG


@pytest.mark.parametrize(("settings", "size"), [(BOUND, 10_000), ({}, 5 << 20)])
@pytest.mark.parametrize("legacy", [False, True])
def test_an_event_that_is_too_long_ends_the_stream_with_an_error(settings, size, legacy):
    """PX-08: 4 MiB, or MAX_ANSWER. What was begun becomes an event that every client passes over."""
    first = b'id: 1\ndata: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n'
    told = events(first, b"data: " + b"x" * (size // 2), b"x" * (size // 2), b"x" * size, b"\n\nid: 2\ndata: never\n\n")
    with telling(told) as upstream, serving(upstream.url, **settings) as door:
        headers = LATER if legacy else modern("tools/call", "pid")
        answer = httpx2.post(f"{door.url}/mcp", headers=headers, json=call("pid"))
    assert answer.status_code == 200
    messages = messages_in(answer.text)
    assert [each.get("id") for each in messages] == [None, 5]
    assert messages[-1]["error"]["code"] == -31422
    assert "never" not in answer.text
    assert "\nevent: interrupted\n\nevent: message\n" in answer.text
    assert len(answer.content) < size + (1 << 20)


def test_a_list_of_tools_that_is_too_long_is_422():
    many = {"jsonrpc": "2.0", "id": 5, "result": {"tools": [{"name": f"tool{n}"} for n in range(1000)]}}
    pools = {"default": {"tools": {"exclude": ["x"]}}}
    chunked = Told([json.dumps(many).encode()], headers=CHUNKED)
    one_event = events(b"data: " + json.dumps(many).encode()[:5000], json.dumps(many).encode()[5000:] + b"\n\n")
    for told in [json_answer(many), chunked]:
        with telling(told) as upstream, serving(upstream.url, pools=pools, **BOUND) as door:
            answer = httpx2.post(f"{door.url}/mcp", headers=modern("tools/list"), json=LIST)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, -31422)
    with telling(one_event) as upstream, serving(upstream.url, pools=pools, **BOUND) as door:
        answer = httpx2.post(f"{door.url}/mcp", headers=modern("tools/list"), json=LIST)
    assert [each["error"]["code"] for each in messages_in(answer.text)] == [-31422]


@pytest.mark.parametrize("legacy", [False, True])
def test_a_tool_that_takes_too_long_is_504_under_the_request_s_id(legacy):
    """C14: 5 s, give or take 0.3; the upstream is let go of at once."""
    request = call("sleep", seconds=10)
    headers = FORMS if legacy else modern("tools/call", "sleep")
    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        serving(f"http://127.0.0.1:{upstream.getsockname()[1]}/mcp", pools={"default": {"timeout": "5s"}}) as door,
        httpx2.Client() as http,
        ThreadPoolExecutor(1) as workers,
    ):
        upstream.settimeout(10)
        started = time.monotonic()
        asking = workers.submit(http.post, f"{door.url}/mcp", headers=headers, json=request, timeout=20)
        there, received = first_asked(upstream, b'"seconds":10}}}')
        answer = asking.result(15)
        took = time.monotonic() - started
        with there:
            received += rest_of(there)
            let_go = time.monotonic() - started
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (504, 5, -31504)
    assert abs(took - 5) < 0.3
    assert let_go - 5 < 1
    assert received.endswith(json.dumps(request, separators=(",", ":")).encode())
    assert received.count(b"POST /mcp") == 1  # PX-12: it is not asked twice


@pytest.mark.parametrize("is_legacy", [False, True])
def test_a_real_tool_that_sleeps_too_long_is_504_and_the_session_lives_on(is_legacy):
    """C14 with an MCP server that answers in JSON: it chooses its answer's form when the tool has ended."""
    with (
        replicas(1, "--json") as [only],
        serving(only.url, **TOKENS, pools={"default": {"timeout": "2s"}}) as door,
        McpClient(f"{door.url}/mcp", token=token("alice"), is_legacy=is_legacy) as mcp,
    ):
        started = time.monotonic()
        with pytest.raises(McpRefused) as refused:
            mcp.call("sleep", {"seconds": 10})
        assert abs(time.monotonic() - started - 2) < 0.5
        assert (refused.value.status, refused.value.code) == (504, -31504)
        assert mcp.call("pid", {}).content[0]["text"] == str(only.pid)


def test_a_stream_that_has_begun_may_take_longer_than_the_timeout():
    with (
        replicas(1) as [only],
        serving(only.url, **TOKENS, pools={"default": {"timeout": "1s"}}) as door,
        McpClient(f"{door.url}/mcp", token=token("alice"), on_progress=lambda told: None) as mcp,
    ):
        assert mcp.call("sleep", {"seconds": 2.5, "steps": 10}).content[0]["text"] == "slept 2.5 s"


def rest_of(connection):
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received
