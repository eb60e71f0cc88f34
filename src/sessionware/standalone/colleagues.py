"""The only place where the workers of one proxy ask each other what a session is doing right now."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from sessionware.core.ids import SessionKey

WITHIN_S: Final = 0.5  # who takes longer is left out: what runs there is stopped by an interrupt all the same
ASKED_MAX: Final = 256  # bytes of a question
ANSWER_MAX: Final = 1 << 20
SUFFIX: Final = ".work"
_key: Final = msgspec.msgpack.Decoder(SessionKey)
_jobs: Final = msgspec.msgpack.Decoder(list[dict[str, Any]])

Here = Callable[[SessionKey], Sequence[Mapping[str, Any]]]


class Colleagues:
    """One worker among those who share a folder, which nobody else can enter. `here` tells what runs in this one."""

    def __init__(self, folder: Path, here: Here) -> None:
        self._folder = folder
        self._here = here
        self._own = folder / f"{os.getpid()}{SUFFIX}"
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Answer the others from now on."""
        self._server = await asyncio.start_unix_server(self._tell, self._own)

    def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.close()
            self._own.unlink(missing_ok=True)

    async def of(self, key: SessionKey) -> list[dict[str, Any]]:
        """What the session does in all others that answer in time."""
        others = [path for path in self._folder.glob(f"*{SUFFIX}") if path != self._own]
        answers = await asyncio.gather(*[_asked(path, msgspec.msgpack.encode(key)) for path in others])
        return [job for answer in answers for job in answer]

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, msgspec.MsgspecError):
            async with asyncio.timeout(WITHIN_S):
                key = _key.decode(await reader.read(ASKED_MAX))
                writer.write(msgspec.msgpack.encode(self._here(key)))
                await writer.drain()
        writer.close()


async def _asked(path: Path, question: bytes) -> list[dict[str, Any]]:
    """What a worker answers; nothing when it does not in time, or is no more."""
    try:
        async with asyncio.timeout(WITHIN_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(question)
                return _jobs.decode(await _whole(reader))
            finally:
                writer.close()
    except (OSError, TimeoutError, msgspec.MsgspecError):
        return []


async def _whole(reader: asyncio.StreamReader) -> bytes:
    answer = bytearray()
    while (part := await reader.read(1 << 16)) and len(answer) <= ANSWER_MAX:
        answer += part
    return bytes(answer)
