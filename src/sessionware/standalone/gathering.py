"""The only place that decides when an answer's bytes leave: its head goes with what follows it in the same turn."""

from __future__ import annotations

import asyncio
from typing import Any, Final

_BEGINS: Final = b"HTTP/1."  # what uvicorn writes first of each answer


class Gathering:
    """A client's transport. uvicorn writes head and body apart, and each write is a call of the kernel.

    A head that nothing follows at once (an event stream's) leaves at the end of this turn of the loop.
    """

    __slots__ = ("_flush_soon", "_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self._flush_soon: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data.startswith(_BEGINS):
            self._held = data
            if self._flush_soon is None:
                self._flush_soon = self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._send_held()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def _flush(self) -> None:
        self._flush_soon = None
        self._send_held()

    def _send_held(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)
