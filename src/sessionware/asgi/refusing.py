"""The only place that sends an answer of ours in the app's stead, to a request or to a handshake."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any, Final

from sessionware.asgi.messages import Receive, Scope, Send
from sessionware.asgi.problems import Problem, problem
from sessionware.asgi.reading import host_of

HOST_MAX: Final = 300  # characters of a Host: a name of 253, and a port
HOSTS_KEPT: Final = 64  # hosts whose patterns are kept ready; any may be asked for
CLOSED_BY_US: Final = 4000  # plus the status: 4401, 4429, ...


def is_for_us(scope: Scope, hosts: Collection[str]) -> bool:
    """Whether the request names one of these hosts; any will do where none are listed.

    RFC 9110 7.4: a name that is not ours is another server's, or a page that rebound its own.
    """
    if not hosts:
        return True
    host = host_of(scope)
    return host in hosts or not _patterns(host).isdisjoint(hosts)


@lru_cache(HOSTS_KEPT)
def _patterns(host: str) -> frozenset[str]:
    """What a list may say to mean this host: `name:*` is a name at any port, `*.example.com` all names below one."""
    if len(host) > HOST_MAX:
        return frozenset()
    name, port = (host, "") if host.endswith("]") else _at_colon(host)
    labels = name.split(".")
    names = [name, *("*." + ".".join(labels[at:]) for at in range(1, len(labels)))]
    return frozenset([each + end for each in names for end in (f":{port}" if port else "", ":*")])


def _at_colon(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    return (name, port) if colon else (host, "")


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
