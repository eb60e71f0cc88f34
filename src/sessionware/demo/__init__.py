"""A small MCP server with memory, to try the proxy on: `python -m sessionware.demo --port 9001 --name one`.

Needs the extra `demo` (the official `mcp` package). Nothing else of sessionware imports it.
"""
