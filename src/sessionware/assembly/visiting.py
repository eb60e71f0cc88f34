"""The only place that assembles an installation for a visit: a command's, to the store that others serve."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from msgspec.structs import replace

from sessionware.assembly.installation import Sessionware
from sessionware.config.proxy_settings import ProxySettings
from sessionware.config.settings import Settings
from sessionware.errors import ConfigError
from sessionware.proxy.closing import UpstreamCloser
from sessionware.proxy.fleet import Fleet
from sessionware.proxy.upstreams import pools_of
from sessionware.service.sessions import Sessions
from sessionware.stores.open import open_store
from sessionware.stores.sqlite import SqliteStore

PATIENCE_MS: Final = 10_000  # a person waits longer for a busy store than a request does


@asynccontextmanager
async def visiting(settings: Settings, proxy: ProxySettings | None = None, *, source: str) -> AsyncIterator[Sessions]:
    """The sessions of the store in these settings, which the user has named in `source`.

    What ends meanwhile ends upstream, too, as far as `proxy` tells the upstreams; whoever serves the store tells its
    own observers within a minute or two. Raises ConfigError for a store that cannot be visited, StoreUnavailable.
    """
    patient = replace(settings, store_timeout=max(settings.store_timeout, PATIENCE_MS))
    _check_store(patient, source)
    fleet = Fleet(() if proxy is None else pools_of(proxy))
    proofs = {} if proxy is None else {name: proxy.authorization_of(name) for name in fleet.pools}
    closer = UpstreamCloser(fleet, {name: None if proof is None else proof.encode() for name, proof in proofs.items()})
    try:
        async with Sessionware(patient, observers=[closer], is_guest=True) as sessionware:
            yield sessionware.sessions
    finally:
        await fleet.aclose()


def _check_store(settings: Settings, source: str) -> None:
    """A visit founds nothing: what is in nobody's reach, or not there, is said instead."""
    if settings.store.lower().startswith("memory:"):
        raise ConfigError(
            f"{source}: {settings.store} lives inside the process that serves it, and nobody else sees it: name a "
            "shared store (--store sqlite:///sessionware.db, redis://…), or ask the running server: GET /sessions"
        )
    store = open_store(settings.store, keys=settings.secret_keys, source=source)
    if isinstance(store, SqliteStore) and not store.path.exists():
        raise ConfigError(f"{source}: {settings.store} is not there: no session was ever kept in {store.path}")
