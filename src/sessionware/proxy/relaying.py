"""The only place that passes an upstream's answer on: part by part as it comes, and ended well where it breaks."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from sessionware.asgi.messages import Send
from sessionware.proxy.answer_headers import is_event_stream
from sessionware.proxy.asked import Asked
from sessionware.proxy.hop_by_hop import Header
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.sse import SseScanner, final_event
from sessionware.proxy.wire import BadAnswer, Response

INTERRUPTED: Final = 409
log: Final = logging.getLogger("sessionware")


async def relay(response: Response, headers: list[Header], asked: Asked, send: Send) -> None:
    """Send the head and the body. Raises BadAnswer where the body breaks and nothing can end it well."""
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    scanner = SseScanner() if asked.era is not None and is_event_stream(headers) else None
    try:
        async for part in response:
            if scanner is not None:
                scanner.feed(part)
            is_last = response.is_read
            await send({"type": "http.response.body", "body": part, "more_body": not is_last})
            if is_last:
                return
    except asyncio.CancelledError:
        if scanner is not None and asked.is_interrupted:
            words = [final_event(scanner, INTERRUPTED, "Interrupted", request_id=each) for each in asked.request_ids]
            await send({"type": "http.response.body", "body": b"".join(words), "more_body": False})
        raise
    except BadAnswer as fault:
        log.warning("%s", fault)
        if scanner is None:
            raise  # the server cuts the connection, so that nobody takes the rest for the whole
        await send({"type": "http.response.body", "body": _last_words(scanner, asked), "more_body": False})
        return
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _last_words(scanner: SseScanner, asked: Asked) -> bytes:
    """An error for the request that waits; nothing where none does, or where the client can resume."""
    if asked.request_id is None or (asked.era is Era.LEGACY and scanner.has_ids):
        return b""
    return final_event(scanner, 502, "The upstream's answer was lost", request_id=asked.request_id)
