"""The only place that adds up what the workers of one proxy have counted, those that are no more among them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sessionware.standalone.asking import Ear, Question, ask_others, socket_of
from sessionware.standalone.colleagues import WORK
from sessionware.standalone.families import Family, decoded, encoded, left_behind, merged

# A sibling that takes longer is shown as it was last.
COUNTS: Final = Question(suffix=".sock", within_s=1.0, answer_max=8 << 20)
_LAST: Final = ".last"
_GONE: Final = "gone" + _LAST  # the counts of all workers that are no more

Count = Callable[[], tuple[Family, ...]]


class Siblings:
    """One worker among those who share a folder. `count` tells what it has counted itself."""

    def __init__(self, folder: Path, count: Count) -> None:
        """Whoever makes the folder sees to it that nobody else can enter."""
        self._folder = folder
        self._count = count
        self._ear = Ear(folder, COUNTS, lambda _: self._told())

    async def open(self) -> None:
        """Answer the others from now on."""
        await self._ear.open()

    def close(self) -> None:
        """Say for the last time what was counted, and answer nobody any more."""
        self._told()
        self._ear.close()

    async def gather(self) -> list[tuple[Family, ...]]:
        """What everyone has counted, those that are no more among them."""
        own = self._told()
        answers = await ask_others(self._folder, COUNTS)
        found = [decoded(own), *[decoded(answer) for answer in answers.values() if answer]]
        heard = {os.getpid(), *[pid for pid, answer in answers.items() if answer]}
        left = set(self._folder.glob(f"*{_LAST}")) - {_last(self._folder, pid) for pid in heard}
        for path in left:
            with contextlib.suppress(OSError, msgspec.DecodeError):
                found.append(left_behind(decoded(path.read_bytes())))
        return found

    def _told(self) -> bytes:
        """What this worker has counted; kept, so that it is not lost with the worker."""
        told = encoded(self._count())
        _write(_last(self._folder, os.getpid()), told)
        return told


def bury(folder: Path, pid: int) -> None:
    """A worker is no more: what it had told goes to the counts of the dead. Only the supervisor calls it."""
    last, gone = _last(folder, pid), folder / _GONE
    for question in (COUNTS, WORK):
        socket_of(folder, pid, question).unlink(missing_ok=True)
    known: list[Sequence[Family]] = []
    for path in (gone, last):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            known.append(left_behind(decoded(path.read_bytes())))
    if known:
        _write(gone, encoded(merged(known)))
    last.unlink(missing_ok=True)


def _last(folder: Path, pid: int) -> Path:
    return folder / f"{pid}{_LAST}"


def _write(path: Path, content: bytes) -> None:
    """In one step: nobody reads the half of it."""
    with contextlib.suppress(OSError):
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_bytes(content)
        draft.replace(path)
