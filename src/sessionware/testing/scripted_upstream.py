"""An upstream that does exactly what a test says, byte by byte: answers, stalls, resets, closes halfway.

    async with ScriptedUpstream([Say(answer(200, b"hello"))], [Reset()]) as upstream:
        ...                        # the first request is answered, the second and all later ones are reset
        assert upstream.requests == [Received("GET", b"/", ...), ...]

Each request plays the next turn; the last turn repeats. A turn is a list of steps, played when the request was read.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from msgspec import Struct

_LINGER_ZERO: Final = struct.pack("ii", 1, 0)  # close() then resets
_HEAD_MAX: Final = 1024 * 1024
_STOPPING_SECONDS: Final = 5.0


class Say(Struct, frozen=True):
    """Send these bytes; in slices of `size`, each a segment of its own."""

    data: bytes
    size: int = 0


class Flood(Struct, frozen=True):
    """Send these bytes for ever, as fast as they are taken."""

    data: bytes


class Stall(Struct, frozen=True):
    """Do nothing until `go_on`, or until the peer is gone; without `reads_on` what it sends stays in the socket."""

    reads_on: bool = True


class Close(Struct, frozen=True):
    """Close the connection in the usual way."""


class Reset(Struct, frozen=True):
    """Close the connection with a reset."""


class HalfClose(Struct, frozen=True):
    """Say that nothing more comes, and go on reading."""


class SkipBody(Struct, frozen=True):
    """As first step of a turn: play it when the head was read, and leave the body in the socket."""


Step = Say | Flood | Stall | Close | Reset | HalfClose | SkipBody


class Received(Struct, frozen=True):
    """One request as it arrived. `body` is without its chunks; `is_chunked` says how it was framed."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    is_chunked: bool = False


def answer(status: int, body: bytes = b"", *headers: tuple[bytes, bytes]) -> bytes:
    """Write a plain answer with its length."""
    lines = [b"HTTP/1.1 %d Scripted" % status, *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


class ScriptedUpstream:
    """A server on a free port of 127.0.0.1, or on a unix socket; it stops with its block and leaves nothing behind.

    `on_connect` is played before anything is read. `requests` are those read so far, `accepted` counts connections,
    `open_connections` those that are still open on this side.
    """

    def __init__(
        self,
        *turns: Sequence[Step],
        on_connect: Sequence[Step] = (),
        tls: ssl.SSLContext | None = None,
        unix_path: str = "",
    ) -> None:
        self._turns = list(turns) or [[Say(answer(200))]]
        self._on_connect = on_connect
        self._tls = tls
        self._unix_path = unix_path
        self._played = 0
        self._going_on = asyncio.Event()
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[Received] = []
        self.accepted = 0
        self.sent = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        if self._unix_path:
            self._server = await asyncio.start_unix_server(self._serve, self._unix_path, limit=_HEAD_MAX)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_HEAD_MAX, ssl=self._tls)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOPPING_SECONDS)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        if self._unix_path:
            return f"unix://{self._unix_path}"
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        return len(self._tasks)

    def go_on(self) -> None:
        """Let every Stall end, those to come too."""
        self._going_on.set()

    async def until(self, *, requests: int = 0, open_connections: int | None = None) -> None:
        """Wait until so many requests were read, and so many connections are open. Bound it with a timeout."""

        def is_so() -> bool:
            is_open = open_connections is None or self.open_connections == open_connections
            return is_open and len(self.requests) >= requests

        async with self._changed:
            await self._changed.wait_for(is_so)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                is_open = await self._play(self._on_connect, reader, writer)
                while is_open:
                    is_open = await self._take_turn(reader, writer)
        except asyncio.CancelledError:
            if not self._server.is_serving():  # we are stopping: an end like others
                return
            raise
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
            await self._tell()

    async def _take_turn(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        received = _read_head(await reader.readuntil(b"\r\n\r\n"))
        turn = self._turns[min(self._played, len(self._turns) - 1)]
        self._played += 1
        if not (turn and isinstance(turn[0], SkipBody)):
            received = await _read_body(received, reader)
        self.requests.append(received)
        await self._tell()
        return await self._play(turn, reader, writer)

    async def _play(self, steps: Iterable[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Play the steps; says whether the connection can carry another request."""
        for step in steps:
            match step:
                case Say():
                    await self._say(step, writer)
                case Flood():
                    while True:
                        await self._say(Say(step.data), writer)
                case Stall():
                    await self._stall(reader if step.reads_on else None)
                case HalfClose():
                    writer.write_eof()
                case Close():
                    return False
                case Reset():
                    raw = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
                    return False
                case SkipBody():
                    pass
        return True

    async def _say(self, step: Say, writer: asyncio.StreamWriter) -> None:
        size = step.size or len(step.data)
        for start in range(0, len(step.data), size or 1):
            part = step.data[start : start + size]
            writer.write(part)
            await writer.drain()
            self.sent += len(part)
            if step.size:
                await asyncio.sleep(0)  # the peer reads this slice before the next is sent

    async def _stall(self, reader: asyncio.StreamReader | None) -> None:
        if reader is None:
            await self._going_on.wait()
            return
        going_on = asyncio.ensure_future(self._going_on.wait())
        gone = asyncio.ensure_future(_until_gone(reader))
        try:
            await asyncio.wait({going_on, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ConnectionResetError("the peer is gone")
        finally:
            going_on.cancel()
            gone.cancel()
            await asyncio.wait({going_on, gone})  # else the next read would meet this one


async def _until_gone(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(1024):
            pass


def _read_head(head: bytes) -> Received:
    line, *rest = head[:-4].split(b"\r\n")
    method, target, _ = line.split(b" ", 2)
    pairs = (header.partition(b": ") for header in rest)
    return Received(method.decode(), target, tuple((name.lower(), value) for name, _, value in pairs))


async def _read_body(received: Received, reader: asyncio.StreamReader) -> Received:
    headers = dict(received.headers)
    if b"transfer-encoding" not in headers:
        body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
        return Received(received.method, received.target, received.headers, body)
    parts: list[bytes] = []
    while size := int(await reader.readline(), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readline()
    return Received(received.method, received.target, received.headers, b"".join(parts), is_chunked=True)
