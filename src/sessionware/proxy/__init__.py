"""The MCP proxy: forwards requests to upstreams and keeps each session with the upstream that knows it."""
