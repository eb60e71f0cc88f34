"""The only place that sends an answer of ours in the app's stead, to a request or to a handshake."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sessionware.asgi.messages import Receive, Scope, Send
from sessionware.asgi.problems import Problem, problem
from sessionware.asgi.reading import host_of

CLOSED_BY_US: Final = 4000  # plus the status: 4401, 4429, ...


def is_for_us(scope: Scope, hosts: Collection[str]) -> bool:
    """Whether the request names one of these hosts; any will do where none are listed.

    RFC 9110 7.4: a name that is not ours is another server's, or a page that rebound its own.
    """
    return not hosts or host_of(scope) in hosts


def not_for_us() -> Problem:
    return problem(421, "Host not allowed", "host_not_allowed")


async def refuse(scope: Scope, receive: Receive, send: Send, answer: Problem) -> None:
    """A handshake gets a real HTTP answer where the server can send one, else 4000 + the status."""
    if scope["type"] == "http":
        await respond(send, answer)
        return
    await receive()  # websocket.connect: nothing may be sent before it
    extensions: Any = scope.get("extensions") or {}
    if "websocket.http.response" in extensions:
        await respond(send, answer, prefix="websocket.http.response")
        return
    await send({"type": "websocket.close", "code": CLOSED_BY_US + answer.status, "reason": ""})


async def respond(send: Send, answer: Problem, *, prefix: str = "http.response") -> None:
    """Send a problem; `prefix` is `websocket.http.response` for the refusal of a handshake."""
    await send({"type": f"{prefix}.start", "status": answer.status, "headers": answer.headers})
    await send({"type": f"{prefix}.body", "body": answer.body})
