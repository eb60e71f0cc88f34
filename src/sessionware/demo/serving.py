"""The only place that runs a demo's ASGI app, and says where once it answers."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Any, Final

import uvicorn

TRANSPORTS: Final = ("http", "sse")
GOODBYE_WITHIN_S: Final = 2  # open streams are cut after this, or Ctrl-C would wait for every client


def serve(app: Any, *, host: str, port: int, path: str, until_eof: bool = False) -> None:
    """Serve until SIGTERM or SIGINT, or until standard input ends.

    Prints `listening on URL` when requests are answered; port 0 is any free one.
    """
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
        asyncio.run(_Announced(config, url, until_eof=until_eof).serve(sockets=[listening]))
    except KeyboardInterrupt:  # uvicorn raises the signal again after it has stopped
        return


def listening_on(host: str, port: int) -> socket.socket:
    """A socket whose connections send at once: asyncio asks for that only where it has made the socket itself."""
    listening = socket.create_server((host, port))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a body waits 40 ms for its head's receipt
    return listening


class _Announced(uvicorn.Server):
    """Says when it serves."""

    def __init__(self, config: uvicorn.Config, url: str, *, until_eof: bool) -> None:
        super().__init__(config)
        self._url = url
        self._until_eof = until_eof

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._until_eof:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._look_whether_it_ended)
        print(f"listening on {self._url}", flush=True)

    def _look_whether_it_ended(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.should_exit = True
