"""The only place that knows which settings of the proxy cannot work together, and which hardly as they were meant."""

from __future__ import annotations

from collections.abc import Iterator

from sessionware.config.case import Case
from sessionware.config.kinds import show_duration
from sessionware.config.proxy_settings import DRAIN_MAX, FIRST_BYTE_MIN, ProxySettings
from sessionware.config.shapes import is_loopback
from sessionware.core.limit_grammar import parse_limits
from sessionware.errors import ConfigError


def proxy_clashes(case: Case) -> Iterator[str]:
    """One sentence for each, with the way out; none for the library."""
    if case.proxy is None:
        return
    yield from _upstreams(case, case.proxy)
    yield from _audience(case)
    yield from _limits(case, case.proxy)
    yield from _admin(case, case.proxy)


def proxy_doubts(case: Case) -> Iterator[str]:
    """One sentence for each; none for the library."""
    if case.proxy is None:
        return
    yield from _drain(case, case.proxy)
    yield from _first_byte(case, case.proxy)
    yield from _open_door(case)
    yield from _passed_through(case, case.proxy)
    yield from _strangers(case)
    yield from _unknown_issuer(case)
    yield from _closed_pools(case, case.proxy)
    yield from _idle_choices(case.proxy)


def _upstreams(case: Case, proxy: ProxySettings) -> Iterator[str]:
    if not proxy.upstreams and not any(pool.upstreams for pool in proxy.pools):
        yield (
            f"{case.named('upstreams')} is unset, so there is nothing to forward to: write for example "
            "sessionware proxy --upstream http://127.0.0.1:9001/mcp"
        )


def _audience(case: Case) -> Iterator[str]:
    """A token that was issued for another service must not open ours: the proxy refuses what the library warns of."""
    settings = case.settings
    if settings.audience or not settings.verifies_tokens:
        return
    if settings.describes_issuer or not all(issuer.audience for issuer in settings.issuers):
        yield (
            "SESSIONWARE_JWT_AUDIENCE and SESSIONWARE_PUBLIC_URL are unset: the proxy would accept tokens that were "
            "issued for another service; set PUBLIC_URL to the URL that clients reach us by"
        )


def _limits(case: Case, proxy: ProxySettings) -> Iterator[str]:
    """Limits of pools stand beside all others: a name must mean one thing."""
    if not proxy.limits:
        return
    texts = [limit.text for limit in (*case.settings.limits, *proxy.limits)]
    try:
        parse_limits(texts, source=case.named("pools"))
    except ConfigError as error:
        yield str(error)


def _admin(case: Case, proxy: ProxySettings) -> Iterator[str]:
    settings = case.settings
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.port and proxy.admin_bind == f"{host}:{settings.port}":
        yield f"{case.named('admin_bind')}: {proxy.admin_bind} is where the proxy itself listens: choose another port"


def _drain(case: Case, proxy: ProxySettings) -> Iterator[str]:
    total = proxy.drain_delay + proxy.drain_timeout
    if total >= DRAIN_MAX:
        yield (
            f"{case.named('drain_delay')} and {case.named('drain_timeout')} are {show_duration(total)} s together: "
            f"Kubernetes kills after {show_duration(DRAIN_MAX)} s, unless terminationGracePeriodSeconds is raised"
        )


def _first_byte(case: Case, proxy: ProxySettings) -> Iterator[str]:
    if proxy.upstream_timeout < FIRST_BYTE_MIN:
        yield (
            f"{case.named('upstream_timeout')} {show_duration(proxy.upstream_timeout)} is short: MCP servers may take "
            "15 s and more until the head of their answer, and a tool call that is cut off is not repeated"
        )


def _open_door(case: Case) -> Iterator[str]:
    settings = case.settings
    if not settings.proves_users and not is_loopback(settings.host):
        yield (
            f"{case.named('host')} {settings.host} is public and no credential is checked: whoever reaches it may call "
            "every tool (JWT_ISSUER, API_KEYS_FILE)"
        )


def _unknown_issuer(case: Case) -> Iterator[str]:
    """RFC 9728: only an absolute URL of ours can lead a client to where it gets a token."""
    settings = case.settings
    if settings.verifies_tokens and settings.public_url is None and not is_loopback(settings.host):
        yield "SESSIONWARE_PUBLIC_URL is unset: clients are not told where tokens are issued (a 401 says only Bearer)"


def _closed_pools(case: Case, proxy: ProxySettings) -> Iterator[str]:
    for pool in proxy.pools:
        if pool.required_groups and not case.settings.proves_users:
            yield (
                f"[pools.{pool.name}] required_groups asks for an identity, and no credential is verified here: nobody "
                "gets in"
            )


def _idle_choices(proxy: ProxySettings) -> Iterator[str]:
    for pool in proxy.pools:
        if pool.kind == "http" and (pool.include or pool.exclude):
            yield f"[pools.{pool.name}] tools does nothing: plain HTTP servers (kind http) have no tools"


def _strangers(case: Case) -> Iterator[str]:
    """Credentials that are checked where they come, and not asked for: clients never begin to log in."""
    settings = case.settings
    if settings.verifies_tokens and settings.anonymous != "off" and not settings.required_groups:
        yield (
            f"{case.named('anonymous')} is {settings.anonymous}: whoever sends no token is let in all the same, and no "
            "client is asked to log in; set ANONYMOUS=off to require one"
        )


def _passed_through(case: Case, proxy: ProxySettings) -> Iterator[str]:
    if proxy.forward_authorization == "auto" and not case.settings.proves_users:
        yield (
            "FORWARD_AUTHORIZATION is auto and nothing here verifies credentials: clients' Authorization headers are "
            "passed through to the upstreams; write strip or forward to say what is meant"
        )
