"""The names of ASGI's callables, and the one way to send a whole response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sessionware.asgi.problems import Problem

Message = Any  # a mapping that its type describes; every server and framework annotates it in its own way
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]  # the same: Litestar's own scopes are TypedDicts


async def respond(send: Send, answer: Problem, *, prefix: str = "http.response") -> None:
    """Send a problem; `prefix` is `websocket.http.response` for the refusal of a handshake."""
    await send({"type": f"{prefix}.start", "status": answer.status, "headers": answer.headers})
    await send({"type": f"{prefix}.body", "body": answer.body})
