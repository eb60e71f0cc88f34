"""The only place that says on whose behalf the service acts."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from sessionware.core.identity import Identity
from sessionware.core.ids import MintedId, SessionName


class Actor(Struct, frozen=True, kw_only=True):
    """Who asks the service, and what came with the request.

    `presented` is the session id that the request itself presents: whoever holds it owns what it proves.
    `client` is the caller's address group. An administrator may act on every session and is refused no start.
    """

    identity: Identity | None = None
    presented: MintedId | SessionName | None = None
    session_token: str | None = None
    client: str = ""
    is_admin: bool = False

    def __repr__(self) -> str:
        user = "nobody" if self.identity is None else self.identity.user_id
        return "<the application>" if self.is_app else f"<actor {user!r}{', administrator' if self.is_admin else ''}>"

    @property
    def is_app(self) -> bool:
        """Whether it is the application itself: trusted, and nobody in particular."""
        return self.is_admin and self.identity is None


APP: Final = Actor(is_admin=True)
NOBODY: Final = Actor()
