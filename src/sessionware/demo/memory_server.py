"""The demo's tools: they remember per MCP session, or per handle where the protocol has no sessions.

All memory is this process's: a call that reaches another replica does not find it. That is what the demo shows.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from importlib.metadata import version
from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from sessionware.demo.shelf import Shelf, ShelfFull

MAX_SLEEP_SECONDS: Final = 600.0
MAX_STEPS: Final = 1000
HANDLE_BYTES: Final = 9  # nobody guesses another caller's handle


def app(
    *,
    name: str,
    transport: str = "http",
    is_stateless: bool = False,
    prefers_json: bool = False,
    host: str = "127.0.0.1",
) -> Any:
    """The ASGI app of one server: Streamable HTTP of every version at /mcp, or HTTP+SSE at /sse and /messages/.

    On a loopback `host` only this machine's names for itself will do as Host; else every name does.
    """
    server: MCPServer[Any] = MCPServer(
        name,
        instructions="Remembers what it is told, while it runs.",
        version=version("sessionware"),
        log_level="ERROR",
    )
    tools = Tools(name, Shelf())
    for tool in (tools.whoami, tools.remember, tools.recall, tools.counter, tools.sleep, tools.pid):
        server.add_tool(tool, structured_output=False)
    if transport == "sse":
        return server.sse_app(host=host)
    return server.streamable_http_app(stateless_http=is_stateless, json_response=prefers_json, host=host)


class Tools:
    """What a model may call. The docstrings are what it reads."""

    def __init__(self, name: str, shelf: Shelf) -> None:
        self._name = name
        self._shelf = shelf

    async def whoami(self, ctx: Context[Any, Any]) -> dict[str, Any]:
        """Say which server answers, and every header it was sent."""
        return {
            "server": self._name,
            "pid": os.getpid(),
            "protocol_version": ctx.protocol_version,
            "session": _session(ctx),
            "headers": dict(ctx.headers or {}),
        }

    async def remember(self, text: str, ctx: Context[Any, Any], handle: str = "") -> dict[str, Any]:
        """Keep a text. Where there is no MCP session, the handle of the answer is needed to recall it."""
        session = _session(ctx)
        key = handle or session or secrets.token_urlsafe(HANDLE_BYTES)
        try:
            self._shelf.remember(key, text)
        except ShelfFull as error:
            raise ToolError(str(error)) from error
        return {"remembered": text, "pid": os.getpid()} | ({} if key == session else {"handle": key})

    async def recall(self, ctx: Context[Any, Any], handle: str = "") -> str:
        """Say what was remembered last; empty if nothing was."""
        return self._shelf.text(_key(ctx, handle))

    async def counter(self, ctx: Context[Any, Any], handle: str = "") -> int:
        """Count the calls of this session, or of this handle."""
        try:
            return self._shelf.count(_key(ctx, handle))
        except ShelfFull as error:
            raise ToolError(str(error)) from error

    async def sleep(self, seconds: float, ctx: Context[Any, Any], steps: int = 4) -> str:
        """Wait, and report the progress of each step."""
        if not (0 <= seconds <= MAX_SLEEP_SECONDS and 1 <= steps <= MAX_STEPS):
            raise ToolError(f"sleep takes 0..{MAX_SLEEP_SECONDS:g} seconds in 1..{MAX_STEPS} steps")
        for step in range(steps):
            await ctx.report_progress(step, steps, f"step {step} of {steps}")
            await asyncio.sleep(seconds / steps)
        await ctx.report_progress(steps, steps, f"step {steps} of {steps}")
        return f"slept {seconds:g} s"

    async def pid(self) -> int:
        """Say which process answers."""
        return os.getpid()


def _session(ctx: Context[Any, Any]) -> str:
    """The MCP session's id; empty in the modern era, which has none."""
    query = getattr(ctx.request_context.request, "query_params", {})  # HTTP+SSE has it in the URL
    return (ctx.headers or {}).get("mcp-session-id", "") or str(query.get("session_id", ""))


def _key(ctx: Context[Any, Any], handle: str) -> str:
    key = handle or _session(ctx)
    if not key:
        raise ToolError('there is no MCP session here: pass the handle that remember gave, {"handle": "…"}')
    return key
