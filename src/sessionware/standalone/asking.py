"""The only place where the workers of one proxy ask each other: each listens on sockets that only they can reach."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

QUESTION_MAX: Final = 256  # bytes
QUESTION_WITHIN_S: Final = 1.0  # whoever asks says at once what, and reads the answer


class Question(Struct, frozen=True, kw_only=True):
    """One thing that workers ask each other. `suffix` names its sockets, `answer_max` is in bytes."""

    suffix: str
    within_s: float
    answer_max: int


class Ear:
    """Answers one question in this worker. `answer` is given what was said with it, and answers nothing to nonsense."""

    def __init__(self, folder: Path, question: Question, answer: Callable[[bytes], bytes]) -> None:
        """Whoever makes the folder sees to it that nobody else can enter."""
        self._path = socket_of(folder, os.getpid(), question)
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Answer the others from now on."""
        self._server = await asyncio.start_unix_server(self._tell, self._path)

    def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(QUESTION_WITHIN_S):
                writer.write(self._answer(await reader.read(QUESTION_MAX)))
                await writer.drain()
        writer.close()


def socket_of(folder: Path, pid: int, question: Question) -> Path:
    return folder / f"{pid}{question.suffix}"


async def ask_others(folder: Path, question: Question, said: bytes = b"\n") -> dict[int, bytes]:
    """What each other worker answers, by its process id; nothing from one that does not in time, or is no more."""
    others = _others(folder, question)
    answers = await asyncio.gather(*[_asked(path, question, said) for path in others])
    return dict(zip([int(path.stem) for path in others], answers, strict=True))


def _others(folder: Path, question: Question) -> list[Path]:
    return [path for path in folder.glob(f"*{question.suffix}") if path.stem != str(os.getpid())]


async def _asked(path: Path, question: Question, said: bytes) -> bytes:
    try:
        async with asyncio.timeout(question.within_s):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(said)
                return await _whole(reader, question.answer_max)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""


async def _whole(reader: asyncio.StreamReader, at_most: int) -> bytes:
    answer = bytearray()
    while part := await reader.read(1 << 16):
        answer += part
        if len(answer) > at_most:
            return b""
    return bytes(answer)
