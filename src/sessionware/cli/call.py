"""`sessionware call`: one tool of one MCP server, for smoke tests and 3 a.m."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx2
import msgspec

from sessionware.cli.printing import printable
from sessionware.client.mcp import ANSWER_SECONDS, McpClient
from sessionware.client.mcp_messages import Called, McpRefused, Tool
from sessionware.errors import ConfigError

TOKEN_MAX: Final = 64 * 1024  # characters on standard input
EXAMPLE: Final = """sessionware call http://127.0.0.1:8080/mcp remember '{"text": "tea"}'"""


def add_to(commands: Any) -> None:
    """Teach the parser this command."""
    call = commands.add_parser(
        "call",
        help="call a tool of an MCP server",
        description="Calls a tool and prints what it answers; without a tool, lists the tools. Speaks 2026-07-28 and "
        "falls back to the older versions. Progress goes to standard error. Exit code 1: the tool failed, or the "
        f"server refused or is not there. For example: {EXAMPLE}",
    )
    call.add_argument("url", metavar="URL", help="the endpoint, with its path: http://127.0.0.1:8080/mcp")
    call.add_argument("tool", metavar="TOOL", nargs="?", help="none: list the tools")
    call.add_argument("arguments", metavar="ARGUMENTS", nargs="?", default="{}", help="a JSON object")
    call.add_argument("--session", metavar="ID", help="the session to call in (X-Session-ID)")
    call.add_argument("--token", metavar="TOKEN", help="a bearer token; - reads it from standard input")
    call.add_argument("--legacy", action="store_true", help="shake hands at once, as 2025-11-25 wants it")
    call.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=ANSWER_SECONDS, help="to wait for the next byte (120)"
    )
    call.set_defaults(command=run)


def run(given: argparse.Namespace) -> int:
    """Call or list; 1 when the answer is an error. Raises ConfigError for what cannot be sent."""
    arguments = _arguments(given.arguments)
    client = _client(given)
    try:
        with client as mcp:
            if given.tool is not None:
                return _print_answer(mcp.call(given.tool, arguments))
            print("\n".join(_line(tool) for tool in mcp.tools()))
            return 0
    except McpRefused as refused:
        print(f"sessionware: {printable(str(refused))}", file=sys.stderr)
    except httpx2.TimeoutException:
        print(f"sessionware: {given.url} did not answer in time", file=sys.stderr)
    except httpx2.HTTPError as error:
        print(f"sessionware: cannot reach {given.url}: {error or type(error).__name__}", file=sys.stderr)
    return 1


def _client(given: argparse.Namespace) -> McpClient:
    if not given.url.startswith(("http://", "https://")):
        raise ConfigError(f"call: the URL must start with http:// or https://, got {given.url!r}: {EXAMPLE}")
    token = sys.stdin.read(TOKEN_MAX).strip() if given.token == "-" else given.token
    for option, text in (("--session", given.session), ("--token", token)):
        if text is not None and not (text.isascii() and text.isprintable()):
            raise ConfigError(f"call: {option} must be printable ASCII: it becomes a header")
    return McpClient(
        given.url,
        token=token,
        session=given.session,
        is_legacy=given.legacy,
        answer_seconds=given.timeout,
        on_progress=_print_progress,
    )


def _arguments(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ConfigError(f"call: the arguments must be a JSON object, got {text!r}: {EXAMPLE}") from error


def _print_answer(answer: Called) -> int:
    if answer.result_type == "input_required":
        asked = ", ".join(str(asking.get("method")) for asking in answer.input_requests.values())
        print(f"sessionware: the tool asks back, which this client cannot answer: {asked}", file=sys.stderr)
        return 1
    content = answer.content or [{"structuredContent": answer.structured_content}]
    print("\n".join(_shown(item) for item in content), file=sys.stderr if answer.is_error else sys.stdout)
    return 1 if answer.is_error else 0


def _shown(item: Mapping[str, Any]) -> str:
    """A text as it is, anything else as JSON."""
    return str(item["text"]) if item.get("type") == "text" and "text" in item else msgspec.json.encode(item).decode()


def _print_progress(params: Mapping[str, Any]) -> None:
    said = f"progress {params.get('progress')}/{params.get('total')} {params.get('message') or ''}"
    print(printable(said).rstrip(), file=sys.stderr, flush=True)


def _line(tool: Tool) -> str:
    """A tool as one would call it, for example `remember(text, handle?)`, and what it says of itself."""
    description = (tool.description or "").strip().partition("\n")[0]
    return printable(f"{tool.name}({', '.join(_parameters(tool.input_schema))})  {description}").rstrip()


def _parameters(schema: Mapping[str, Any]) -> Iterator[str]:
    properties, required = schema.get("properties"), schema.get("required")
    needed = required if isinstance(required, list) else []
    return (name if name in needed else f"{name}?" for name in (properties if isinstance(properties, dict) else {}))
