"""The only place that hands an answer to its reader, part by part, and holds at most 64 KiB that he has not read."""

from __future__ import annotations

import asyncio
from typing import Protocol, Self

from sessionware.proxy.wire.terms import UNREAD_MAX


class Source(Protocol):
    """What a response asks of the connection it comes from, for as long as it is not whole."""

    def resume(self) -> None:
        """Go on reading."""

    def wait_for_part(self) -> asyncio.Future[None]:
        """Become done when something new was told to the response, or its deadline broke it."""

    def abandon(self) -> None:
        """Close: the rest is not wanted."""


class Response:
    """An upstream's answer: `status` and `headers` are here, the body follows by `async for`.

    Read it to the end or call `aclose`; both give the connection back. Names of headers are lower-case; all are as the
    upstream sent them, hop-by-hop ones too. Iteration raises BadAnswer where the answer breaks, after what came before.
    """

    __slots__ = ("_fault", "_parts", "_source", "_unread", "headers", "is_whole", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], source: Source) -> None:
        self.status = status
        self.headers = headers
        self.is_whole = False
        self._source: Source | None = source
        self._parts: list[bytes] = []
        self._unread = 0
        self._fault: BaseException | None = None

    @property
    def is_read(self) -> bool:
        """Whether nothing follows what was read: known with the last part, when the upstream sent both together."""
        return self.is_whole and not self._parts

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        parts = self._parts
        while not parts:
            if self._fault is not None:
                raise self._fault
            source = self._source
            if self.is_whole or source is None:
                raise StopAsyncIteration
            try:
                await source.wait_for_part()
            except asyncio.CancelledError:
                await self.aclose()
                raise
        part = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        was_full, self._unread = self._unread >= UNREAD_MAX, 0
        if was_full and self._source is not None:
            self._source.resume()
        return part

    async def aclose(self) -> None:
        """Let go of what is unread; closes the connection when the answer is not whole. Again: nothing happens."""
        source, self._source = self._source, None
        self._parts.clear()
        if source is not None:
            source.abandon()

    # -- told by the connection ----------------------------------------------------------------------------------

    def take(self, part: bytes) -> bool:
        """Keep one part for the reader; says whether that is enough for now."""
        self._parts.append(part)
        self._unread += len(part)
        return self._unread >= UNREAD_MAX

    def end(self, fault: BaseException | None = None) -> None:
        """Nothing more comes: the answer is whole, or broken by this fault."""
        self.is_whole = fault is None
        self._fault = fault
        self._source = None
