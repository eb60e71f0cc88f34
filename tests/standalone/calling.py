"""The only place that writes a tool call of the modern era by hand, for clients that want to see its stream."""

from typing import Any


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """One tool call of the modern era, whose progress comes as events."""
    body = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": name, "arguments": arguments,
            "_meta": {
                "progressToken": "p", "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }  # fmt: skip
    headers = {
        "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": name,
        "accept": "application/json, text/event-stream",
    }  # fmt: skip
    return {"json": body, "headers": headers}
