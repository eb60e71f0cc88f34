"""The only place that reads `X-Sessionware-Spend`: what an answer says it took from the quotas of whoever asked."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Final

from sessionware.asgi.messages import Message, Send
from sessionware.core.ledger import CAP

SPEND_HEADER: Final = b"x-sessionware-spend"
SPEND_HEADER_LENGTH: Final = len(SPEND_HEADER)
AMOUNTS_MAX: Final = 16
_AMOUNT: Final = re.compile(r"\s*([a-z_]{1,64})\s*=\s*([0-9]{1,10})\s*", re.ASCII)

log: Final = logging.getLogger("sessionware")


def hiding_spend(send: Send) -> Send:
    """The same `send` without the header, for answers that are charged to nobody: it is no client's business."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != SPEND_HEADER]
            message = {**message, "headers": kept}
        await send(message)

    return sending


def read_spend(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, int]:
    """The amounts by resource: `tokens=532, compute_seconds=2`. What cannot be read is said and left out."""
    amounts: dict[str, int] = {}
    for name, value in headers:
        if name.lower() != SPEND_HEADER:
            continue
        for part in value.decode("latin-1").split(",")[:AMOUNTS_MAX]:
            found = _AMOUNT.fullmatch(part)
            if found is None or int(found[2]) > CAP:
                log.warning("X-Sessionware-Spend: %.80r is no amount, as `tokens=532`", part)
            elif int(found[2]):
                amounts[found[1]] = min(amounts.get(found[1], 0) + int(found[2]), CAP)
    return amounts
