"""The only place where a test may stand between an app and its settings: another store, an issuer beside its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from typing import Final

from msgspec import Struct

from sessionware.config.settings import Settings
from sessionware.core.store import Clock, Store
from sessionware.credentials.sources import Sources


class Overrides(Struct, frozen=True):
    """What an installation that starts now is given.

    `sources` gets the settings, what they trust, and the clock that holds; it answers what is trusted meanwhile.
    `started` closes at its end whatever has started under these, so that nothing of them outlives the test.
    """

    sources: Callable[[Settings, Sources, Clock], Sources]
    started: AsyncExitStack
    store: Store | None = None


_OVERRIDES: Final[ContextVar[Overrides | None]] = ContextVar("sessionware-overrides", default=None)


def overrides() -> Overrides | None:
    return _OVERRIDES.get()


@contextmanager
def overriding(changed: Overrides) -> Iterator[None]:
    """While in the block, installations that start in this context use these."""
    token = _OVERRIDES.set(changed)
    try:
        yield
    finally:
        _OVERRIDES.reset(token)
