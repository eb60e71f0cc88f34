"""The only place that finds out which session a person means by what a listing or a log has shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from sessionware.core.ids import HANDLE_PREFIX, REF_LENGTH, handle, is_minted, parse_handle
from sessionware.core.store import PAGE_MAX
from sessionware.errors import ConfigError, SessionNotFound
from sessionware.service import Snapshot
from sessionware.service.actors import APP, Actor
from sessionware.service.sessions import Sessions

PAGES_MAX: Final = 1_000  # a million sessions: a listing that never ends must not hold its caller
HANDLE_LENGTH: Final = len(HANDLE_PREFIX) + 34


async def meant(sessions: Sessions, text: str, by: Actor) -> str:
    """The handle of a session by its handle, its ref, or (of a user) its name.

    Raises SessionNotFound where no session lives under it, ConfigError for what can mean none, or several.
    """
    if text.startswith(HANDLE_PREFIX):
        return handle(parse_handle(text)) if len(text) == HANDLE_LENGTH else await _of_ref(sessions, text)
    if by.is_app and not is_minted(text):
        raise ConfigError(f"{text!r} is no handle (s-…); a name means something only beside its owner: say --user")
    return (await sessions.get(text, by=by)).handle


async def every(sessions: Sessions, by: Actor) -> AsyncIterator[Snapshot]:
    """The sessions of a user, or for the application all, oldest first."""
    cursor = ""
    for _ in range(PAGES_MAX):
        page = await sessions.list(by=by, everyone=by.is_app, cursor=cursor, limit=PAGE_MAX)
        for found in page.sessions:
            yield found
        cursor = page.cursor
        if not cursor:
            return


async def _of_ref(sessions: Sessions, ref: str) -> str:
    if len(ref) != REF_LENGTH:
        raise ConfigError(f"{ref!r} is neither a handle ({HANDLE_LENGTH} characters) nor a ref ({REF_LENGTH})")
    found = [each.handle async for each in every(sessions, APP) if each.ref == ref]
    if len(found) > 1:
        raise ConfigError(f"{ref} is the ref of {len(found)} sessions: say which handle: {', '.join(found)}")
    if not found:
        raise SessionNotFound("Session not found")
    return found[0]
