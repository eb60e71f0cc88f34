"""The only place that runs our server in a thread of the suite, with bounds that a test need not wait long for."""

import asyncio
import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, Self

from sessionware.asgi.messages import App, Receive, Scope, Send
from sessionware.standalone.bounds import Bounds
from sessionware.standalone.leaving import Leaving
from sessionware.standalone.listening import listen
from sessionware.standalone.peers import Peers
from sessionware.standalone.server import Door, Drain, Server
from tests.serving import LoopThread

WAIT_S: Final = 20.0
SHORT: Final = Bounds(head_s=1.0, stall_s=1.0, keep_alive_s=1.5)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with how much it was sent, and with the names of the headers."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if message["type"] == "http.disconnect":
            return
        if not message.get("more_body"):
            break
    names = ",".join(name.decode() for name, _ in scope["headers"])
    body = f"{scope['method']} {scope['path']} {length} {names}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class BoundedServer:
    """`with BoundedServer(echo, bounds=SHORT) as server: server.say(b"GET / HTTP/1.1")`.

    `counts_all`: peers of this machine may hold no more connections than others.
    """

    def __init__(
        self,
        app: App = echo,
        *,
        bounds: Bounds = SHORT,
        drain: Drain = Drain(0.0, 5.0),  # noqa: B008  # it is frozen
        counts_all: bool = False,
    ) -> None:
        self._app = app
        self._bounds = bounds
        self._drain = drain
        self._peers = Peers(lambda _: False) if counts_all else None
        self._thread = LoopThread("bounded server")
        self._is_up = threading.Event()
        self._ended: Future[int]
        self._leaving: Leaving
        self._server: Server
        self.port = 0

    def __enter__(self) -> Self:
        sockets = listen("127.0.0.1", 0, named="PORT")
        self.port = sockets[0].getsockname()[1]
        self._thread.__enter__()
        self._ended = self._thread.submit(self._run(sockets))
        assert self._is_up.wait(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.hurry()
        self._ended.result(WAIT_S)
        self._thread.__exit__()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)

    def connect_from(self, address: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S, source_address=(address, 0))

    def answer_to(self, sent: bytes) -> bytes:
        """Everything that comes back until the server closes; it is closed on for what it does not like."""
        with self.connect() as connection:
            with suppress(ConnectionError):  # it may close before it has heard all of it
                connection.sendall(sent)
            return whole(connection)

    def ask_to_leave(self) -> None:
        self._thread.call(self._leaving.ask)

    def hurry(self) -> None:
        self._thread.call(self._leaving.hurry)

    @property
    def has_stopped_listening(self) -> bool:
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return True
        return False

    @property
    def connections(self) -> list[Any]:
        """Those that are open."""
        return list(self._server.connections)

    def exit_code(self) -> int:
        return self._ended.result(WAIT_S)

    async def _run(self, sockets: list[socket.socket]) -> int:
        self._leaving = Leaving()
        door = Door(sockets, self._app)
        self._server = Server([door], bounds=self._bounds, drain=self._drain, leaving=self._leaving, peers=self._peers)
        return await self._server.run(self._is_up.set)


def whole(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = bytearray()
    with suppress(ConnectionResetError):  # closed with something of ours unread
        while part := connection.recv(1 << 16):
            found += part
    return bytes(found)


def status_of(answer: bytes) -> int:
    """Of the first answer; 0: there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


async def until_cancelled(scope: Scope, receive: Receive, send: Send) -> None:
    """A stream that never ends by itself."""
    if scope["type"] == "lifespan":
        await echo(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: first\n\n", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        continue


def slow(release: threading.Event) -> Any:
    """An app whose answer comes when the event is set, from whatever thread."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await asyncio.to_thread(release.wait, WAIT_S)
        await echo(scope, receive, send)

    return app


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """More than anybody reads."""
    if scope["type"] == "lifespan":
        await echo(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(10_000):
        await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        await asyncio.sleep(0)
