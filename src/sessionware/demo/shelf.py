"""The only place where the demo server keeps what it was told; gone when the process ends."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

MAX_NOTES: Final = 10_000  # a demo left running must not eat the machine
MAX_TEXT: Final = 10_000  # characters


class ShelfFull(Exception):
    """There is no room for this note; the message says why."""


class Note(Struct, frozen=True):
    """What one session, or one handle, has told this process."""

    text: str = ""
    count: int = 0


class Shelf:
    """Notes by key."""

    def __init__(self) -> None:
        self._notes: dict[str, Note] = {}

    def text(self, key: str) -> str:
        """What was remembered last; empty when nothing was."""
        return self._notes.get(key, Note()).text

    def remember(self, key: str, text: str) -> None:
        """Raises ShelfFull for a text that is too long, or for one note too many."""
        if len(text) > MAX_TEXT:
            raise ShelfFull(f"a text has at most {MAX_TEXT} characters, got {len(text)}")
        self._write(key, replace(self._notes.get(key, Note()), text=text))

    def count(self, key: str) -> int:
        """One more than last time. Raises ShelfFull for one note too many."""
        note = self._notes.get(key, Note())
        counted = replace(note, count=note.count + 1)
        self._write(key, counted)
        return counted.count

    def _write(self, key: str, note: Note) -> None:
        if key not in self._notes and len(self._notes) >= MAX_NOTES:
            raise ShelfFull(f"this demo keeps {MAX_NOTES} notes: restart it to forget them")
        self._notes[key] = note
