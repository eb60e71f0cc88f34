"""The only place that keeps a session's conversation: the newest messages, each with the instant it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sessionware.core.ids import SessionKey
from sessionware.core.payload import LOG_ITEM_MAX, unpack
from sessionware.core.store import Log
from sessionware.core.times import rfc3339
from sessionware.errors import InvalidValue
from sessionware.service.packing import packed
from sessionware.service.refusals import shown
from sessionware.service.runtime import Runtime

TIMESTAMP: Final = "timestamp"


async def append(runtime: Runtime, key: SessionKey, message: Mapping[str, Any]) -> dict[str, Any]:
    """Add one message; answers it with its `timestamp`, which is always ours.

    The oldest beyond MAX_CONTEXT are dropped. Raises SessionNotFound, PayloadTooLarge, InvalidValue for what
    cannot be kept, StoreUnavailable.
    """
    now = runtime.now()
    kept = {**message, TIMESTAMP: rfc3339(now)}
    item = packed(kept, what="message", at_most=LOG_ITEM_MAX)
    await runtime.store.append(key, Log.CONTEXT, item, keep=runtime.terms.max_context, now=now)
    runtime.health.said(key, now=now)
    return kept


async def last(runtime: Runtime, key: SessionKey, count: int | None = None) -> list[dict[str, Any]]:
    """The newest `count` messages, oldest first; all that are kept without a count. Raises SessionNotFound."""
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
        raise InvalidValue(f"last_n must be 0 or more, got {shown(count)}")
    most = runtime.terms.max_context
    wanted = most if count is None else min(count, most)
    return [unpack(item) for item in await runtime.store.tail(key, Log.CONTEXT, wanted, now=runtime.now())]
