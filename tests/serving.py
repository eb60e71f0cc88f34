"""The only place that runs an app on real servers: each in a thread with an event loop of its own, on a free port."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, Literal, Self, TypeVar

import hypercorn.asyncio
import hypercorn.config
import uvicorn

Answer = TypeVar("Answer")
App = Callable[..., Awaitable[None]]

SERVERS: Final = ("h11", "httptools", "hypercorn")
WAIT_S: Final = 10.0  # for anything that a server in this very process is asked to do
AT_ONCE_S: Final = 3.0  # a second is promised; the rest is for a machine that tests much else beside
LAST_TURNS: Final = 20
LET_GO_S: Final = 1.0  # for requests that still run when a server stops


def soon(holds: Callable[[], bool]) -> bool:
    """Whether it comes true within a few seconds: for what is told in the background."""
    waiting = threading.Event()
    return any(holds() or waiting.wait(0.02) for _ in range(250))


class LoopThread:
    """A thread with an event loop, which runs what it is given from other threads."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), f"{self._thread.name} did not stop"
        self.loop.close()

    def submit(self, work: Coroutine[Any, Any, Answer]) -> Future[Answer]:
        """Begin `work` on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Do `work` on the loop, and wait for it."""
        return self.submit(work).result(WAIT_S)

    def call(self, act: Callable[[], object]) -> None:
        """Do something small on the loop, without waiting for it."""
        self.loop.call_soon_threadsafe(act)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.run_until_complete(_turns(LAST_TURNS))


async def _turns(number: int) -> None:
    """Let the loop turn: what closes, and who has just come and gone (a proxy's probe), ends before it does."""
    for _ in range(number):
        await asyncio.sleep(0)


class Server:
    """`with Server(app) as server: httpx2.get(server.url)`: one app from its startup to its shutdown.

    With `lifespan` "auto" the app needs none; with "on" it must live through one. On hypercorn the first requests
    wait in the backlog until it has started.
    """

    def __init__(self, app: App, kind: str = "httptools", *, lifespan: Literal["auto", "on"] = "auto") -> None:
        self.kind = kind
        self.port = 0
        self._app = app
        self._lifespan = lifespan
        self._live = contextlib.ExitStack()
        self._thread: LoopThread | None = None
        self._serving: Future[None] | None = None
        self._stop: Callable[[], object] = lambda: None
        self._is_up = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = listening.getsockname()[1]
        self._thread = self._live.enter_context(LoopThread(f"{self.kind} on {self.port}"))
        serve = self._hypercorn if self.kind == "hypercorn" else self._uvicorn
        self._serving = self._thread.submit(serve(listening))
        self._serving.add_done_callback(lambda _: self._is_up.set())
        assert self._is_up.wait(WAIT_S), f"{self.kind} did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.ask_to_stop()
        with self._live:
            assert self._serving is not None
            self._serving.result(WAIT_S)

    def ask_to_stop(self) -> None:
        """Begin to stop: whoever stops many servers need not wait for each in turn."""
        self.call(self._stop)

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Do `work` on the server's own loop, where the app lives."""
        assert self._thread is not None
        return self._thread.run(work)

    def call(self, act: Callable[[], object]) -> None:
        """Do something small on the server's own loop."""
        assert self._thread is not None
        self._thread.call(act)

    def connect(self) -> socket.socket:
        """A raw connection; it waits in the backlog until the server is ready."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)

    async def _uvicorn(self, listening: socket.socket) -> None:
        config = uvicorn.Config(
            self._app, http=self.kind, lifespan=self._lifespan, log_config=None, access_log=False,
            timeout_graceful_shutdown=int(LET_GO_S), proxy_headers=False,
            ws="websockets-sansio" if self.kind == "httptools" else "wsproto",
        )  # fmt: skip
        server = _Announced(config, self._is_up)
        self._stop = lambda: setattr(server, "should_exit", True)
        await server.serve(sockets=[listening])

    async def _hypercorn(self, listening: socket.socket) -> None:
        config = hypercorn.config.Config()
        config.bind = [f"fd://{listening.detach()}"]
        config.graceful_timeout = LET_GO_S
        config.accesslog = config.errorlog = None
        stopping = asyncio.Event()
        self._is_up.set()
        self._stop = stopping.set
        await hypercorn.asyncio.serve(self._app, config, shutdown_trigger=stopping.wait)


class _Announced(uvicorn.Server):
    """Says when it serves."""

    def __init__(self, config: uvicorn.Config, is_up: threading.Event) -> None:
        super().__init__(config)
        self._is_up = is_up

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._is_up.set()
