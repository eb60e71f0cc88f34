"""The server that the official conformance suite examines, built from what its scenarios ask for.

python -m tests.conformance.server --port 9001
"""

import argparse
from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp_types import (
    Completion,
    EmptyResult,
    SetLevelRequestParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)

from sessionware.demo.serving import serve
from tests.conformance import asking, content, rounds
from tests.conformance.events import KeptEvents

RETRY_MS: Final = 100  # how soon a client comes back to a stream that was closed on it


def app() -> Any:
    server: MCPServer[Any] = MCPServer(
        "sessionware-conformance", version="1", log_level="ERROR", tools=[_tool_of_2020_12()]
    )
    for part in (content, asking, rounds):
        part.add_to(server)
    server.completion()(_complete)
    _add_legacy_methods(server)
    return server.streamable_http_app(event_store=KeptEvents(), retry_interval=RETRY_MS)


def _tool_of_2020_12() -> Tool:
    """A tool whose schema must reach the client word for word."""
    tool = Tool.from_function(content.echo_contact, name="json_schema_2020_12_tool")
    return tool.model_copy(update={"parameters": content.SCHEMA_2020_12})


async def _complete(*_: object) -> Completion:
    return Completion(values=["paris", "park", "party"], total=3, has_more=False)


def _add_legacy_methods(server: "MCPServer[Any]") -> None:
    """What 2026-07-28 has dropped; the package's comfortable server has no way to add it."""

    async def accept(*_: object) -> EmptyResult:
        return EmptyResult()

    inner = server._lowlevel_server  # noqa: SLF001  # there is no public way
    inner.add_request_handler("logging/setLevel", SetLevelRequestParams, accept)
    inner.add_request_handler("resources/subscribe", SubscribeRequestParams, accept)
    inner.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, accept)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.server")
    parser.add_argument("--port", type=int, default=0)
    serve(app(), host="127.0.0.1", port=parser.parse_args().port, path="/mcp")


if __name__ == "__main__":
    main()
