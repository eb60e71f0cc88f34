"""Tools that a pool does not offer are in no list, and a call of one reaches no upstream, in both eras (A49)."""

import json
import threading

import httpx2
import pytest

from sessionware.client.mcp import McpClient
from sessionware.client.mcp_messages import McpRefused
from sessionware.proxy.fleet import pause
from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import TOKENS, serving, token
from tests.proxy.stories import FORMS, LATER, LIST, asked, begun, call, modern, text
from tests.proxy.telling_upstream import Told, events, json_answer, telling

CHOSEN = {"pools": {"default": {"tools": {"exclude": ["whoami", "re*"]}}}}
ONLY = {"pools": {"default": {"tools": {"include": ["p*", "sleep"]}}}}
TOOLS = {"jsonrpc": "2.0", "id": 5, "result": {"tools": [{"name": "pid"}, {"name": "whoami"}]}}


@pytest.fixture(scope="module", params=[(), ("--json",)], ids=["events", "json"])
def server(request):
    """An MCP server that answers in events, and one that prefers JSON."""
    with replicas(1, *request.param) as [only]:
        yield only


@pytest.mark.parametrize("is_legacy", [True, False])
@pytest.mark.parametrize(("rules", "offered"), [(CHOSEN, {"counter", "sleep", "pid"}), (ONLY, {"pid", "sleep"})])
def test_a_client_sees_the_tools_that_it_may_call(server, is_legacy, rules, offered):
    """A49: include and exclude, on list and call."""
    with (
        serving(server.url, **TOKENS, **rules) as door,
        McpClient(f"{door.url}/mcp", token=token("alice"), is_legacy=is_legacy) as mcp,
    ):
        assert {tool.name for tool in mcp.tools()} == offered
        assert text(mcp.call("pid", {})) == str(server.pid)
        with pytest.raises(McpRefused) as refused:
            mcp.call("whoami", {})
    status = 403 if is_legacy else 404
    assert (refused.value.status, refused.value.code) == (status, -(31000 + status))


def test_a_hidden_call_reaches_no_upstream_whatever_the_headers_say():
    """A49, PX-15: an upstream is never asked; a header that says otherwise is a mismatch."""
    with telling(json_answer(TOOLS)) as upstream, serving(upstream.url, **CHOSEN) as door:
        url = f"{door.url}/mcp"
        hidden = httpx2.post(url, headers=modern("tools/call", "whoami"), json=call("whoami"))
        assert (hidden.status_code, hidden.json()["id"], hidden.json()["error"]["code"]) == (404, 5, -31404)
        assert hidden.json()["error"]["data"] == {"code": "tool_not_available"}
        assert "whoami" in hidden.json()["error"]["message"]
        for headers in [
            modern("tools/call", "pid"), modern("tools/list"), modern("ping"), modern("tools/call"),
            modern("tools/call", "=?base64?cGlk?="), modern("TOOLS/CALL", "whoami"),
        ]:  # fmt: skip
            answer = httpx2.post(url, headers=headers, json=call("whoami"))
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020), headers
        encoded = httpx2.post(url, headers=modern("tools/call", "=?base64?d2hvYW1p?="), json=call("whoami"))
        assert encoded.status_code == 404
        batch = httpx2.post(url, headers=FORMS, json=[call("pid", 1), call("whoami", 2)])
        assert (batch.status_code, batch.json()["error"]["code"]) == (404, -31404)
        disguised = json.dumps(call("pid")).replace('"name"', '"Name": "whoami", "name"')
        assert httpx2.post(url, headers=modern("tools/call", "pid"), content=disguised).status_code == 400
        twice = json.dumps(call("pid")).replace('"name"', '"name": "whoami", "name"')
        assert httpx2.post(url, headers=modern("tools/call", "pid"), content=twice).status_code == 400
        assert upstream.seen == []
        assert httpx2.post(url, headers=modern("tools/call", "pid"), json=call("pid")).status_code == 200
    assert len(upstream.seen) == 1


def test_in_a_legacy_session_it_is_403_and_the_session_lives_on(server):
    with serving(server.url, **CHOSEN) as door:
        legacy_id = begun(door)
        answer = asked(door, legacy_id, call("whoami"))
        assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (403, 5, -31403)
        assert asked(door, legacy_id, call("pid")).status_code == 200


def listed(door, headers=None):
    return httpx2.post(f"{door.url}/mcp", headers=modern("tools/list") if headers is None else headers, json=LIST)


def test_an_answer_is_framed_anew():
    """Neither its old length nor a digest of its old bytes goes on; the upstream is asked not to compress."""
    answer = json_answer(TOOLS, etag='"x"', content_digest="sha-256=:x:")
    with telling(answer) as upstream, serving(upstream.url, **CHOSEN) as door:
        found = listed(door, modern("tools/list", **{"Accept-Encoding": "gzip, br"}))
    assert found.json()["result"]["tools"] == [{"name": "pid"}]
    assert int(found.headers["content-length"]) == len(found.content)
    assert {"etag", "content-digest"}.isdisjoint(found.headers)
    assert upstream.seen[0].all("accept-encoding") == ["identity"]


