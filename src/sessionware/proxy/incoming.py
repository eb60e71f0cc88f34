"""The only place that reads what a client sends: its body, and that it has gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from sessionware.asgi.messages import Receive

KEPT_MAX: Final = 64 << 10  # bytes of a body that are kept while they pass: a fault is told under the request's id
KEEP_S: Final = 1.0  # a client that is refused has mostly sent it already
DISCONNECT: Final = "http.disconnect"
GONE_KEY: Final = "sessionware.gone"  # in the scope, where our own server stands in front: takes what is to be called

TellGone = Callable[[Callable[[], Any]], Any]


class ClientGone(Exception):
    """Nobody waits for an answer any more."""


class BodyTooLarge(Exception):
    """The body has more bytes than are allowed."""


class Incoming:
    """The body of one request: read once, whole or in parts. `at_most` 0: no bound.

    `tell_gone` takes what is to be called when the client goes; None: ask `until_gone`.
    """

    __slots__ = ("_at_most", "_is_read", "_is_whole", "_kept", "_receive", "_size", "_told", "tell_gone")

    def __init__(self, receive: Receive, *, at_most: int = 0, tell_gone: TellGone | None = None) -> None:
        self.tell_gone = tell_gone
        self._receive = receive
        self._at_most = at_most
        self._kept = b""
        self._size = 0
        self._is_whole = False
        self._is_read = False
        self._told: asyncio.Event | None = None  # made for whoever waits: most streams are read at once

    @property
    def kept(self) -> bytes:
        """The body, once it has passed and was short enough to be kept; else nothing."""
        return self._kept if self._is_whole and self._size <= KEPT_MAX else b""

    async def whole(self) -> bytes:
        """All of it. Raises BodyTooLarge, ClientGone."""
        try:
            whole = await self._next()
            while not self._is_whole:
                whole += await self._next()
        finally:
            self.skip()
        return whole

    async def parts(self) -> AsyncIterator[bytes]:
        """Each part as it comes. Raises BodyTooLarge, ClientGone."""
        try:
            while not self._is_whole:
                part = await self._next()
                if part:
                    yield part
        finally:
            self.skip()

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == DISCONNECT:
            raise ClientGone
        part: bytes = message.get("body", b"")
        self._size += len(part)
        if self._at_most and self._size > self._at_most:
            raise BodyTooLarge
        self._is_whole = not message.get("more_body", False)
        if self._size <= KEPT_MAX:
            self._kept = self._kept + part if self._kept else part
        return part

    async def keep(self) -> None:
        """Read a body that goes nowhere, for what it says: if it is short, and comes soon."""
        with contextlib.suppress(TimeoutError, BodyTooLarge, ClientGone):
            async with asyncio.timeout(KEEP_S):
                while not self._is_whole and self._size <= KEPT_MAX:
                    await self._next()

    def skip(self) -> None:
        """There is no body, or nobody wants what is left of it."""
        self._is_read = True
        if self._told is not None:
            self._told.set()

    async def until_gone(self) -> None:
        """Return when the client has gone; what it still sends is nobody's."""
        if not self._is_read:
            self._told = asyncio.Event()
            await self._told.wait()
        while (await self._receive())["type"] != DISCONNECT:
            pass
