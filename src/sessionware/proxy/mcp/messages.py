"""The only place that reads JSON-RPC bodies: what is asked, of which tool, under which id."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from sessionware.core.request import is_housekeeping
from sessionware.proxy.mcp.era import allows_batches
from sessionware.proxy.mcp.strict_json import BODY_MAX, Unreadable, read_json

RequestId = str | int | float | None

INITIALIZE: Final = "initialize"
TOOLS_CALL: Final = "tools/call"
VERSION_MAX: Final = 32  # characters of a protocol version: a date
CLIENT_MAX: Final = 100  # characters of a client's name that are kept
# What `Mcp-Name` repeats of the params (SEP-2243; tasks: SEP-2663).
_TARGETS: Final[Mapping[str, str]] = {TOOLS_CALL: "name", "prompts/get": "name", "resources/read": "uri"}
_TASKS: Final = "tasks/"
_TASK_ID: Final = "taskId"
_MESSAGE_KEYS: Final = {key: key for key in ("jsonrpc", "id", "method", "params", "result", "error")}
_PARAM_KEYS: Final = {key.casefold(): key for key in ("name", "uri", _TASK_ID, "protocolVersion", "clientInfo")}
_ID_TYPES: Final = (str, int, float, type(None))
_PARAMS_TYPES: Final = (dict, list, type(None))


class Kind(StrEnum):
    """What a message wants: an answer, nothing, or to be the answer to a request of the server's."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"


class Hello(Struct, frozen=True):
    """What an `initialize` says of its client."""

    version: str = ""
    client: str = ""


class Message(Struct, frozen=True, kw_only=True):
    """One JSON-RPC message. `target` is what `Mcp-Name` must repeat: a tool, a prompt, a resource or a task."""

    kind: Kind
    id: RequestId = None
    method: str = ""
    target: str | None = None
    hello: Hello | None = None

    @property
    def asks(self) -> bool:
        """Whether a server may take it for a request: some do the work of one that has no id."""
        return self.kind is Kind.REQUEST or (self.kind is Kind.NOTIFICATION and not is_housekeeping(self.method))

    @property
    def tool(self) -> str:
        return (self.target or "") if self.method == TOOLS_CALL else ""


class Body(Struct, frozen=True):
    """All messages of one POST, at least one."""

    messages: tuple[Message, ...]
    is_batch: bool = False

    @property
    def leading(self) -> Message:
        """What the POST is about: the first tool call of a batch, else its first request, else its first message."""
        return min(self.messages, key=_weight) if self.is_batch else self.messages[0]

    @property
    def is_mixed(self) -> bool:
        """Whether it is a batch of different requests, so that none of them speaks for the others."""
        return self.is_batch and len({(each.method, each.tool) for each in self.messages if each.asks}) > 1

    @property
    def count(self) -> int:
        """How many requests it stands for; a POST without any counts once, as it came."""
        return max(1, sum(message.asks for message in self.messages))


class BadBody(Struct, frozen=True):
    """Why a body is not passed on, and the id under which that is said."""

    status: int
    message: str
    id: RequestId = None


def read_body(body: bytes, *, version: str | None, at_most: int = BODY_MAX) -> Body | BadBody:
    """What a POST asks. `version` is its `MCP-Protocol-Version`, None when it has none."""
    if len(body) > at_most:
        return BadBody(413, f"Request body too large: at most {at_most} bytes")
    try:
        value = read_json(body)
    except Unreadable as error:
        return BadBody(400, f"Parse error: {error}")
    if isinstance(value, list):
        return _batch(value, version)
    message = _message(value)
    return message if isinstance(message, BadBody) else Body((message,))


def _batch(values: list[Any], version: str | None) -> Body | BadBody:
    if not allows_batches(version):
        return BadBody(400, f"Invalid request: protocol version {version} has no batches, send one message")
    messages: list[Message] = []
    for value in values:
        message = _message(value)
        if isinstance(message, BadBody):
            return message
        messages.append(message)
    if not messages:
        return BadBody(400, "Invalid request: an empty batch")
    if any(message.method == INITIALIZE for message in messages):
        return BadBody(400, "Invalid request: initialize must stand alone, not in a batch")
    return Body(tuple(messages), is_batch=True)


def _message(value: Any) -> Message | BadBody:
    if not isinstance(value, dict):
        return BadBody(400, "Invalid request: a message is an object")
    request_id = value.get("id")
    if not _is_id(request_id):
        return BadBody(400, "Invalid request: an id is a string or a number")
    fault = _fault(value)
    if fault:
        return BadBody(400, f"Invalid request: {fault}", request_id)
    if "method" not in value:
        return Message(kind=Kind.RESPONSE, id=request_id)
    method, params = value["method"], value.get("params")
    named = params if isinstance(params, dict) else {}
    if not _is_text(method) or not _is_text(_target(method, named) or ""):
        return BadBody(400, "Invalid request: half a surrogate pair is no text", request_id)
    return Message(
        kind=Kind.REQUEST if "id" in value else Kind.NOTIFICATION,
        id=request_id,
        method=method,
        target=_target(method, named),
        hello=_hello(named) if method == INITIALIZE else None,
    )


def _is_id(value: Any) -> bool:
    if isinstance(value, float) and not math.isfinite(value):  # 1e999
        return False
    return (
        isinstance(value, _ID_TYPES) and not isinstance(value, bool) and (not isinstance(value, str) or _is_text(value))
    )


def _is_text(text: str) -> bool:
    """Whether it can be written down: half a surrogate pair cannot, and every reader makes something else of it."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fault(value: Mapping[str, Any]) -> str:
    """What is wrong with an object that should be a message; nothing when it is one."""
    params = value.get("params")
    if stranger := _disguised(value, _MESSAGE_KEYS):
        return stranger
    if value.get("jsonrpc") != "2.0":
        return '"jsonrpc" must be "2.0"'
    if "method" not in value:
        return "" if "result" in value or "error" in value else "neither a method nor a result"
    if not isinstance(value["method"], str) or not isinstance(params, _PARAMS_TYPES):
        return "a method is a string, its params an object"
    return _disguised(params, _PARAM_KEYS) if isinstance(params, dict) else ""


def _disguised(found: Mapping[str, Any], known: Mapping[str, str]) -> str:
    """What is wrong with a key that is a known one but for its case: some servers (Go) read it as that one."""
    for key in found:
        name = known.get(key.casefold())
        if name is not None and name != key:
            return f'a key differs from "{name}" only in its case'
    return ""


def _target(method: str, params: Mapping[str, Any]) -> str | None:
    key = _TASK_ID if method.startswith(_TASKS) else _TARGETS.get(method)
    target = params.get(key) if key is not None else None
    return target if isinstance(target, str) else None


def _hello(params: Mapping[str, Any]) -> Hello:
    version, client = params.get("protocolVersion"), params.get("clientInfo")
    named = [client.get("name"), client.get("version")] if isinstance(client, dict) else []
    shown = " ".join(text for text in named if isinstance(text, str))
    printable = "".join(character for character in shown if character.isprintable())
    known = version if isinstance(version, str) and version.isascii() and len(version) <= VERSION_MAX else ""
    return Hello(known, printable[:CLIENT_MAX])


def _weight(message: Message) -> int:
    """What asks for no work stands behind all that does: nobody gets that in beside a ping."""
    if not message.asks:
        return 3
    if message.method == TOOLS_CALL:
        return 0
    return 2 if is_housekeeping(message.method) else 1
