"""The only place that looks at the clock for all connections of a process, and knows when the last has gone."""

from __future__ import annotations

import asyncio
import contextlib
from email.utils import formatdate
from typing import Any, Final

from uvicorn.server import ServerState

from sessionware.asgi.messages import App, Receive, Scope, Send
from sessionware.asgi.refusing import respond
from sessionware.proxy.mcp.answers import unavailable
from sessionware.standalone.bounds import Bounds

LOOK_EVERY_S: Final = 0.5
RETRY_MS: Final = 1_000
TURNED_AWAY: Final = (400, 408, 417, 431, 503)
PROBES: Final = frozenset({"/health", "/healthz", "/livez", "/ready", "/readyz", "/metrics"})


class Watch:
    """What the connections of one process have in common. `now` is as old as the last look."""

    def __init__(self, bounds: Bounds, state: ServerState) -> None:
        """Needs a running event loop."""
        self.bounds = bounds
        self.is_leaving = False  # no connection is kept alive any more
        self.turned_away = dict.fromkeys(TURNED_AWAY, 0)  # by status: what never became a request
        self._state = state
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time()
        self._changed = asyncio.Event()
        self._timer = self._loop.call_soon(self._look)

    def _look(self) -> None:
        now = self._loop.time()
        passed, self.now = now - self.now, now
        self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        connections: list[Any] = list(self._state.connections)
        for connection in connections:
            connection.look_at_the_clock(passed)

    def leave(self) -> None:
        """From now on each answer says that its connection closes."""
        self.is_leaving = True

    def lost(self) -> None:
        """A connection has gone."""
        self._changed.set()

    async def until_all_have_gone(self) -> None:
        while self._state.connections:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._changed.wait()

    def overloaded(self, app: App) -> App:
        """The app for a connection over the bound: probes are answered, all else is told to come again."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] in PROBES:
                await app(scope, receive, _closing(send))
            else:
                self.turned_away[503] += 1
                await respond(_closing(send), unavailable("Too many connections", retry_after_ms=RETRY_MS))

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
