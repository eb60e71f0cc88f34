"""The only place where the API learns who is calling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sessionware.asgi.cross_site import is_cross_site
from sessionware.asgi.engine import Engine
from sessionware.asgi.messages import Scope
from sessionware.asgi.reading import read
from sessionware.core.ids import MintedId, SessionName
from sessionware.credentials.presented import Place
from sessionware.credentials.resolved import Kind, Target
from sessionware.errors import CrossSite
from sessionware.service import Actor


class CallerOf(Protocol):
    """Says who is calling, and which session the request presents.

    Raises the errors of bad credentials. `is_admin` is decided by the API, from the identity's scopes.
    """

    async def __call__(self, scope: Scope, /) -> Actor: ...


def caller_of(engine: Callable[[], Engine]) -> CallerOf:
    """The callers of a running installation, resolved as the middleware does it; nothing is loaded or touched."""

    async def ask(scope: Scope, /) -> Actor:
        parts = engine()
        seen = read(scope, parts.options.names)
        resolved = await parts.resolver.resolve(seen.presented, parts.runtime.now())
        target = resolved.target
        if target is not None and target.place is Place.COOKIE and is_cross_site(scope, parts.options):
            raise CrossSite("Cross-site request refused")
        return Actor(
            identity=resolved.identity,
            presented=_presented(target),
            session_token=seen.presented.one_session_token,
            client=parts.resolver.client(seen.presented),
        )

    return ask


def _presented(target: Target | None) -> MintedId | SessionName | None:
    """A derived session was not presented: the identity selects it."""
    if target is None or target.kind is Kind.DERIVED:
        return None
    return MintedId(target.text) if target.kind is Kind.MINTED else SessionName(target.text)
