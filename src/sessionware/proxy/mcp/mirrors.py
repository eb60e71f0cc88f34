"""The only place that compares the headers which mirror a modern body with that body.

Whoever routes, limits or refuses by `Mcp-Method` and `Mcp-Name` while the server acts on the body would be
talked round by a client that writes two different things.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from sessionware.proxy.mcp.messages import Body, Kind, Message

HEADER_MISMATCH: Final = -32020
_SENTINEL: Final = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)


def header_text(value: str | None) -> str | None:
    """What a header means: `=?base64?…?=` is decoded. None for one that is missing or cannot be decoded."""
    found = _SENTINEL.fullmatch(value) if value is not None else None
    if found is None:
        return value
    try:
        decoded = base64.b64decode(found[1], validate=True)
        # Only the one way to write it: a second spelling would be another text to a reader that is less strict.
        return decoded.decode("utf-8") if base64.b64encode(decoded).decode() == found[1] else None
    except (binascii.Error, ValueError):
        return None


def mismatch(body: Body, *, method: str | None, name: str | None) -> str | None:
    """What the headers say otherwise than the body, as a sentence; None when they agree.

    `method` and `name` are the raw values of `Mcp-Method` and `Mcp-Name`. A response has no method to repeat.
    """
    if body.is_batch:
        return "a batch has no headers that could mirror it"
    message = body.messages[0]
    if message.kind is Kind.RESPONSE:
        return None if method is None else "Mcp-Method names a method, and the body has none"
    if header_text(method) != message.method:
        return "Mcp-Method does not match the method of the body"
    return _name_mismatch(message, name)


def _name_mismatch(message: Message, name: str | None) -> str | None:
    if message.target is None:
        return None  # nothing that we would judge by; the server knows what it wants there
    return None if header_text(name) == message.target else "Mcp-Name does not match the params of the body"
