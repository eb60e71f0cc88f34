"""The only place that reads JSON which an upstream will read again: only what all readers understand alike passes.

A key that is there twice, or a depth that one parser bears and another does not, would let the upstream see
another request than the one that was judged.
"""

from __future__ import annotations

import json
from array import array
from itertools import accumulate
from typing import Any, Final, NoReturn

BODY_MAX: Final = 4 << 20  # bytes, as in the MCP packages
DEPTH_MAX: Final = 64  # arrays and objects inside each other
# Every bracket is a step down or up, as a signed byte; all else vanishes.
_AS_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


class Unreadable(ValueError):
    """The text is no JSON, or JSON that two readers may read differently; the message says which."""


def read_json(body: bytes) -> Any:
    """The value. A body over 64 KiB can take a while: read it in a thread.

    Raises Unreadable.
    """
    if is_too_deep(body):
        raise Unreadable(f"arrays and objects lie more than {DEPTH_MAX} deep")
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except Unreadable:
        raise
    except UnicodeDecodeError as error:
        raise Unreadable("the body is no UTF-8") from error
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        raise Unreadable("the body is no JSON") from error


def is_too_deep(body: bytes) -> bool:
    """Whether arrays and objects lie deeper than DEPTH_MAX; right for every text that is JSON."""
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return False
    steps = _without_strings(body).translate(_AS_STEPS, _NO_BRACKETS)
    return max(accumulate(array("b", steps)), default=0) > DEPTH_MAX


def _without_strings(body: bytes) -> bytes:
    """What stands outside of quotes: every second part, once escaped characters are gone."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(body.split(b'"')[::2])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("an object has a key twice")
    return found


def _constant(name: str) -> NoReturn:
    raise Unreadable(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
