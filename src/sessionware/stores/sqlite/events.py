"""The only place that knows how an event lies in the table that all processes read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, assert_never

import msgspec

from sessionware.core.facts import (
    Event,
    Gap,
    Interrupted,
    OrgLimitsNow,
    OwnerRevocation,
    Revoked,
    SessionGone,
    TokenRevocation,
)
from sessionware.stores.codec import pack

EVENTS_KEEP_MS: Final = 600_000  # a watcher that sleeps longer hears a Gap

_gone = msgspec.msgpack.Decoder(SessionGone)
_token = msgspec.msgpack.Decoder(TokenRevocation)
_owner = msgspec.msgpack.Decoder(OwnerRevocation)
_org = msgspec.msgpack.Decoder(OrgLimitsNow)
_interrupted = msgspec.msgpack.Decoder(Interrupted)

_READERS: Final[dict[str, Callable[[bytes], Event]]] = {
    "gone": _gone.decode,
    "token": lambda body: Revoked(_token.decode(body)),
    "owner": lambda body: Revoked(_owner.decode(body)),
    "org": _org.decode,
    "interrupted": _interrupted.decode,
}


def pack_event(event: Event) -> tuple[str, bytes]:
    """The kind and the body of an event. A Gap is never written: it says that something was not read."""
    body: Any = event
    match event:
        case SessionGone():
            kind = "gone"
        case Revoked(revocation):
            kind = "token" if isinstance(revocation, TokenRevocation) else "owner"
            body = revocation
        case OrgLimitsNow():
            kind = "org"
        case Interrupted():
            kind = "interrupted"
        case Gap():
            raise ValueError("a Gap is not an event that happened")
        case _:
            assert_never(event)
    return kind, pack(body)


def unpack_event(kind: str, body: bytes) -> Event:
    return _READERS[kind](body)
