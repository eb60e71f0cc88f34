"""The only place that reads a request's body: a bounded look for SESSION_BODY_FIELD, and then it is there again."""

from __future__ import annotations

from typing import Final

import msgspec

from sessionware.asgi.messages import Message, Receive

LOOK_MAX: Final = 64 * 1024  # a larger body is not looked at
METHODS: Final = frozenset({"POST", "PUT", "PATCH"})


async def id_in_body(receive: Receive, field: str) -> tuple[str | None, Receive]:
    """The id in that field of a JSON object, None when there is none; and a `receive` that tells all of it again."""
    messages: list[Message] = []
    body = bytearray()
    while True:
        message = await receive()
        messages.append(message)
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body", False) or len(body) > LOOK_MAX:
            break
    again = iter(messages)

    async def replay() -> Message:
        for message in again:
            return message
        return await receive()

    return (_field(bytes(body), field) if len(body) <= LOOK_MAX else None), replay


def _field(body: bytes, field: str) -> str | None:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    value = found.get(field) if isinstance(found, dict) else None
    return value if isinstance(value, str) else None
