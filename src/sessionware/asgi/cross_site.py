"""The only place that refuses what another site's page sent in a browser's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from sessionware.asgi.options import SAFE_METHODS, Options
from sessionware.asgi.reading import read

_OWN_SITE: Final = frozenset({b"same-origin", b"same-site", b"none"})


def is_cross_site(scope: Mapping[str, Any], options: Options) -> bool:
    """Whether an unsafe request, or a handshake, with a cookie session was sent by another site's page.

    A browser says so: by Sec-Fetch-Site, or by an Origin that is neither ours nor allowed. With neither header it
    is no browser, and cookies that no browser sends are no one's trap.
    """
    if not options.csrf or scope.get("method") in SAFE_METHODS:  # a handshake has no method, and no CORS either
        return False
    seen = read(scope, options.names)
    if seen.origin:
        return not _is_allowed(seen.origin.decode("latin-1"), seen.presented.host, options)
    return bool(seen.fetch_site) and seen.fetch_site.lower() not in _OWN_SITE


def _is_allowed(origin: str, host: str, options: Options) -> bool:
    if origin in options.allowed_origins:
        return True
    if options.public_url and origin == _origin_of(options.public_url):
        return True
    return bool(host) and _host_of(origin) == host


def _host_of(origin: str) -> str:
    """The host of an origin; empty for what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # an open bracket
        return ""


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
