"""The only place that writes our own answers on MCP paths: JSON-RPC errors, and refusals that a model can read.

A bare 400, 404 or 405 would make clients that speak both eras change to the other one: none leaves without such
a body. Official clients read neither Retry-After nor `retry-after-ms`, so the wait stands in the body as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from sessionware.asgi.limit_headers import Header
from sessionware.asgi.problems import Problem, retry_headers
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.mcp.messages import TOOLS_CALL, BadBody, Body, Kind, Message, RequestId
from sessionware.proxy.mcp.mirrors import HEADER_MISMATCH

CODE_BASE: Final = 31_000  # ours are -(31000 + status): -32768..-32000 belongs to JSON-RPC and MCP
LIMITED: Final = 429
NOT_FOUND: Final = 404
_JSON: Final = (b"content-type", b"application/json")
_SELF: Final = frozenset({"type", "title", "status", "error"})  # what the status line and the message say already


def code_for(status: int) -> int:
    """Our JSON-RPC code for an HTTP status."""
    return -(CODE_BASE + status)


def error_body(
    status: int,
    message: str,
    *,
    request_id: RequestId = None,
    data: Mapping[str, Any] | None = None,
    code: int | None = None,
) -> bytes:
    """A JSON-RPC error as one line of JSON; `code` stands for ours where the protocol has one."""
    error: dict[str, Any] = {"code": code_for(status) if code is None else code, "message": message}
    if data:
        error["data"] = dict(data)
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "error": error})


def error_answer(
    status: int,
    message: str,
    *,
    request_id: RequestId = None,
    data: Mapping[str, Any] | None = None,
    headers: Iterable[Header] = (),
) -> Problem:
    """A complete response with a JSON-RPC error; never cached."""
    return _answer(status, error_body(status, message, request_id=request_id, data=data), headers)


def unavailable(message: str, *, retry_after_ms: int) -> Problem:
    """For a while something is not there: says how long to wait in both the header and the body."""
    data, headers = {"retry_after_ms": retry_after_ms}, retry_headers(retry_after_ms)
    return error_answer(503, _with_wait(message, retry_after_ms), data=data, headers=headers)


def unknown_session(request_id: RequestId = None) -> Problem:
    """The one answer for a session id that is unknown, ended or somebody else's: a legacy client re-initialises."""
    data = {"code": "session_not_found"}
    return error_answer(NOT_FOUND, "Session not found: initialize again", request_id=request_id, data=data)


def bad_body(fault: BadBody) -> Problem:
    return error_answer(fault.status, fault.message, request_id=fault.id)


def header_mismatch(message: str, request_id: RequestId = None) -> Problem:
    body = error_body(400, f"Header mismatch: {message}", request_id=request_id, code=HEADER_MISMATCH)
    return _answer(400, body, ())


def as_json_rpc(problem: Problem, request_id: RequestId = None) -> Problem:
    """A refusal of ours in MCP's terms: the same status and headers, its members in `error.data`."""
    message, data = _told(problem)
    return error_answer(
        problem.status, message, request_id=request_id, data=data, headers=_headers_of(problem)
    )  # fmt: skip


def as_tool_result(problem: Problem, request_id: RequestId, *, era: Era) -> Problem:
    """The same as the result of a tool, for a model to read: a 200 with `isError`."""
    message, data = _told(problem)
    result: dict[str, Any] = {"content": [{"type": "text", "text": message}], "isError": True}
    if era is Era.MODERN:
        result["resultType"] = "complete"
    if data:
        result["_meta"] = {"sessionware/refusal": data}
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "result": result})
    return _answer(200, body, _headers_of(problem))


def refusal(problem: Problem, body: Body | None, *, era: Era, as_result: bool) -> Problem:
    """What a refused POST is told; `as_result` is MCP_LIMIT_ANSWER=tool_result, which only tool calls obey."""
    message = sole_request(body)
    if message is None:
        return as_json_rpc(problem)
    if as_result and problem.status == LIMITED and message.method == TOOLS_CALL:
        return as_tool_result(problem, message.id, era=era)
    return as_json_rpc(problem, message.id)


def sole_request(body: Body | None) -> Message | None:
    """The request that an answer belongs to; None where it belongs to none, or to several."""
    if body is None or body.is_batch or body.messages[0].kind is not Kind.REQUEST:
        return None
    return body.messages[0]


def _told(problem: Problem) -> tuple[str, dict[str, Any]]:
    """The sentence of a problem, and what else it says."""
    try:
        told = msgspec.json.decode(problem.body, type=dict[str, Any])
    except msgspec.DecodeError:
        return "Request refused", {}
    message = str(told.get("error") or told.get("title") or "Request refused")
    data = {key: value for key, value in told.items() if key not in _SELF}
    wait_ms = data.get("retry_after_ms", _wait_in_headers(problem))
    if wait_ms is None:
        return message, data
    return _with_wait(message, wait_ms), data | {"retry_after_ms": wait_ms}


def _wait_in_headers(problem: Problem) -> int | None:
    found = next((value for name, value in problem.headers if name == b"retry-after-ms"), b"")
    return int(found) if found.isdigit() else None


def _with_wait(message: str, wait_ms: int) -> str:
    return f"{message} (retry in {_seconds(wait_ms)} s)"


def _seconds(milliseconds: int) -> int:
    return max(1, -(-milliseconds // 1000))


def _headers_of(problem: Problem) -> list[Header]:
    own = {b"content-type", b"content-length", b"cache-control"}
    return [(name, value) for name, value in problem.headers if name not in own]


def _answer(status: int, body: bytes, headers: Iterable[Header]) -> Problem:
    length = (b"content-length", str(len(body)).encode())
    return Problem(status, [_JSON, length, (b"cache-control", b"no-store"), *headers], body)
