"""The upstreams that are as cheap as can be: one on bare httptools for each measure, and an ASGI app on its own.

python -m benchmarks.proxy_upstream --port N
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections import deque
from typing import Any, ClassVar, Final

import httptools
import uvloop

ANSWER: Final = (
    b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a small answer"}],"isError":false}}'
)
_JSON: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
_STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LENGTH: Final = b"content-length: %d\r\n\r\n"


class Exchange(asyncio.Protocol):
    """POST is answered at once, GET opens a stream; PUT /all writes the time to every stream, PUT / to the next."""

    streams: ClassVar[deque[asyncio.Transport]] = deque()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def connection_lost(self, _: Exception | None) -> None:
        with contextlib.suppress(ValueError):  # not every connection is a stream
            self.streams.remove(self._transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._is_legacy = True
        self._target = b""

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, _: bytes) -> None:
        if name.lower() == b"mcp-protocol-version":
            self._is_legacy = False

    def on_message_complete(self) -> None:
        match self._parser.get_method():
            case b"GET":
                self._transport.write(_STREAM)
                self.streams.append(self._transport)
            case b"PUT":
                told = len(self.streams) if self._target == b"/all" else 1
                for stream in [self.streams[place] for place in range(told)]:
                    event = b"data: %d\n\n" % time.perf_counter_ns()
                    stream.write(b"%x\r\n%s\r\n" % (len(event), event))
                self.streams.rotate(-told)
                self._answer(b"%d" % told)
            case _:
                self._answer(ANSWER, b"mcp-session-id: upstream-session\r\n" if self._is_legacy else b"")

    def _answer(self, body: bytes, more: bytes = b"") -> None:
        self._transport.write(_JSON + more + _LENGTH % len(body) + body)


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """The same answer as an ASGI app: what a server costs without any upstream."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Exchange, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))
