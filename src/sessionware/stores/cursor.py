"""The only place that knows what a listing's cursor looks like."""

from __future__ import annotations

import re

_CURSOR = re.compile(r"(\d{1,16})-([0-9a-f]{40})", re.ASCII)
BEGINNING = (-1, b"")


def write_cursor(created_at: int, hash_: bytes) -> str:
    """The place behind one session in order of creation."""
    return f"{created_at}-{hash_.hex()}"


def read_cursor(cursor: str) -> tuple[int, bytes]:
    """Read a cursor back; the empty one is the beginning. Raises ValueError for anything else."""
    if not cursor:
        return BEGINNING
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise ValueError("the cursor is not one that a listing returned: begin again without it")
    return int(found[1]), bytes.fromhex(found[2])
