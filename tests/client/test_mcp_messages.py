"""What the small MCP client makes of texts, headers and refusals, without a socket."""

import pytest

from sessionware.client.mcp_messages import (
    McpRefused,
    ToolPage,
    field_value,
    mirrored,
    modern_headers,
    modern_params,
    read_as,
    read_message,
    result_of,
)


def test_a_modern_request_repeats_its_method_and_name_outside_the_body():
    assert modern_headers("tools/call", {"name": "recall", "arguments": {}}) == {
        "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "recall",
    }  # fmt: skip
    assert modern_headers("tools/list", {}) == {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}


def test_a_modern_request_says_what_a_handshake_would_and_keeps_its_own_meta():
    meta = modern_params({"name": "recall", "_meta": {"progressToken": 7}})["_meta"]
    assert (meta["progressToken"], meta["io.modelcontextprotocol/protocolVersion"]) == (7, "2026-07-28")
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {}
    assert meta["io.modelcontextprotocol/clientInfo"]["name"] == "sessionware"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("recall", "recall"),
        ("two words", "two words"),
        ("", "=?base64??="),
        (" edge", "=?base64?IGVkZ2U=?="),
        ("Zürich", "=?base64?WsO8cmljaA==?="),
        ("a\r\nb: c", "=?base64?YQ0KYjogYw==?="),
        ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
    ],
)
def test_a_text_that_a_header_would_change_is_wrapped(text, field):
    assert field_value(text) == field


def test_marked_arguments_are_mirrored_at_any_depth():
    schema = {
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "dry": {"type": "boolean", "x-mcp-header": "Dry"},
            "count": {"type": "integer", "x-mcp-header": "Count"},
            "absent": {"type": "string", "x-mcp-header": "Absent"},
            "plain": {"type": "string"},
            "anything": True,
            "inner": {"properties": {"tenant": {"x-mcp-header": "Tenant"}}},
        }
    }
    arguments = {"region": "eu", "dry": True, "count": 3, "plain": "x", "anything": 1, "inner": {"tenant": "ü"}}
    assert mirrored(schema, arguments) == {
        "Mcp-Param-Region": "eu",
        "Mcp-Param-Dry": "true",
        "Mcp-Param-Count": "3",
        "Mcp-Param-Tenant": "=?base64?w7w=?=",
    }
    assert mirrored({"properties": 5}, arguments) == mirrored({}, arguments) == {}


@pytest.mark.parametrize("text", ["", "<html>", "[1]", "5", '{"a":', "[" * 100_000])
def test_what_is_no_json_object_is_no_message(text):
    assert read_message(text) == {}


@pytest.mark.parametrize(
    ("status", "message", "text", "retry_after", "said"),
    [
        (200, {"error": {"code": -32601, "message": "no such method"}}, "", "",
         "HTTP 200, JSON-RPC -32601: no such method"),
        (429, {"error": {"code": -31429, "message": "Too many", "data": {"retry_after_ms": 11_001}}}, "", "9",
         "HTTP 429, JSON-RPC -31429: Too many; try again in 12 s"),
        (503, {}, "no upstream", "3", "HTTP 503: no upstream; try again in 3 s"),
        (503, {}, "no upstream (retry in 3 s)", "3", "HTTP 503: no upstream (retry in 3 s)"),
        (503, {}, "", "Fri, 31 Dec 2027 23:59:59 GMT", "HTTP 503: an empty answer"),
        (401, {"error": "Permission denied"}, "{…}", "", "HTTP 401: Permission denied"),
        (502, {}, "<html>\n" + "x" * 500, "", "HTTP 502: <html> " + "x" * 293),
        (200, {"result": 5}, "{}", "", "HTTP 200: {}"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_came_and_when_to_try_again(status, message, text, retry_after, said):
    with pytest.raises(McpRefused) as refused:
        result_of(status, message, text=text, retry_after=retry_after)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("refused", "may_be_legacy"),
    [
        (McpRefused(404, "Not Found"), True),
        (McpRefused(400, "Missing session ID", error={"code": -32600}), True),
        (McpRefused(200, "Method not found", error={"code": -32601}), True),
        (McpRefused(401, "Permission denied"), False),
        (McpRefused(429, "Rate limit exceeded"), False),
        (McpRefused(503, "no upstream"), False),
        (McpRefused(400, "", error={"code": -32022, "data": {"supported": ["2025-11-25"]}}), True),
        (McpRefused(400, "", error={"code": -32022, "data": {"supported": ["2027-01-01"]}}), False),
        (McpRefused(400, "", error={"code": -32022}), True),
    ],
)
def test_a_refused_probe_speaks_of_the_era_unless_it_speaks_of_the_caller_or_of_an_outage(refused, may_be_legacy):
    assert refused.may_be_legacy is may_be_legacy


def test_a_result_of_another_shape_is_refused():
    with pytest.raises(McpRefused, match="not what MCP says it is"):
        read_as(ToolPage, {"tools": [{"description": "nameless"}]})
