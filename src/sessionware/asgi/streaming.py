"""The only place that says how long a stream or socket may outlive what it was opened with."""

from __future__ import annotations

from typing import Final

from sessionware.asgi.ends import Told
from sessionware.asgi.options import Engine
from sessionware.core.identity import Identity
from sessionware.core.ids import SessionKey
from sessionware.errors import InvalidToken, PayloadUnreadable, StoreUnavailable
from sessionware.service.actors import Actor
from sessionware.service.finding import vet

GRACE_MS: Final = 300_000  # a long call may finish; a revocation grants nothing


def close_at_expiry(engine: Engine, told: Told, identity: Identity | None) -> None:
    """Close when the token has expired and the grace is over. Nothing to do for what never expires."""
    if identity is None or identity.expires_at is None:
        return
    left_ms = identity.expires_at + GRACE_MS - engine.runtime.now()
    told.timer = engine.loop.call_later(max(left_ms, 0) / 1000, told.tell)


async def has_ended(engine: Engine, key: SessionKey | None, identity: Identity | None) -> bool:
    """Whether the session is no more, or the credential is refused, as far as the store can tell."""
    runtime = engine.runtime
    try:
        await vet(runtime, Actor(identity=identity))
        return key is not None and await runtime.store.get(key, now=runtime.now()) is None
    except InvalidToken:
        return True
    except (StoreUnavailable, PayloadUnreadable):
        return False
