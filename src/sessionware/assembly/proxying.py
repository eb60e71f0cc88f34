"""The only place that assembles the proxy: settings into pools, their terms, and the middleware in front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.admin.door import of_own_pages
from sessionware.admin.upstreams import UpstreamPages
from sessionware.asgi.messages import App
from sessionware.assembly.api_at import session_api
from sessionware.assembly.at_the_door import authorities_of, door_of, hosts_of
from sessionware.assembly.installation import Sessionware
from sessionware.assembly.middleware import SessionMiddleware
from sessionware.config.load import Loaded, load
from sessionware.config.proxy_settings import ProxySettings
from sessionware.config.settings import Settings
from sessionware.core.store import Store
from sessionware.errors import ConfigError
from sessionware.proxy.app import ProxyApp
from sessionware.proxy.headers import Disclosure, header_names, shows_credentials
from sessionware.proxy.requesting import PoolTerms
from sessionware.proxy.upstreams import SOURCE, Pool, pools_of
from sessionware.proxy.wire import Deadlines

_NEVER_S: Final = 10 * 365 * 86_400.0  # STREAM_IDLE_TIMEOUT=off


def proxy(
    *, environ: Mapping[str, str] | None = None, store: Store | str | None = None, **given: Any
) -> SessionMiddleware:
    """The proxy that these settings describe, as an app to be served; `store` is a URL or ready. Raises ConfigError."""
    keywords = {**given, "store": store} if isinstance(store, str) else given
    loaded = load(keywords=keywords, environ=environ, for_proxy=True)
    return assembled(loaded, store=None if isinstance(store, str) else store).front


class Assembled(Struct, frozen=True):
    """The proxy at rest: the middleware in front, and the app behind it that knows the upstreams.

    `administration` serves what lies under `/upstreams`; `sessionware proxy` decides where it can be reached.
    """

    front: SessionMiddleware
    app: ProxyApp
    administration: App | None = None


def assembled(loaded: Loaded, *, store: Store | None = None, api: str | None = None) -> Assembled:
    """The proxy that these settings describe; `api` as in `SessionMiddleware`. Raises ConfigError."""
    if loaded.proxy is None:
        raise ConfigError("the settings were read without those of the proxy")
    pools = pools_of(loaded.proxy, source=loaded.sources.get("upstreams", SOURCE))
    door = door_of(loaded.settings, loaded.proxy, pools)
    app = ProxyApp(
        pools,
        {pool.name: _terms(loaded.settings, loaded.proxy, pool) for pool in pools},
        door=door,
        authorities=authorities_of(loaded.settings, loaded.proxy, pools),
        runtime=lambda: None if sessionware.at_work is None else sessionware.at_work.runtime,
    )
    settings = replace(
        loaded.settings,
        limits=(*loaded.settings.limits, *loaded.proxy.limits),
        allowed_hosts=hosts_of(loaded.settings),
    )
    sessionware = Sessionware(settings, store=store, observers=[app.closer])
    middleware = SessionMiddleware(app, sessionware, api=api)
    middleware.in_front_of(app.entrance)
    administration = of_own_pages(session_api(sessionware, own=UpstreamPages(app).paths()), door.pages)
    return Assembled(middleware, app, administration)


def authorizations_of(proxy: ProxySettings, pools: Iterable[Pool]) -> dict[str, bytes | None]:
    """What the upstreams of each pool are sent in place of a client's own credential."""
    found = {pool.name: proxy.authorization_of(pool.name) for pool in pools}
    return {name: None if value is None else value.encode() for name, value in found.items()}


def _terms(settings: Settings, proxy: ProxySettings, pool: Pool) -> PoolTerms:
    authorization = proxy.authorization_of(pool.name)
    cookies = {settings.cookie_name(is_secure=is_secure) for is_secure in (False, True)} - {None}
    return PoolTerms(
        disclosure=Disclosure(
            own_names=header_names(settings.session_header, settings.user_header),
            cookie_names=frozenset(cookie.encode() for cookie in cookies if cookie),
            shows_credentials=shows_credentials(proxy.forwarding_of(pool.name), verifies=settings.proves_users),
            authorization=None if authorization is None else authorization.encode(),
        ),
        deadlines=Deadlines(
            connect=proxy.upstream_connect_timeout / 1000,
            head=proxy.timeout_of(pool.name) / 1000,
            idle=proxy.stream_idle_timeout / 1000 or _NEVER_S,
        ),
        max_links=settings.max_links,
        revives=proxy.on_upstream_lost == "reinitialize",
        selection=proxy.pool(pool.name).selection or proxy.upstream_selection,
    )
