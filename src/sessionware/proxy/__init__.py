"""The session-aware MCP proxy: its pure rules, and what forwards by them."""
