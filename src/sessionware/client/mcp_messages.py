"""The only place that knows, on the client's side, what MCP says in both eras: requests, answers, refusals. No I/O."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

MODERN: Final = "2026-07-28"  # every request stands for itself
LEGACY: Final = "2025-11-25"  # the newest version with a handshake
LEGACY_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", LEGACY)
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022
NO_VERDICT: Final = frozenset({401, 403, 429})  # these speak of the caller, not of the server's version
FAILED_FROM: Final = 400
BROKEN_FROM: Final = 500
LONGEST_TEXT: Final = 300  # characters of an answer that is no JSON-RPC

Result = TypeVar("Result", bound=Struct)

_PLAIN: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_ENCODED: Final = re.compile(r"=\?base64\?.*\?=")


class Tool(Struct, frozen=True, rename="camel"):
    """A tool as `tools/list` describes it."""

    name: str
    description: str | None = None
    input_schema: dict[str, Any] = {}


class ToolPage(Struct, frozen=True, rename="camel"):
    """One page of `tools/list`."""

    tools: list[Tool] = []
    next_cursor: str | None = None


class Called(Struct, frozen=True, rename="camel"):
    """What `tools/call` answers: content, an error of the tool's own, or questions back (`input_required`)."""

    content: list[dict[str, Any]] = []
    structured_content: Any = None
    is_error: bool = False
    result_type: str = "complete"
    input_requests: dict[str, dict[str, Any]] = {}


class Discovered(Struct, frozen=True, rename="camel"):
    """What `server/discover` answers, as far as it is used here."""

    supported_versions: list[str] = []


class Greeted(Struct, frozen=True, rename="camel"):
    """What `initialize` answers, as far as it is used here."""

    protocol_version: str


class McpRefused(Exception):
    """The server, or something in front of it, refused. Says what came, and when to try again if that was said."""

    def __init__(
        self, status: int, text: str, *, error: Mapping[str, Any] | None = None, retry_after: str = ""
    ) -> None:
        found = error or {}
        data = found.get("data")
        self.status = status
        code = found.get("code")
        self.code = code if isinstance(code, int) else None
        self.data: Mapping[str, Any] = data if isinstance(data, dict) else {}
        self.retry_after_seconds = _seconds(self.data.get("retry_after_ms"), retry_after)
        where = f"HTTP {status}" if self.code is None else f"HTTP {status}, JSON-RPC {self.code}"
        wait = self.retry_after_seconds
        hint = "" if wait is None or f" {wait} s" in text else f"; try again in {wait} s"
        super().__init__(f"{where}: {text}{hint}")

    @property
    def may_be_legacy(self) -> bool:
        """Whether a refused `server/discover` is what a server of the older versions answers.

        As the official clients read it, except that a refusal of the caller or an outage is no verdict: it is shown.
        """
        if self.code == UNSUPPORTED_VERSION:
            supported = self.data.get("supported")
            return not isinstance(supported, list) or any(one in LEGACY_VERSIONS for one in supported)
        return self.status not in NO_VERDICT and self.status < BROKEN_FROM


def request(method: str, params: Mapping[str, Any], *, id: int | None) -> bytes:  # noqa: A002  # JSON-RPC's word
    """A JSON-RPC request, or a notification when it has no id."""
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    return msgspec.json.encode(message if id is None else message | {"id": id})


def modern_headers(method: str, params: Mapping[str, Any]) -> dict[str, str]:
    """What a request of 2026-07-28 repeats outside its body."""
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    name = params.get("name", params.get("uri"))
    return headers if not isinstance(name, str) else headers | {"Mcp-Name": field_value(name)}


def modern_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """What a request of 2026-07-28 says instead of a handshake."""
    prefix = "io.modelcontextprotocol/"
    said = {f"{prefix}protocolVersion": MODERN, f"{prefix}clientInfo": client_info(), f"{prefix}clientCapabilities": {}}
    return {**params, "_meta": {**params.get("_meta", {}), **said}}


def handshake() -> dict[str, Any]:
    """The parameters of `initialize`."""
    return {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client_info()}


def client_info() -> dict[str, str]:
    try:
        return {"name": "sessionware", "version": version("sessionware")}
    except PackageNotFoundError:  # run from its sources
        return {"name": "sessionware", "version": "0"}


def mirrored(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, str]:
    """The headers that repeat those arguments which the tool's schema marks (`x-mcp-header`), at any depth."""
    headers: dict[str, str] = {}
    properties = schema.get("properties")
    for name, described in properties.items() if isinstance(properties, dict) else ():
        if not isinstance(described, dict):  # `true` is a schema too
            continue
        value, token = arguments.get(name), described.get("x-mcp-header")
        if isinstance(token, str) and isinstance(value, str | int):
            plain = str(value).lower() if isinstance(value, bool) else str(value)
            headers[f"Mcp-Param-{token}"] = field_value(plain)
        if isinstance(value, dict):
            headers |= mirrored(described, value)
    return headers


def field_value(text: str) -> str:
    """The text as it may stand in a header: plain, or wrapped (SEP-2243) when it would not survive."""
    if _PLAIN.fullmatch(text) and not _ENCODED.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def read_message(text: str | bytes) -> dict[str, Any]:
    """A JSON-RPC message; empty when it is none."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        return {}


def read_as(kind: type[Result], result: Mapping[str, Any]) -> Result:
    """The result as what it must be. Raises McpRefused when it is something else."""
    try:
        return msgspec.convert(result, type=kind)
    except msgspec.ValidationError as error:
        raise McpRefused(200, f"the answer is not what MCP says it is: {error}") from error


def result_of(status: int, message: Mapping[str, Any], *, text: str = "", retry_after: str = "") -> dict[str, Any]:
    """The result in an answer. Raises McpRefused when it holds an error, or is no answer."""
    error, result = message.get("error"), message.get("result")
    if isinstance(error, dict):
        raise McpRefused(status, str(error.get("message", "no message")), error=error, retry_after=retry_after)
    if status >= FAILED_FROM or not isinstance(result, dict):
        said = str(error or message.get("detail") or " ".join(text.split()) or "an empty answer")
        raise McpRefused(status, said[:LONGEST_TEXT], retry_after=retry_after)
    return result


def _seconds(milliseconds: object, field: str) -> int | None:
    """Whole seconds to wait, rounded up: from the error's data, else from the Retry-After field."""
    if isinstance(milliseconds, int) and not isinstance(milliseconds, bool):
        return max(1, -(-milliseconds // 1000))
    return int(field) if field.isascii() and field.isdigit() else None
