"""The command line of the demo server."""

from __future__ import annotations

import argparse
from typing import Final

from sessionware.demo.memory_server import app
from sessionware.demo.serving import TRANSPORTS, serve

PATHS: Final = {"http": "/mcp", "sse": "/sse"}


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m sessionware.demo", description="An MCP server with memory.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default: any free port; it is printed")
    parser.add_argument("--name", default="demo", help="what the server calls itself, to tell replicas apart")
    parser.add_argument("--transport", choices=TRANSPORTS, default="http", help="sse: HTTP+SSE of 2024-11-05")
    parser.add_argument("--stateless", action="store_true", help="issue no MCP session ids")
    parser.add_argument("--json", action="store_true", help="answer with JSON where an event stream is not needed")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")
    given = parser.parse_args()
    server = app(
        name=given.name,
        transport=given.transport,
        is_stateless=given.stateless,
        prefers_json=given.json,
        host=given.host,
    )
    serve(server, host=given.host, port=given.port, path=PATHS[given.transport], until_eof=given.until_eof)


if __name__ == "__main__":
    main()
