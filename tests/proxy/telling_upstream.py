"""The only place where an upstream of the suite answers what a test says, and remembers what it was asked.

with telling(json_answer({"jsonrpc": "2.0", "id": 1, "result": {}})) as upstream:
    upstream.url, upstream.seen
"""

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Final

from msgspec import Struct

from tests.serving import Server

EVENTS: Final = "text/event-stream"


class Seen(Struct, frozen=True):
    """One request that has reached the upstream."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each == name]


class Told(Struct, frozen=True):
    """One answer: the body in parts. `has_length`: it is announced."""

    parts: Iterable[bytes] | Callable[[], AsyncIterator[bytes]]
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    has_length: bool = False


def json_answer(message: Any, *, status: int = 200, **headers: str) -> Told:
    more = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    kind = ("content-type", "application/json")
    return Told([json.dumps(message).encode()], status=status, headers=(kind, *more), has_length=True)


def events(*parts: bytes) -> Told:
    return Told(parts, headers=(("content-type", EVENTS),))


class Telling:
    """An ASGI app that answers each request with what `answer` makes of it."""

    def __init__(self, answer: Callable[[Seen], Told]) -> None:
        self.seen: list[Seen] = []
        self.url = ""
        self._answer = answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # a request that was never whole
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        headers = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
        seen = Seen(scope["method"], scope["path"], headers, body)
        self.seen.append(seen)
        told = self._answer(seen)
        head = [(name.encode(), value.encode("latin-1")) for name, value in told.headers]
        if told.has_length:
            assert not callable(told.parts)
            head.append((b"content-length", str(sum(map(len, told.parts))).encode()))
        await send({"type": "http.response.start", "status": told.status, "headers": head})
        if callable(told.parts):
            async for part in told.parts():
                await send({"type": "http.response.body", "body": part, "more_body": True})
        else:
            for part in told.parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@contextlib.contextmanager
def telling(answer: Told | Callable[[Seen], Told], path: str = "/mcp") -> Iterator[Telling]:
    """An upstream that answers that."""
    app = Telling(answer if callable(answer) else lambda _: answer)
    with Server(app) as server:
        app.url = f"{server.url}{path}"
        yield app
