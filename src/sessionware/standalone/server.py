"""The only place that runs an event loop's server from its start to its end: serve, drain, cut, close."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from msgspec import Struct
from uvicorn.config import Config
from uvicorn.lifespan.on import LifespanOn

from sessionware.asgi.messages import App
from sessionware.standalone.bounds import Bounds
from sessionware.standalone.connection import Connection
from sessionware.standalone.leaving import Leaving
from sessionware.standalone.peers import Peers, is_of_this_machine
from sessionware.standalone.watch import Watch, Watched

STOPPED: Final = 0
CANNOT_START: Final = 2
CUT: Final = 130  # a second SIGINT
BACKLOG: Final = 2048
LAST_WORDS_S: Final = 1.0  # for what runs on behind a connection that was cut
GOODBYE_S: Final = 5.0  # for the store and the upstreams

log: Final = logging.getLogger("sessionware")


class Door(Struct, frozen=True):
    """One place to come in, and the app that stands behind it."""

    sockets: Sequence[socket.socket]
    app: App


class Drain(Struct, frozen=True):
    """How long to go on serving once asked to end, and how long open answers may then take; seconds."""

    delay_s: float
    timeout_s: float


class Server:
    """Serves the first door's app for as long as nobody asks it to leave; its lifespan is the server's."""

    def __init__(
        self, doors: Sequence[Door], *, bounds: Bounds, drain: Drain, leaving: Leaving, peers: Peers | None = None
    ) -> None:
        """Needs a running event loop."""
        self._configs = [_config(door.app) for door in doors]
        self._doors = doors
        self._drain = drain
        self._leaving = leaving
        self._watch = Watch(bounds, peers or Peers(is_of_this_machine))
        self._lifespan = LifespanOn(self._configs[0])
        self._lifespan.logger = logging.getLogger("sessionware.lifespan")
        self._lifespan.logger.addFilter(_was_raised)

    @property
    def turned_away(self) -> Mapping[int, int]:
        """How often a client was refused before there was a request, by status."""
        return self._watch.turned_away

    @property
    def connections(self) -> Collection[Watched]:
        """Those that are open now."""
        return self._watch.connections

    async def run(self, started: Callable[[], object]) -> int:
        """Serve until asked to leave; the exit code. `started` is called when requests are answered."""
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            return CANNOT_START
        listening = [
            await asyncio.get_running_loop().create_server(self._connections_of(config), sock=each, backlog=BACKLOG)
            for config, door in zip(self._configs, self._doors, strict=True)
            for each in door.sockets
        ]
        started()
        await self._leaving.until_asked()
        await self._drained(listening)
        await _at_most(self._lifespan.shutdown(), GOODBYE_S)
        self._watch.close()
        return CUT if self._leaving.is_hurried else STOPPED

    def _connections_of(self, config: Config) -> Callable[[], Connection]:
        app = cast("App", config.loaded_app)
        return lambda: Connection(app, self._lifespan.state, watch=self._watch)

    async def _drained(self, listening: Sequence[asyncio.Server]) -> None:
        """Not ready but serving; then nobody new; then what is open may finish; then it is cut."""
        drain, watch = self._drain, self._watch
        log.info("asked to stop: not ready from now on, and serving for %g s", drain.delay_s)
        watch.leave()
        await self._leaving.hurried_within(drain.delay_s)
        for server in listening:
            server.close()
        for connection in list(self._watch.connections):
            connection.shutdown()
        open_now = len(self._watch.connections)
        if open_now and not self._leaving.is_hurried:
            log.info("%d connections may finish within %g s", open_now, drain.timeout_s)
            await self._or_hurried(watch.until_all_have_gone(), drain.timeout_s)
        left = list(self._watch.connections)
        if left:
            log.warning("%d connections are cut", len(left))
        for each in left:
            each.close()
        await self._let_go()

    async def _or_hurried(self, work: Awaitable[None], within: float) -> None:
        """Until it is done, the time is up, or there is no more time."""
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(self._leaving.hurried_within(within))]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _let_go(self) -> None:
        """What ran for those connections ends with them; what does not is cancelled."""
        await _over(self._watch.tasks, LAST_WORDS_S)
        for each in list(self._watch.connections):
            each.transport.abort()  # its client reads so slowly that not even our last words are gone
        await _over(self._watch.tasks, LAST_WORDS_S)
        for task in list(self._watch.tasks):
            task.cancel()


def _was_raised(record: logging.LogRecord) -> bool:
    """What cannot start says so itself, once; only a traceback has nobody else to tell it."""
    return record.exc_info is not None


def _config(app: App) -> Config:
    config = Config(
        app, http=Connection, ws="none", lifespan="on", interface="asgi3", log_config=None, access_log=False,
        proxy_headers=False, server_header=False, date_header=False, workers=1,
    )  # fmt: skip
    config.load()
    return config


async def _over(tasks: Iterable[asyncio.Task[None]], seconds: float) -> None:
    """Wait for them to end, but not longer."""
    running = list(tasks)
    if running:
        await asyncio.wait(running, timeout=seconds)


async def _at_most(work: Awaitable[Any], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        log.warning("closing took more than %g s: left as it is", seconds)
