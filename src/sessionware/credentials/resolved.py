"""The only place that says what resolving a request gives: who is asking, and for which session."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from sessionware.core.identity import DEFAULT_SESSION, Identity
from sessionware.core.ids import SessionKey
from sessionware.credentials.presented import Place


class Kind(StrEnum):
    """How a session came by its id: we made it, its caller chose it, or the caller's identity selects it."""

    MINTED = "minted"
    NAMED = "named"
    DERIVED = "derived"


class Target(Struct, frozen=True):
    """Which session is meant: where it lies, and what its holder calls it. `text` of a minted id is a secret."""

    key: SessionKey
    tag: str
    text: str
    kind: Kind
    place: Place

    @property
    def is_default(self) -> bool:
        """Whether it is the one session of somebody who names none."""
        return self.kind is Kind.DERIVED and self.text == DEFAULT_SESSION.text


class Resolved(Struct, frozen=True):
    """Who is asking and for what. No `identity`: nobody is proved, the record's own proof decides.

    No `target`: no session is named. `link` is the legacy MCP session beside or instead of it (its key is a
    link's key). `until`: how long the same headers mean the same; 0 where nobody can tell. `key_id` names the static
    key that proved the identity.
    """

    identity: Identity | None = None
    target: Target | None = None
    link: Target | None = None
    until: int = 0
    key_id: str | None = None


class Proven:
    """An identity that was proved, what it selects by itself, and what its latest request meant.

    Most callers ask for the same session again and again: remembering one saves two hashes a request.
    """

    __slots__ = ("derived", "identity", "ids", "latest")

    def __init__(self, identity: Identity, derived: Target, *, until: int = 0, key_id: str | None = None) -> None:
        self.identity = identity
        self.derived = Resolved(identity, derived, None, until, key_id)
        self.ids: tuple[tuple[Place, str], ...] | None = None
        self.latest = self.derived

    def remember(self, ids: tuple[tuple[Place, str], ...], resolved: Resolved) -> Resolved:
        self.ids, self.latest = ids, resolved
        return resolved
