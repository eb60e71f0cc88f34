"""The only place where a test may stand between an app and its settings: another clock, a fake issuer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from msgspec import Struct

from sessionware.config.settings import Settings
from sessionware.core.store import Store


class Overrides(Struct, frozen=True):
    """What an installation that starts now uses instead. `settings` gets the ones that the app was made with."""

    settings: Callable[[Settings], Settings]
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
