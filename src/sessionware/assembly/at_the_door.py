"""The only place that says what the settings mean for who comes to the proxy, and what they may ask of a pool."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from sessionware.config.proxy_settings import ProxySettings
from sessionware.config.settings import Settings
from sessionware.config.shapes import is_loopback
from sessionware.proxy.entrance import Door
from sessionware.proxy.headers import shows_credentials
from sessionware.proxy.mcp.tools import choice_of
from sessionware.proxy.metadata import Authorities
from sessionware.proxy.pages import Pages, local_hosts, origin_of
from sessionware.proxy.pool_rules import PoolRules
from sessionware.proxy.upstreams import Pool


def door_of(settings: Settings, proxy: ProxySettings, pools: Iterable[Pool]) -> Door:
    """Which pages, bodies and calls come in."""
    return Door(
        max_body=proxy.max_body,
        is_result=proxy.mcp_limit_answer == "tool_result",
        pages=Pages(
            listed=frozenset(settings.allowed_origins),
            own=origin_of(settings.public_url),
            is_local=is_loopback(settings.host),
        ),
        rules={pool.name: _rules(proxy, pool.name) for pool in pools},
    )


def authorities_of(settings: Settings, proxy: ProxySettings, pools: Iterable[Pool]) -> Authorities:
    """Who issues the tokens that are believed here, as far as a client can go there."""
    named = [settings.jwt_issuer or "", *[each.issuer for each in settings.issuers]]
    return Authorities(
        public_url=settings.public_url,
        issuers=tuple(dict.fromkeys(each for each in named if urlsplit(each).scheme in {"http", "https"})),
        audience=settings.audience,
        forwarding=frozenset(
            pool.name
            for pool in pools
            if shows_credentials(proxy.forwarding_of(pool.name), verifies=settings.proves_users)
        ),
        is_local=is_loopback(settings.host),
    )


def hosts_of(settings: Settings) -> tuple[str, ...]:
    """The hosts that are ours: as listed, else of a proxy that only this machine can reach its own names (PX-05)."""
    if settings.allowed_hosts or not is_loopback(settings.host):
        return settings.allowed_hosts
    return local_hosts(settings.public_url)


def _rules(proxy: ProxySettings, name: str) -> PoolRules:
    pool = proxy.pool(name)
    return PoolRules(
        tools=choice_of(pool.include, pool.exclude),
        groups=frozenset(pool.required_groups),
        max_answer=proxy.max_answer,
    )
