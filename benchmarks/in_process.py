"""The only place that calls an ASGI app without a server: a visitor's request, and what the app answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

VISITORS: Final = 100  # each with a user, a session and an address of its own, asked in turn
GREETING: Final = b"hi"
Header = tuple[bytes, bytes]
App = Callable[[Any, Any, Any], Awaitable[None]]
COMMON: Final[tuple[Header, ...]] = (
    (b"host", b"app.example"),
    (b"user-agent", b"benchmark"),
    (b"accept", b"*/*"),
)


class Visitor(Struct, frozen=True):
    """Who asks: an address and the headers that each request of theirs has."""

    number: int
    headers: tuple[Header, ...] = COMMON

    def showing(self, name: bytes, value: bytes) -> Visitor:
        return replace(self, headers=(*self.headers, (name, value)))

    def scope(self, path: str = "/") -> dict[str, Any]:
        """A request as uvicorn would make it; new each time, for apps write into it."""
        return {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [*self.headers], "client": (f"10.0.0.{self.number}", 50_000), "server": ("app.example", 80),
            "state": {},
        }  # fmt: skip


class Answer(Struct, frozen=True):
    """A whole response."""

    status: int
    headers: tuple[Header, ...]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


async def _works() -> bool:
    return True


class Subject(Struct, frozen=True):
    """An app to be measured. `works` says, after every visitor was there, whether it did what it is measured for."""

    app: App
    visitors: tuple[Visitor, ...]
    over: str  # the bare app that its overhead is counted from
    shows: tuple[bytes, ...] = ()  # headers that each answer must have
    works: Callable[[], Awaitable[bool]] = _works


def visitors() -> tuple[Visitor, ...]:
    return tuple(Visitor(number) for number in range(VISITORS))


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_: dict[str, Any]) -> None:
    """Forget the message."""


async def ask(app: App, visitor: Visitor, path: str = "/") -> Answer:
    """One request, with all of its answer."""
    said: list[dict[str, Any]] = []

    async def hear(message: dict[str, Any]) -> None:
        said.append(message)

    await app(visitor.scope(path), receive, hear)
    headers = tuple((bytes(name), bytes(value)) for name, value in said[0]["headers"])
    return Answer(said[0]["status"], headers, b"".join(message.get("body", b"") for message in said[1:]))


async def with_cookie(app: App, visitor: Visitor, path: str) -> Visitor:
    """The visitor with the cookie that the app sets at `path`. Raises RuntimeError when it sets none."""
    cookie = (await ask(app, visitor, path)).header(b"set-cookie")
    if cookie is None:
        raise RuntimeError(f"{path} set no cookie")
    return visitor.showing(b"cookie", cookie.partition(b";")[0])


def calls_of(subject: Subject) -> Callable[[int], Awaitable[None]]:
    """What is timed: the request of one visitor after the other."""
    app, everyone = subject.app, subject.visitors

    async def call(number: int) -> None:
        await app(everyone[number % VISITORS].scope(), receive, send)

    return call


async def prove(name: str, subject: Subject) -> None:
    """Let every visitor ask twice. Raises RuntimeError when an answer is not what this subject is measured for."""
    for visitor in (*subject.visitors, *subject.visitors):
        answer = await ask(subject.app, visitor)
        if answer.status != 200 or answer.body != GREETING:
            raise RuntimeError(f"{name}: visitor {visitor.number} got {answer.status} {answer.body[:200]!r}")
        missing = [header.decode() for header in subject.shows if answer.header(header) is None]
        if missing:
            raise RuntimeError(f"{name}: the answer has no {', '.join(missing)}")
    if not await subject.works():
        raise RuntimeError(f"{name}: it answers, but what it should keep or count is not there")
