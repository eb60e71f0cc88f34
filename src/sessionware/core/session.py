"""The only place that says what a session is, when it is alive, and what is left of it when it ends."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from sessionware.core.ids import SessionKey
from sessionware.core.windows import NEVER

TOMBSTONE_MAX_MS: Final = 3_600_000  # long enough for a client to learn why; short enough to bound the store


class Proof(StrEnum):
    """What a caller must show to use a session: its id alone, or its owner's credential."""

    ID = "id"
    TOKEN = "token"


class EndReason(StrEnum):
    """Why a session is no more."""

    EXPIRED = "expired"
    ENDED = "ended"
    EVICTED = "evicted"
    REVOKED = "revoked"
    ROTATED = "rotated"
    UPSTREAM_LOST = "upstream_lost"


class Birth(Struct, frozen=True, array_like=True, gc=False):
    """What never changes while a session lives.

    `started_by` is the hash of the token that started it (revoking that token ends the session);
    `holds` are the level counters that were charged for it and are released when it ends.
    """

    key: SessionKey
    tag: str
    owner: bytes
    proof: Proof
    created_at: int
    name: str | None = None
    user_id: str | None = None
    issuer: str | None = None
    org_id: str | None = None
    groups: tuple[str, ...] = ()
    client: str = ""
    started_by: bytes = b""
    holds: tuple[bytes, ...] = ()


class Override(Struct, frozen=True, gc=False, array_like=True):
    """Another allowance for a named limit, until an instant."""

    allowance: int
    until: int = NEVER


class Link(Struct, frozen=True, array_like=True, gc=False):
    """One legacy MCP session inside our session: our id for it, and the upstream's.

    `handshake` is the client's initialize, kept for replay; it is a payload, encrypted at rest.
    """

    key: SessionKey
    session: SessionKey
    owner: bytes
    pool: str
    upstream: str
    upstream_id: str
    version: str
    created_at: int
    seen_at: int
    client: str = ""
    handshake: bytes = b""


# Sessions are values, never changed in place: 100,000 of them may share one empty dict.
_NO_LIMITS: Final[dict[str, Override]] = {}
_NO_BINDINGS: Final[dict[str, str]] = {}


class Session(Struct, frozen=True, gc=False):
    """The durable record of one client's conversation.

    `idle` 0 and `absolute_at` 0 mean: no such limit. `metadata` and `data` are packed maps; None means that
    they stayed in the store. `revision` moves on data, metadata, lifetime and limits only. `links` are filled
    in by `get` and in a session that has ended; an admission leaves them at home.
    """

    birth: Birth
    idle: int
    absolute_at: int
    expires_at: int
    seen_at: int
    hits: int = 0
    revision: int = 1
    metadata: bytes | None = b""
    data: bytes | None = b""
    limits: dict[str, Override] = field(default_factory=lambda: _NO_LIMITS)
    bindings: dict[str, str] = field(default_factory=lambda: _NO_BINDINGS)
    links: tuple[Link, ...] = ()

    @property
    def key(self) -> SessionKey:
        return self.birth.key

    @property
    def active_at(self) -> int:
        """When it was last active: a session that was handed to a user counts as made after it was last seen."""
        return max(self.seen_at, self.birth.created_at)

    def is_live(self, now: int) -> bool:
        return now < self.expires_at

    def without_payload(self) -> Session:
        """The same session with metadata and data left at home."""
        return replace(self, metadata=None, data=None, links=())

    def touched(self, now: int) -> Session:
        """The same session after one more request: its idle time begun anew. A lagging clock takes nothing back."""
        seen_at = now if now > self.seen_at else self.seen_at
        expires_at = deadline(seen_at, self.idle, self.absolute_at)
        return replace(self, seen_at=seen_at, expires_at=expires_at, hits=self.hits + 1)


class Ended(Struct, frozen=True, gc=False):
    """A session that is no more, handed to exactly one caller to tell its observers.

    Whoever holds it acknowledges the `receipt` through `record`; unacknowledged ones are handed out again by
    `reap`. `session.links` are what must be closed upstream.
    """

    session: Session
    reason: EndReason
    ended_at: int
    receipt: str = ""


def deadline(now: int, idle: int, absolute_at: int) -> int:
    """When a session that is active at `now` dies if nothing more happens."""
    idle_at = now + idle if idle else NEVER
    return absolute_at if absolute_at and absolute_at < idle_at else idle_at


def remaining(session: Session, now: int) -> int:
    """Milliseconds left; never more than the idle time, so that a clock set back cannot lengthen a life."""
    left = max(session.expires_at - now, 0)
    return min(left, session.idle) if session.idle else left


def is_idle_longer_than(session: Session, now: int, threshold: int) -> bool:
    """Whether nothing has touched the session for `threshold` milliseconds (the boundary itself counts)."""
    return now - session.seen_at >= threshold


def tombstone_ms(session: Session) -> int:
    """How long the reason of an end is kept for its owner."""
    return min(session.idle or TOMBSTONE_MAX_MS, TOMBSTONE_MAX_MS)
