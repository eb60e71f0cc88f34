"""The only place that hands session ids out with a response, and takes a cookie back."""

from __future__ import annotations

from sessionware.asgi.limit_headers import Header
from sessionware.asgi.messages import Scope
from sessionware.asgi.options import Options
from sessionware.asgi.reading import is_https
from sessionware.asgi.request_session import RequestSession
from sessionware.asgi.visits import Visit
from sessionware.credentials.presented import Place

NOT_CACHED: Header = (b"cache-control", b"private, no-store")  # such a response is nobody else's


def handing_headers(options: Options, scope: Scope, visit: Visit, session: RequestSession) -> list[Header]:
    """What a response says about its session: a new id, an end, and that it depends on the cookie."""
    headers: list[Header] = []
    if session.hands_out and not session.is_over:
        headers = [NOT_CACHED, *id_headers(options, scope, session.id, place=visit.place)]
    elif session.is_over and visit.is_by_cookie:
        headers = [NOT_CACHED, (b"set-cookie", _set_cookie(options, "", scope))]
    if visit.is_by_cookie or (options.has_cookie and not session.is_stored and session.is_read):
        headers.append((b"vary", b"Cookie"))
    return headers


def id_headers(options: Options, scope: Scope, text: str, *, place: Place | None = None) -> list[Header]:
    """The id on the way on which it came; a new one in the cookie, if there are cookies: no script shall see it."""
    header = options.names.session_header
    if options.has_cookie and place is not Place.HEADER:
        return [(b"set-cookie", _set_cookie(options, text, scope))]
    return [(header, text.encode())] if header else []


def _set_cookie(options: Options, text: str, scope: Scope) -> bytes:
    """The Set-Cookie value that hands the id out; empty `text` takes it back."""
    cookie = options.cookie
    is_secure = is_https(scope) if cookie.secure is None else cookie.secure
    parts = [f"{options.names.cookie(scope)}={text}", f"Path={cookie.path}"]
    if not text:
        parts.append("Max-Age=0")
    elif cookie.max_age_s is not None:
        parts.append(f"Max-Age={cookie.max_age_s}")
    if cookie.domain:
        parts.append(f"Domain={cookie.domain}")
    parts.append("HttpOnly")
    if is_secure:
        parts.append("Secure")
    parts.append(f"SameSite={cookie.same_site.capitalize()}")
    return "; ".join(parts).encode("latin-1")
