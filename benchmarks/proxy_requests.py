"""The only place that writes the requests of the proxy's benchmark, byte for byte."""

from __future__ import annotations

import socket
import time
from typing import Final

import jwt

from benchmarks.proxy_standing import ISSUER, SECRET

MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"
BODY: Final = 200  # bytes of a request's body
_CALL: Final = (
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"%s"},%s"x":0}}'
)
_META: Final = '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},'
_TOOL: Final = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%s","arguments":{}}}'
_HELLO: Final = (
    '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    '"clientInfo":{"name":"bench","version":"1"}}}'
)


def token(user: str) -> str:
    """A token that the proxy under test believes for an hour."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "mcp", "sub": user, "iat": now - 5, "exp": now + 3600, "jti": user}
    return jwt.encode(claims, SECRET, "HS256", headers={"typ": "at+jwt"})


def post(body: str, **headers: str) -> bytes:
    """A POST to /mcp; `X_Session_ID` is written `X-Session-ID`."""
    fields = {
        "Host": "127.0.0.1:80",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
        "Content-Length": str(len(body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST /mcp HTTP/1.1\r\n{head}\r\n{body}".encode()


def _call(meta: str = "") -> str:
    return _CALL % ("x" * (BODY - len(_CALL % ("", meta))), meta)


def named(count: int, **more: str) -> list[bytes]:
    """2026-07-28, one proved user and one named session for each connection."""
    return [
        post(
            _call(_META), Authorization=f"Bearer {token(f'user-{number}')}", X_Session_ID=f"work-{number}",
            MCP_Protocol_Version=MODERN, Mcp_Method="tools/call", Mcp_Name="echo", **more,
        )
        for number in range(count)
    ]  # fmt: skip


def nameless(count: int) -> list[bytes]:
    """2026-07-28 without any credential: no session, the client's address alone counts."""
    asked = post(_call(_META), MCP_Protocol_Version=MODERN, Mcp_Method="tools/call", Mcp_Name="echo")
    return [asked] * count


def legacy(port: int, count: int) -> list[bytes]:
    """2025-11-25: the user of each connection has shaken hands with the server on that port, and sends its id."""
    return [
        post(_call(), Mcp_Session_Id=begun(port, bearer), MCP_Protocol_Version=LEGACY, Authorization=bearer)
        for bearer in (f"Bearer {token(f'user-{number}')}" for number in range(count))
    ]


def tool_call(port: int, tool: str) -> bytes:
    """A call of a tool without arguments, in a session that was begun for it."""
    bearer = f"Bearer {token('caller')}"
    in_session = {"Mcp_Session_Id": begun(port, bearer), "MCP_Protocol_Version": LEGACY, "Authorization": bearer}
    _exchange(port, post('{"jsonrpc":"2.0","method":"notifications/initialized"}', Connection="close", **in_session))
    return post(_TOOL % tool, **in_session)


def stream(legacy_id: str, bearer: str) -> bytes:
    """The GET that opens the event stream of a session."""
    return (
        f"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:80\r\nAccept: text/event-stream\r\nMcp-Session-Id: {legacy_id}\r\n"
        f"MCP-Protocol-Version: {LEGACY}\r\nAuthorization: {bearer}\r\n\r\n"
    ).encode()


def begun(port: int, bearer: str) -> str:
    """The id that the server on that port hands out for an `initialize`. Raises RuntimeError when there is none."""
    answer = _exchange(port, post(_HELLO, Authorization=bearer, Connection="close"))
    for line in answer.partition("\r\n\r\n")[0].split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "mcp-session-id":
            return value.strip()
    raise RuntimeError(f"no session was begun on port {port}: {answer[:500]}")


def _exchange(port: int, request: bytes) -> str:
    """What is answered to a request that asks for the connection to be closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        return connection.makefile("rb").read().decode("latin-1")
