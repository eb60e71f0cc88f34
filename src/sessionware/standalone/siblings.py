"""The only place where the workers of one proxy ask each other: each listens on a socket that only they can reach."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sessionware.standalone.colleagues import SUFFIX
from sessionware.standalone.families import Family, decoded, encoded, left_behind, merged

WITHIN_S: Final = 1.0  # a sibling that takes longer is shown as it was last
ANSWER_MAX: Final = 8 << 20
_SOCKET: Final = ".sock"
_LAST: Final = ".last"
_GONE: Final = "gone" + _LAST  # the counts of all workers that are no more

Count = Callable[[], tuple[Family, ...]]


class Siblings:
    """One worker among those who share a folder. `count` tells what it has counted itself."""

    def __init__(self, folder: Path, count: Count) -> None:
        """Whoever makes the folder sees to it that nobody else can enter."""
        self._folder = folder
        self._count = count
        self._name = str(os.getpid())
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Answer the others from now on."""
        self._server = await asyncio.start_unix_server(self._tell, self._folder / (self._name + _SOCKET))

    def close(self) -> None:
        """Say for the last time what was counted, and answer nobody any more."""
        self._told()
        if self._server is not None:
            self._server.close()

    async def gather(self) -> list[tuple[Family, ...]]:
        """What everyone has counted, those that are no more among them."""
        own = self._told()
        others = [path for path in self._folder.glob(f"*{_SOCKET}") if path.stem != self._name]
        answers = await asyncio.gather(*[_asked(path) for path in others])
        found = [decoded(own), *[decoded(answer) for answer in answers if answer]]
        silent = [path.stem for path, answer in zip(others, answers, strict=True) if not answer]
        for name in (*silent, "gone"):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                found.append(left_behind(decoded((self._folder / (name + _LAST)).read_bytes())))
        return found

    def _told(self) -> bytes:
        """What this worker has counted; kept, so that it is not lost with the worker."""
        told = encoded(self._count())
        _write(self._folder / (self._name + _LAST), told)
        return told

    async def _tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(self._told())
            await writer.drain()
        writer.close()


def bury(folder: Path, pid: int) -> None:
    """A worker is no more: what it had told goes to the counts of the dead. Only the supervisor calls it."""
    last, gone = folder / f"{pid}{_LAST}", folder / _GONE
    for suffix in (_SOCKET, SUFFIX):
        (folder / f"{pid}{suffix}").unlink(missing_ok=True)
    known: list[Sequence[Family]] = []
    for path in (gone, last):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            known.append(left_behind(decoded(path.read_bytes())))
    if known:
        _write(gone, encoded(merged(known)))
    last.unlink(missing_ok=True)


async def _asked(path: Path) -> bytes:
    """What a sibling answers; nothing when it does not in time."""
    try:
        async with asyncio.timeout(WITHIN_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return await _whole(reader)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""


async def _whole(reader: asyncio.StreamReader) -> bytes:
    answer = bytearray()
    while part := await reader.read(1 << 16):
        answer += part
        if len(answer) > ANSWER_MAX:
            return b""
    return bytes(answer)


def _write(path: Path, content: bytes) -> None:
    """In one step: nobody reads the half of it."""
    with contextlib.suppress(OSError):
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_bytes(content)
        draft.replace(path)
