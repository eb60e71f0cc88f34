"""The only place that knows what a session is doing right now in the other workers of one proxy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from sessionware.core.ids import SessionKey
from sessionware.standalone.asking import Ear, Question, ask_others

# Who takes longer is left out: what runs there is stopped by an interrupt all the same.
WORK: Final = Question(suffix=".work", within_s=0.5, answer_max=1 << 20)
_key: Final = msgspec.msgpack.Decoder(SessionKey)
_jobs: Final = msgspec.msgpack.Decoder(list[dict[str, Any]])

Here = Callable[[SessionKey], Sequence[Mapping[str, Any]]]


class Colleagues:
    """One worker among those who share a folder. `here` tells what runs in this one."""

    def __init__(self, folder: Path, here: Here) -> None:
        self._folder = folder
        self._here = here
        self._ear = Ear(folder, WORK, self._told)

    async def open(self) -> None:
        """Answer the others from now on."""
        await self._ear.open()

    def close(self) -> None:
        """Answer nobody any more."""
        self._ear.close()

    async def of(self, key: SessionKey) -> list[dict[str, Any]]:
        """What the session does in all others that answer in time."""
        answers = await ask_others(self._folder, WORK, msgspec.msgpack.encode(key))
        return [job for answer in answers.values() for job in _read(answer)]

    def _told(self, said: bytes) -> bytes:
        try:
            return msgspec.msgpack.encode(self._here(_key.decode(said)))
        except msgspec.DecodeError:
            return b""


def _read(answer: bytes) -> list[dict[str, Any]]:
    try:
        return _jobs.decode(answer)
    except msgspec.DecodeError:
        return []
