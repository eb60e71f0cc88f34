"""The only place that assembles an installation for a visit: a command's, to the store that others serve."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Final

from msgspec.structs import replace

from sessionware.assembly.installation import Sessionware
from sessionware.config.proxy_settings import ProxySettings
from sessionware.config.settings import Settings
from sessionware.core.store import Store
from sessionware.errors import ConfigError
from sessionware.proxy.upstreams import pools_of
from sessionware.service.sessions import Sessions
from sessionware.stores.open import open_store
from sessionware.stores.sqlite import SqliteStore
from sessionware.telemetry import Observer

PATIENCE_MS: Final = 10_000  # a person waits longer for a busy store than a request does


@asynccontextmanager
async def visiting(
    settings: Settings, proxy: ProxySettings | None = None, *, source: str, salt: bytes | None = None
) -> AsyncIterator[Sessions]:
    """The sessions of the store in these settings, which the user has named in `source`.

    What ends meanwhile ends upstream, too, as far as `proxy` tells the upstreams; whoever serves the store tells its
    own observers within a minute or two. A store that is not there yet is made with `salt`, or not at all. Raises
    ConfigError for a store that cannot be visited, StoreUnavailable.
    """
    patient = replace(settings, store_timeout=max(settings.store_timeout, PATIENCE_MS))
    async with _closers(proxy) as closers:
        store = _opened(patient, source, salt)
        async with Sessionware(patient, store=store, observers=closers, is_guest=True) as sessionware:
            yield sessionware.sessions


@asynccontextmanager
async def _closers(proxy: ProxySettings | None) -> AsyncIterator[list[Observer]]:
    """Whoever tells the upstreams what ends. Where there are none, nothing of the proxy need be installed."""
    pools = () if proxy is None else pools_of(proxy)
    if proxy is None or not pools:
        yield []
        return
    if find_spec("httptools") is None:
        raise ConfigError(
            "what ends must end at UPSTREAMS too, which needs httptools: pip install 'sessionware[proxy]'"
        )
    from sessionware.assembly.proxying import authorizations_of  # noqa: PLC0415  # an extra
    from sessionware.proxy.closing import UpstreamCloser  # noqa: PLC0415  # the same
    from sessionware.proxy.fleet import Fleet  # noqa: PLC0415  # the same

    fleet = Fleet(pools)
    try:
        yield [UpstreamCloser(fleet, authorizations_of(proxy, pools))]
    finally:
        await fleet.aclose()


def _opened(settings: Settings, source: str, salt: bytes | None) -> Store:
    """A visit founds nothing by itself: what is in nobody's reach, or not there, is said instead."""
    if settings.store.lower().startswith("memory:"):
        raise ConfigError(
            f"{source}: {settings.store} lives inside the process that serves it, and nobody else sees it: name a "
            "shared store (--store sqlite:///sessionware.db, redis://…), or ask the running server: GET /sessions"
        )
    store = open_store(
        settings.store, keys=settings.secret_keys, timeout_ms=settings.store_timeout, source=source, salt=salt,
        partition=settings.partition,
    )  # fmt: skip
    if salt is None and isinstance(store, SqliteStore) and not store.path.exists():
        raise ConfigError(f"{source}: {settings.store} is not there: no session was ever kept in {store.path}")
    return store
