"""The small MCP client against real servers of both eras, and against servers that misbehave."""

import json
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from sessionware.client.mcp import MAX_ANSWER, McpClient
from sessionware.client.mcp_messages import McpRefused
from tests.mcp_servers import CONFORMANCE, McpServer
from tests.servers import free_port
from tests.serving import Server

DISCOVERED = {"supportedVersions": ["2026-07-28"]}


@pytest.fixture(scope="module")
def demo():
    with McpServer(name="one") as server:
        yield server


@pytest.fixture(scope="module")
def examined():
    with McpServer(module=CONFORMANCE) as server:
        yield server


class Scripted:
    """An ASGI app that answers each request with the next of its answers, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        body = b""
        while (event := await receive())["type"] == "http.request":
            body += event["body"]
            if not event.get("more_body"):
                break
        message = json.loads(body or b"{}")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append((scope["method"], message.get("method", ""), headers))
        status, fields, answer = self.answers.pop(0)
        if isinstance(answer, dict):
            answer = json.dumps({"jsonrpc": "2.0", "id": message.get("id")} | answer)
        fields = [
            (name.encode(), value.encode()) for name, value in {"content-type": "application/json", **fields}.items()
        ]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": answer.encode()})


@contextmanager
def scripted(*answers):
    script = Scripted(*answers)
    with Server(script) as server:
        yield script, server.url + "/mcp"


def text_of(called):
    return [item["text"] for item in called.content]


def test_the_modern_era_is_found_and_keeps_no_session(demo):
    with McpClient(demo.url) as mcp:
        seen = json.loads(text_of(mcp.call("whoami", {}))[0])
        assert mcp.protocol_version == "2026-07-28"
    assert (seen["protocol_version"], seen["session"]) == ("2026-07-28", "")


def test_the_older_versions_get_a_handshake_and_their_session_ends(demo):
    with McpClient(demo.url, is_legacy=True) as mcp:
        seen = json.loads(text_of(mcp.call("whoami", {}))[0])
        mcp.call("remember", {"text": "tea"})
        assert text_of(mcp.call("recall", {})) == ["tea"]
    assert seen["protocol_version"] == "2025-11-25"
    gone = httpx2.post(
        demo.url,
        json={"jsonrpc": "2.0", "id": 1, "method": "ping"},
        headers={"accept": "application/json, text/event-stream", "mcp-session-id": seen["session"]},
    )
    assert gone.status_code == 404


@pytest.mark.parametrize("is_legacy", [False, True])
def test_session_and_token_are_sent_with_every_request(demo, is_legacy):
    with McpClient(demo.url, session="alice-1", token="secret", is_legacy=is_legacy) as mcp:
        headers = json.loads(text_of(mcp.call("whoami", {}))[0])["headers"]
    assert (headers["x-session-id"], headers["authorization"]) == ("alice-1", "Bearer secret")


@pytest.mark.parametrize("is_legacy", [False, True])
def test_progress_is_told_while_a_tool_works(demo, is_legacy):
    told: list[Any] = []
    with McpClient(demo.url, is_legacy=is_legacy, on_progress=told.append) as mcp:
        answer = mcp.call("sleep", {"seconds": 0.05, "steps": 2})
    assert text_of(answer) == ["slept 0.05 s"]
    assert [(one["progress"], one["total"]) for one in told] == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("is_legacy", [False, True])
def test_a_tools_own_error_is_an_answer(demo, is_legacy):
    with McpClient(demo.url, is_legacy=is_legacy) as mcp:
        answer = mcp.call("sleep", {"seconds": -1})
    assert (answer.is_error, "sleep takes 0..600 seconds" in text_of(answer)[0]) == (True, True)


@pytest.mark.parametrize("options", [["--json"], ["--stateless"], ["--json", "--stateless"]])
def test_servers_that_answer_in_json_or_without_sessions_are_understood(options):
    with McpServer(*options) as server:
        for is_legacy in (False, True):
            with McpClient(server.url, is_legacy=is_legacy) as mcp:
                assert [tool.name for tool in mcp.tools()][:2] == ["whoami", "remember"]
                assert text_of(mcp.call("pid", {})) == [str(server.pid)]


def test_arguments_that_must_be_in_headers_are_put_there(examined):
    with McpClient(examined.url) as mcp:
        assert text_of(mcp.call("test_custom_header", {"region": "Zürich"})) == ["region Zürich"]


def test_a_question_back_is_shown_as_one(examined):
    with McpClient(examined.url) as mcp:
        answer = mcp.call("test_input_required_result_elicitation", {})
    assert answer.result_type == "input_required"
    assert [asked["method"] for asked in answer.input_requests.values()] == ["elicitation/create"]


def test_a_server_of_the_older_versions_is_met_in_its_own():
    greeted = {"result": {"protocolVersion": "2025-06-18"}}
    answer = {"result": {"content": [{"type": "text", "text": "hello"}]}}
    with scripted(
        (400, {}, {"error": {"code": -32600, "message": "Bad Request: Missing session ID"}}),
        (200, {"mcp-session-id": "s1"}, greeted), (202, {}, ""), (200, {}, answer), (405, {}, ""),
    ) as (script, url), McpClient(url) as mcp:  # fmt: skip
        assert text_of(mcp.call("greet", {})) == ["hello"]
    assert [(verb, method) for verb, method, _ in script.asked] == [
        ("POST", "server/discover"), ("POST", "initialize"), ("POST", "notifications/initialized"),
        ("POST", "tools/call"), ("DELETE", ""),
    ]  # fmt: skip
    versions = [(asked.get("mcp-protocol-version"), asked.get("mcp-session-id")) for _, _, asked in script.asked]
    assert versions == [("2026-07-28", None), (None, None), *[("2025-06-18", "s1")] * 3]


@pytest.mark.parametrize("status", [401, 403, 429, 502, 503])
def test_a_refusal_of_the_caller_or_an_outage_never_changes_the_era(status):
    refusal = {"error": {"code": -31000 - status, "message": "no", "data": {"retry_after_ms": 1500}}}
    with scripted((status, {}, refusal)) as (script, url), pytest.raises(McpRefused) as refused, McpClient(url):
        pass
    assert (refused.value.status, refused.value.code, refused.value.retry_after_seconds) == (status, -31000 - status, 2)
    assert [method for _, method, _ in script.asked] == ["server/discover"]


def test_a_session_is_ended_though_the_call_was_refused():
    greeted = {"result": {"protocolVersion": "2025-11-25"}}
    with (
        scripted(
            (200, {"mcp-session-id": "s1"}, greeted), (202, {}, ""),
            (404, {}, {"error": {"code": -31404, "message": "Session not found"}}), (200, {}, ""),
        ) as (script, url),
        pytest.raises(McpRefused, match="HTTP 404, JSON-RPC -31404: Session not found"),
        McpClient(url, is_legacy=True) as mcp,
    ):  # fmt: skip
        mcp.call("recall", {})
    assert [verb for verb, _, _ in script.asked] == ["POST", "POST", "POST", "DELETE"]


def test_a_stream_that_ends_without_an_answer_is_an_error():
    stream = ': hello\n\nevent: message\ndata: {"jsonrpc":"2.0","method":"notifications/message","params":{}}\n\n'
    with (
        scripted((200, {}, {"result": DISCOVERED}), (200, {"content-type": "text/event-stream"}, stream)) as (_, url),
        pytest.raises(McpRefused, match="the stream ended without an answer"),
        McpClient(url) as mcp,
    ):
        mcp.call("recall", {})


def test_a_stream_may_end_with_the_error_that_a_proxy_adds():
    stream = '\n\nevent: message\ndata: {"jsonrpc":"2.0","id":2,"error":{"code":-31502,"message":"upstream lost"}}\n\n'
    with (
        scripted((200, {}, {"result": DISCOVERED}), (200, {"content-type": "text/event-stream"}, stream)) as (_, url),
        pytest.raises(McpRefused, match="JSON-RPC -31502: upstream lost"),
        McpClient(url) as mcp,
    ):
        mcp.call("recall", {})


def test_a_redirect_is_shown_and_not_followed():
    with (
        scripted((307, {"location": "http://elsewhere/mcp/"}, "")) as (script, url),
        pytest.raises(McpRefused, match="sends to http://elsewhere/mcp/"),
        McpClient(url, is_legacy=True),
    ):
        pass
    assert len(script.asked) == 1


def test_a_server_that_speaks_only_later_versions_is_refused_as_it_says():
    error = {"code": -32022, "message": "Unsupported protocol version", "data": {"supported": ["2027-01-01"]}}
    with (
        scripted((400, {}, {"error": error})) as (_, url),
        pytest.raises(McpRefused, match="-32022: Unsupported protocol version"),
        McpClient(url),
    ):
        pass


def test_tools_come_page_by_page():
    pages = [{"tools": [{"name": "a"}], "nextCursor": "2"}, {"tools": [{"name": "b"}]}]
    answers: list[Any] = [(200, {}, {"result": result}) for result in (DISCOVERED, *pages)]
    with scripted(*answers) as (_, url), McpClient(url) as mcp:
        assert [tool.name for tool in mcp.tools()] == ["a", "b"]


def test_an_answer_without_an_end_is_given_up():
    with (
        scripted((200, {}, "x" * (MAX_ANSWER + 1))) as (_, url),
        pytest.raises(McpRefused, match=f"more than {MAX_ANSWER} bytes"),
        McpClient(url, is_legacy=True),
    ):
        pass


def test_a_refused_initialized_notification_is_told():
    with (
        scripted((200, {}, {"result": {"protocolVersion": "2025-11-25"}}), (400, {}, "no")) as (_, url),
        pytest.raises(McpRefused, match="HTTP 400: no"),
        McpClient(url, is_legacy=True),
    ):
        pass


def test_a_header_mismatch_that_no_argument_explains_stays_one():
    mismatch = {"error": {"code": -32020, "message": "Mcp-Name does not match"}}
    tools = {"tools": [{"name": "a"}]}
    answers: list[Any] = [(200, {}, {"result": DISCOVERED}), (400, {}, mismatch), (200, {}, {"result": tools})]
    with scripted(*answers) as (_, url), pytest.raises(McpRefused, match="does not match"), McpClient(url) as mcp:
        mcp.call("a", {"b": 1})


def test_a_server_that_is_not_there_raises_at_once():
    with pytest.raises(httpx2.ConnectError), McpClient(f"http://127.0.0.1:{free_port()}/mcp"):
        pass
