"""What the edge needs to know of the settings, and everything that it works with."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from sessionware.asgi.ends import Ends
from sessionware.asgi.limit_headers import Style
from sessionware.asgi.reading import Names
from sessionware.credentials.resolver import Resolver
from sessionware.gate import Gate
from sessionware.service.runtime import Runtime

OnMissing = Literal["auto", "create", "lazy", "reject", "anonymous"]
OnUnknown = Literal["auto", "reject", "create"]


class CookieOptions(Struct, frozen=True, kw_only=True):
    """How the session cookie is set. `name` empty: there is none. `secure` None: as the request's scheme is."""

    name: str = ""
    secure: bool | None = None
    same_site: Literal["lax", "strict", "none"] = "lax"
    domain: str = ""
    path: str = "/"
    max_age_s: int | None = None


class Options(Struct, frozen=True, kw_only=True):
    """The settings that only the edge looks at."""

    names: Names = Names()
    exempt_paths: frozenset[str] = frozenset()
    on_missing: OnMissing = "auto"
    on_unknown: OnUnknown = "auto"
    ratelimit_headers: Style = "draft"
    cookie: CookieOptions = CookieOptions()
    csrf: bool = True
    public_url: str = ""
    allowed_origins: frozenset[str] = frozenset()
    scope_session: bool = False


class Engine(Struct, frozen=True, kw_only=True):
    """One running installation, as the edge sees it."""

    runtime: Runtime
    gate: Gate
    resolver: Resolver
    options: Options
    ends: Ends
