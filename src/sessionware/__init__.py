"""Real multi-user sessions for every ASGI app and every MCP server."""
