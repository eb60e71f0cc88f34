"""The only place that finds an issuer's keys from its name alone (OpenID Connect Discovery 1.0, RFC 8414)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sessionware.credentials.fetching import Fetch, FetchFailed, is_fetchable, is_loopback


def documents(issuer: str) -> tuple[str, str]:
    """Where the issuer's metadata may stand, the likelier place first.

    OpenID Connect appends its well-known path to the issuer, RFC 8414 3.1 puts its own in front of the path.
    """
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    return (
        urlunsplit(parts._replace(path=f"{path}/.well-known/openid-configuration", query="", fragment="")),
        urlunsplit(parts._replace(path=f"/.well-known/oauth-authorization-server{path}", query="", fragment="")),
    )


async def find_keys_url(issuer: str, fetch: Fetch) -> str:
    """The `jwks_uri` of the issuer's own metadata. Raises FetchFailed, naming what each place answered."""
    troubles = []
    for url in documents(issuer):
        try:
            return _keys_url(await fetch(url), issuer, url)
        except FetchFailed as trouble:
            troubles.append(str(trouble))
    raise FetchFailed("; ".join(troubles))


def _keys_url(document: Any, issuer: str, url: str) -> str:
    found = document if isinstance(document, dict) else {}
    if found.get("issuer") != issuer:  # RFC 8414 3.3: identical, or the document must not be used
        raise FetchFailed(f"{url} speaks for issuer {found.get('issuer')!r}, expected {issuer!r}")
    keys_url = found.get("jwks_uri")
    if not isinstance(keys_url, str) or not is_fetchable(keys_url):
        raise FetchFailed(f"{url} names no jwks_uri that may be fetched: {keys_url!r}")
    if is_loopback(keys_url) and not is_loopback(issuer):
        raise FetchFailed(f"{url} points to this very host: {keys_url!r}")
    return keys_url
