"""The only place that sends a body while the answer may already be coming."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

from sessionware.proxy.wire.faults import UnwritableRequest
from sessionware.proxy.wire.requests import LAST_CHUNK, UpstreamRequest, chunk
from sessionware.proxy.wire.terms import WRITE_SIZE

_AS_IT_IS: Final = -1  # no length was announced: the body is sent in chunks


class Outlet(Protocol):
    """Where a body goes."""

    @property
    def is_wanted(self) -> bool:
        """Whether the upstream still reads: not when it has answered and will close."""

    async def write(self, data: bytes) -> None:
        """Send, and wait while the upstream is behind."""


async def send_body(request: UpstreamRequest, outlet: Outlet) -> None:
    """Send the whole body as it was announced; stops early when the outlet does not want the rest.

    Raises UnwritableRequest when a streamed body is longer or shorter than its announced length, and whatever the
    body itself raises: the connection is then of no use, for the upstream waits for the rest.
    """
    body = request.body
    parts = _slices(body) if isinstance(body, bytes) else body
    announced = len(body) if isinstance(body, bytes) else request.content_length
    left = _AS_IT_IS if announced is None else announced
    try:
        async for part in parts:
            if announced is not None:
                left -= len(part)
                if left < 0:
                    raise UnwritableRequest(f"the body is longer than the {announced} bytes announced")
            if not outlet.is_wanted:
                return
            await outlet.write(part if announced is not None else chunk(part))
        if left > 0:
            raise UnwritableRequest(f"the body is {left} bytes shorter than the {announced} announced")
        if announced is None:
            await outlet.write(LAST_CHUNK)
    finally:
        close = getattr(parts, "aclose", None)
        if close is not None:
            await close()


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), WRITE_SIZE):
        yield bytes(view[start : start + WRITE_SIZE])
