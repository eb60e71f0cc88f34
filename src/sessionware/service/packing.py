"""The only place that packs what clients send: what cannot be kept is their mistake, not our failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sessionware.core.payload import pack
from sessionware.errors import InvalidValue


def packed(value: Mapping[str, Any], *, what: str, at_most: int) -> bytes:
    """The value as it is kept. Raises PayloadTooLarge, InvalidValue for what MessagePack cannot hold."""
    try:
        return pack(value, what=what, at_most=at_most)
    except (TypeError, OverflowError, UnicodeEncodeError) as error:
        raise InvalidValue(f"{what} cannot be kept: {error}") from error
