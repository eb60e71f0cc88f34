"""A TCP hop between a store and its server that loses replies, hangs or cuts on command."""

import asyncio
from collections.abc import Callable
from typing import Self


class End(asyncio.Protocol):
    """One end of a link: what arrives here goes to the other end."""

    def __init__(self, wire: "FaultyWire", *, is_reply: bool) -> None:
        self.wire = wire
        self.is_reply = is_reply
        self.other: End | None = None
        self.transport: asyncio.Transport | None = None
        self.waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.wire.ends.add(self)
        if not self.is_reply:
            self.wire.dial(self)

    def data_received(self, data: bytes) -> None:
        if self.is_reply and self.wire.lose_next_reply:
            self.wire.lose_next_reply = False
            self.wire.lost.set()
            self.wire.cut()
            return
        self.waiting.append(self.wire.rewrite(data) if self.is_reply else data)
        self.flush()

    def flush(self) -> None:
        if self.other is None or self.other.transport is None or self.wire.is_hanging:
            return
        waiting, self.waiting = self.waiting, []
        for data in waiting:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.wire.ends.discard(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.abort()
        self.wire.maybe_all_gone()


class FaultyWire:
    """Forwards bytes. `lose_next_reply` delivers the request, swallows the answer and cuts; `hang` stops the flow."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._server: asyncio.Server | None = None
        self._dials: set[asyncio.Task[None]] = set()
        self._all_gone = asyncio.Event()
        self.ends: set[End] = set()
        self.is_hanging = False
        self.lose_next_reply = False
        self.lost = asyncio.Event()
        self.rewrite: Callable[[bytes], bytes] = lambda reply: reply

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def url(self, prefix: str) -> str:
        return f"redis://127.0.0.1:{self.port}/0?prefix={prefix}"

    def hang(self) -> None:
        self.is_hanging = True

    def resume(self) -> None:
        self.is_hanging = False
        for end in list(self.ends):
            end.flush()

    def cut(self) -> None:
        for end in list(self.ends):
            if end.transport is not None:
                end.transport.abort()

    def dial(self, end: End) -> None:
        task = asyncio.get_running_loop().create_task(self._dial(end))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dial(self, end: End) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, other = await loop.create_connection(lambda: End(self, is_reply=True), "127.0.0.1", self._upstream)
        except OSError:
            assert end.transport is not None
            end.transport.abort()
            return
        end.other, other.other = other, end
        if end not in self.ends:
            assert other.transport is not None
            other.transport.abort()
        end.flush()

    def maybe_all_gone(self) -> None:
        if not self.ends:
            self._all_gone.set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: End(self, is_reply=False), "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*self._dials, return_exceptions=True)
        while self.ends:
            self._all_gone.clear()
            self.cut()
            await self._all_gone.wait()
        await self._server.wait_closed()