@pytest.mark.parametrize(
    "answer",
    [
        json_answer(TOOLS, content_encoding="gzip"),
        Told([b"{nonsense"], headers=(("content-type", "application/json; charset=utf-8"),)),
        Told([b""], headers=(("content-type", "application/json"),)),
        Told([b"data: x\n\n"], headers=(("content-type", "text/event-stream"), ("content-encoding", "gzip"))),
    ],
)
def test_a_list_that_cannot_be_looked_through_is_not_passed_on(answer):
    with telling(answer) as upstream, serving(upstream.url, **CHOSEN) as door:
        found = listed(door)
    assert (found.status_code, found.json()["error"]["code"], found.json()["id"]) == (502, -31502, 5)


def test_a_stream_that_is_resumed_repeats_no_hidden_tool():
    """A GET may bring the answer to any request again."""
    told = events(b"id: 1\ndata: " + json.dumps(TOOLS).encode()[:40], json.dumps(TOOLS).encode()[40:] + b"\n\n")
    with telling(told) as upstream, serving(upstream.url, **CHOSEN) as door:
        answer = httpx2.get(f"{door.url}/mcp", headers=LATER | {"Last-Event-ID": "0"})
    assert "whoami" not in answer.text
    assert '"pid"' in answer.text


def test_other_answers_pass_untouched():
    told = json_answer({"jsonrpc": "2.0", "id": 5, "result": {"tools": [{"name": "whoami"}], "of": "a call"}})
    with telling(told) as upstream, serving(upstream.url, **CHOSEN) as door:
        answer = httpx2.post(f"{door.url}/mcp", headers=modern("tools/call", "pid"), json=call("pid"))
    assert '{"name": "whoami"}' in answer.text


def old_style(headers=(), after=b""):
    """A server of 2024-11-05 that lists its tools at once on its stream."""
    listed = b"event: message\ndata: " + json.dumps(TOOLS).encode() + b"\n\n"
    kinds = (("content-type", "text/event-stream"), *headers)

    def answer(seen):
        if seen.method == "GET":
            return Told(
                [b"event: endpoint\ndata: /messages?id=1\n\n" + listed[:40], listed[40:] + after], headers=kinds
            )
        return Told([b"Accepted"], status=202, headers=(("content-type", "text/plain"),))

    return answer


def test_an_old_server_s_stream_lists_no_hidden_tool():
    """A49 for HTTP+SSE (2024-11-05)."""
    pools = {"old": {"tools": {"exclude": ["whoami"]}}}
    with telling(old_style(), "/sse") as upstream, serving(f"old[sse]={upstream.url}", pools=pools) as door:
        answer = httpx2.get(f"{door.url}/old/sse", headers={"Accept": "text/event-stream"})
    assert "event: endpoint\ndata: /old/messages?session_id=" in answer.text
    assert '"pid"' in answer.text
    assert "whoami" not in answer.text
    zipped = old_style((("content-encoding", "gzip"),))
    with telling(zipped, "/sse") as upstream, serving(f"old[sse]={upstream.url}", pools=pools) as door:
        assert httpx2.get(f"{door.url}/old/sse").status_code == 502


def test_a_hidden_call_to_an_old_server_reaches_no_upstream():
    pools = {"old": {"tools": {"exclude": ["whoami"]}}}
    over = threading.Event()
    with telling(held_open(over), "/sse") as upstream, serving(f"old[sse]={upstream.url}", pools=pools) as door:
        with httpx2.stream("GET", f"{door.url}/old/sse") as stream:
            lines = stream.iter_lines()
            endpoint = next(line for line in lines if line.startswith("data: ")).removeprefix("data: ")
            hidden = httpx2.post(f"{door.url}{endpoint}", json=call("whoami"))
            assert (hidden.status_code, hidden.json()["error"]["code"], hidden.json()["id"]) == (403, -31403, 5)
            assert httpx2.post(f"{door.url}{endpoint}", json=call("pid")).status_code == 202
        over.set()
        assert [json.loads(each.body)["params"]["name"] for each in upstream.seen if each.method == "POST"] == ["pid"]


def held_open(over):
    """Opens a stream, which lasts until it is over."""

    async def parts():
        yield b"event: endpoint\ndata: /messages?id=1\n\n"
        while not over.is_set():
            await pause(0.05)
            yield b": \n\n"

    def answer(seen):
        if seen.method == "POST":
            return Told([b"Accepted"], status=202, headers=(("content-type", "text/plain"),))
        return Told(parts, headers=(("content-type", "text/event-stream"),))

    return answer


@pytest.mark.parametrize("hides", [True, False])
def test_an_event_that_is_too_long_ends_an_old_server_s_stream(hides):
    pools = {"old": {"tools": {"exclude": ["whoami"]}}} if hides else {}
    long = old_style(after=b"data: " + b"x" * 5000 + b"\n\ndata: never\n\n")
    with telling(long, "/sse") as upstream, serving(f"old[sse]={upstream.url}", pools=pools, max_answer="4k") as door:
        answer = httpx2.get(f"{door.url}/old/sse")
    assert '"pid"' in answer.text
    assert "never" not in answer.text
