"""The only place that runs a demo's ASGI app, and says where once it answers."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

import uvicorn

TRANSPORTS: Final = ("http", "sse")
GOODBYE_WITHIN_S: Final = 2  # open streams are cut after this, or Ctrl-C would wait for every client


def serve(app: Any, *, host: str, port: int, path: str) -> None:
    """Serve until SIGTERM or SIGINT. Prints `listening on URL` when requests are answered; port 0 is any free one."""
    listening = listening_on(host, port)  # taken before uvicorn starts: the printed port is ours
    url = f"http://{host}:{listening.getsockname()[1]}{path}"
    config = uvicorn.Config(
        app,
        http="h11",  # httptools leaves blanks at the end of a field's value, which RFC 9110 5.5 takes off
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GOODBYE_WITHIN_S,
    )
    try:
        asyncio.run(_Announced(config, url).serve(sockets=[listening]))
    except KeyboardInterrupt:  # uvicorn raises the signal again after it has stopped
        return


def listening_on(host: str, port: int) -> socket.socket:
    """A socket whose connections send at once: asyncio asks for that only where it has made the socket itself."""
    listening = socket.create_server((host, port))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a body waits 40 ms for its head's receipt
    return listening


class _Announced(uvicorn.Server):
    """Says when it serves."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"listening on {self._url}", flush=True)
