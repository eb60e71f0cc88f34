"""The only place that packs an app's data into bytes and back: MessagePack, capped in size and depth."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final

import msgspec

from sessionware.errors import PayloadTooLarge

DEPTH_MAX: Final = 32  # deeper than any honest document, shallow enough for every decoder's stack
DATA_MAX: Final = 256 * 1024
METADATA_MAX: Final = 64 * 1024
LOG_ITEM_MAX: Final = 64 * 1024
_CONTAINERS = (Mapping, list, tuple, set, frozenset)
_KEPT: Final = frozenset({type(None), bool, int, float, str, bytes, bytearray})


def pack(value: Mapping[str, Any], *, what: str, at_most: int) -> bytes:
    """Encode a mapping; an empty one is no bytes at all.

    Raises PayloadTooLarge over `at_most` bytes or DEPTH_MAX levels, TypeError for what MessagePack cannot
    hold. Nothing is ever cut short.
    """
    if not value:
        return b""
    if _deeper_than(value, DEPTH_MAX):
        raise PayloadTooLarge(f"{what} nests deeper than {DEPTH_MAX} levels: flatten it or store a reference")
    packed = msgspec.msgpack.encode(value)
    if len(packed) > at_most:
        raise PayloadTooLarge(f"{what} is {len(packed)} bytes, at most {at_most} are kept: store a reference instead")
    return packed


def unpack(packed: bytes) -> dict[str, Any]:
    """Decode what `pack` made."""
    return msgspec.msgpack.decode(packed, type=dict[str, Any]) if packed else {}


def altered(value: Any, name: str) -> str | None:
    """What in `value` would come back as something else, by its path: `user.born: date`; None when nothing would.

    Tuples and sets come back as lists, which is no surprise; a date that comes back as text is. Wants a value that
    `pack` has taken, so that it ends.
    """
    if isinstance(value, Mapping):
        inner: Any = ((f"{name}.{key}", each) for key, each in value.items())
    elif isinstance(value, _CONTAINERS):
        inner = ((f"{name}[{number}]", each) for number, each in enumerate(value))
    elif (
        type(value) in _KEPT
        or (isinstance(value, str | int | float) and not isinstance(value, Enum))
        or (isinstance(value, datetime) and value.tzinfo is not None)
    ):
        return None
    else:
        return f"{name}: {type(value).__name__}"
    return next((found for path, each in inner if (found := altered(each, path)) is not None), None)


def _deeper_than(value: Any, levels: int) -> bool:
    """Whether containers nest deeper than `levels`; goes layer by layer, so that a cycle is too deep, not fatal."""
    layer: list[Any] = [value]
    for _ in range(levels):
        inner: dict[int, Any] = {}  # by identity: a container that is referred to often is visited once a layer
        for item in layer:
            children = item.values() if isinstance(item, Mapping) else item
            inner.update((id(child), child) for child in children if isinstance(child, _CONTAINERS))
        if not inner:
            return False
        layer = list(inner.values())
    return True
