"""The only place that looks at the clock for all connections of a process, and knows when the last has gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from email.utils import formatdate
from typing import Any, Final, Protocol

from sessionware.asgi.messages import App, Receive, Scope, Send
from sessionware.asgi.refusing import respond
from sessionware.proxy.mcp.answers import unavailable
from sessionware.standalone.bounds import Bounds
from sessionware.standalone.peers import Peers
from sessionware.standalone.probes import PROBES

LOOK_EVERY_S: Final = 0.5
RETRY_MS: Final = 1_000
TURNED_AWAY: Final = (400, 408, 417, 431, 503)
TELL_EVERY_S: Final = 60.0  # of a peer that holds too many
TOO_MANY: Final = "Too many connections"
log: Final = logging.getLogger("sessionware")


class Watched(Protocol):
    """One client's connection."""

    transport: asyncio.Transport

    def look_at_the_clock(self, passed: float) -> None:
        """Close the connection when its time is up; `passed` seconds after the last look."""

    def shutdown(self) -> None:
        """No more requests: close after the answer that is on its way, if there is one."""

    def close(self) -> None:
        """Close now, behind what was written."""


class Watch:
    """What the connections of one process have in common. `now` is as old as the last look.

    `tasks` run for their requests; `said_always` stands in the head of each answer.
    """

    said_always: tuple[tuple[bytes, bytes], ...]

    def __init__(self, bounds: Bounds, peers: Peers) -> None:
        """Needs a running event loop."""
        self.bounds = bounds
        self.is_leaving = False  # no connection is kept alive any more
        self.turned_away = dict.fromkeys(TURNED_AWAY, 0)  # by status: what never became a request
        self._peers = peers
        self._told_at = float("-inf")
        self.connections = set[Watched]()
        self.tasks = set[asyncio.Task[None]]()
        self._say_the_date()
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time()
        self._changed = asyncio.Event()
        self._timer = self._loop.call_soon(self._look)

    def _look(self) -> None:
        now = self._loop.time()
        passed, self.now = now - self.now, now
        self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)
        self._say_the_date()
        for connection in list(self.connections):
            connection.look_at_the_clock(passed)

    def _say_the_date(self) -> None:
        self.said_always = ((b"date", formatdate(usegmt=True).encode()),)

    def leave(self) -> None:
        """From now on each answer says that its connection closes."""
        self.is_leaving = True

    def came(self, peer: str | None) -> tuple[int, str]:
        """A connection has been opened: by how many there are too many now, and in which words."""
        bounds, held = self.bounds, self._peers.came(peer)
        excess, of_peer = len(self.connections) - bounds.connections, held - bounds.of_one_peer
        if of_peer <= max(excess, 0):
            return excess, TOO_MANY
        if self.now - self._told_at >= TELL_EVERY_S:
            self._told_at = self.now
            log.warning(
                "%s holds %d connections, more than a peer may: the next are refused; a proxy in front of us belongs "
                "in TRUSTED_PROXIES", peer, bounds.of_one_peer,
            )  # fmt: skip
        return of_peer, f"{TOO_MANY} from one address"

    def lost(self, peer: str | None) -> None:
        """A connection has gone."""
        self._peers.went(peer)
        self._changed.set()

    async def until_all_have_gone(self) -> None:
        while self.connections:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._changed.wait()

    def overloaded(self, app: App, why: str) -> App:
        """The app for a connection over the bound: probes are answered, all else is told to come again."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] in PROBES:
                await app(scope, receive, _closing(send))
            else:
                self.turned_away[503] += 1
                await respond(_closing(send), unavailable(why, retry_after_ms=RETRY_MS))

        return answer

    def close(self) -> None:
        """Look no more."""
        self._timer.cancel()


def _closing(send: Send) -> Send:
    """The answer is the last on its connection."""

    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return sending
