"""What the proxy knows of MCP: which era a request speaks, what its body asks, and how we answer in its terms."""
