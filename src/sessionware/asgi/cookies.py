"""The only place that writes the session cookie, and refuses what another site sent in a browser's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from sessionware.asgi.options import SAFE_METHODS, CookieOptions, Options
from sessionware.asgi.reading import is_https, read

_OWN_SITE: Final = frozenset({b"same-origin", b"same-site", b"none"})


def set_cookie(options: Options, text: str, scope: Mapping[str, Any]) -> bytes:
    """The Set-Cookie value that hands the id out; empty `text` takes it back."""
    return _written(options.cookie, options.names.cookie(scope), text, is_https=is_https(scope))


def _written(options: CookieOptions, name: str, text: str, *, is_https: bool) -> bytes:
    secure = is_https if options.secure is None else options.secure
    parts = [f"{name}={text}", f"Path={options.path}"]
    if not text:
        parts.append("Max-Age=0")
    elif options.max_age_s is not None:
        parts.append(f"Max-Age={options.max_age_s}")
    if options.domain:
        parts.append(f"Domain={options.domain}")
    parts.append("HttpOnly")
    if secure:
        parts.append("Secure")
    parts.append(f"SameSite={options.same_site.capitalize()}")
    return "; ".join(parts).encode("latin-1")


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
    return bool(host) and urlsplit(origin).netloc == host


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
