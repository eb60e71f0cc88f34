"""The only place that says what the edge needs to know of the settings."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from sessionware.asgi.limit_headers import Style
from sessionware.asgi.reading import Names

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

OnMissing = Literal["auto", "create", "lazy", "reject", "anonymous"]
OnUnknown = Literal["auto", "reject", "create"]


class CookieOptions(Struct, frozen=True, kw_only=True):
    """How the session cookie is set. `secure` None: as the request's scheme is."""

    secure: bool | None = None
    same_site: Literal["lax", "strict", "none"] = "lax"
    domain: str = ""
    path: str = "/"
    max_age_s: int | None = None


class Options(Struct, frozen=True, kw_only=True):
    """The settings that only the edge looks at."""

    names: Names = Names()
    has_cookie: bool = False
    body_field: str = ""
    exempt_paths: frozenset[str] = frozenset()
    on_missing: OnMissing = "auto"
    on_unknown: OnUnknown = "auto"
    ratelimit_headers: Style = "draft"
    cookie: CookieOptions = CookieOptions()
    csrf: bool = True
    public_url: str = ""
    allowed_origins: frozenset[str] = frozenset()
    allowed_hosts: frozenset[str] = frozenset()
    scope_session: bool = False
