"""The only place that says which settings the library has, of which type, and what holds when nobody says more.

Durations are whole milliseconds, sizes are bytes. Off is 0 for a number (as in `core`), None for a text, an
empty tuple for a list.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from msgspec import Struct

from sessionware.core.limit_grammar import parse_limit, parse_limits
from sessionware.core.limits import Limit
from sessionware.core.payload import DATA_MAX, METADATA_MAX

Preset = Literal["dev", "single", "cluster"]

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

MEMORY_SESSIONS: Final = 100_000  # what the memory store holds unless MAX_SESSIONS says otherwise
DEFAULT_COOKIE: Final = "on"  # SESSION_COOKIE=on: a cookie by the safest name that its attributes allow
SECRETS: Final = frozenset({"jwt_secret", "secret_keys", "upstream_authorization"})  # never shown, not even in part
SET: Final = "(set)"  # what stands where a secret is not shown
_PASSWORD_OPTION: Final = re.compile(r"([?&]sentinel_password=).*", re.DOTALL)
SERVER_IS_TRUSTED: Final = "server"  # TRUSTED_PROXIES=server: the ASGI server has looked behind the proxies
EXEMPT_PATHS: Final = (
    "/health", "/healthz", "/livez", "/ready", "/readyz", "/metrics",
    "/favicon.ico", "/robots.txt", "/docs", "/redoc", "/openapi.json",
)  # fmt: skip


class ClaimNames(Struct, frozen=True, kw_only=True):
    """Which claim of a token says what: tried in turn, each literally and then as a path (`realm_access.roles`)."""

    user: tuple[str, ...] = ("sub",)
    org: tuple[str, ...] = ("org",)
    groups: tuple[str, ...] = ("groups",)
    session: tuple[str, ...] = ("sid",)
    scope: tuple[str, ...] = ("scope",)
    limits: tuple[str, ...] = ()


class IssuerSettings(Struct, frozen=True, kw_only=True):
    """One `[[issuers]]` of the file. Without a key source its keys are found by OpenID discovery.

    Empty `audience`, `algorithms` and `types` mean what `Settings` says; `claims` stand on their own.
    """

    issuer: str
    audience: tuple[str, ...] = ()
    jwks_url: str | None = None
    public_key: str | None = None
    algorithms: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    claims: ClaimNames = ClaimNames()


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting, checked and typed. Made by `config.load`; by hand in tests. Its repr shows no secret."""

    preset: Preset | None = None
    strict: bool = False

    # The store
    store: str = "memory://"  # may hold a password: show it through `without_password`
    store_timeout: int = 250
    secret_keys: tuple[bytes, ...] = ()  # 32 bytes each; the first encrypts, all decrypt
    partition: Literal["owner", "org"] = "owner"
    on_store_down_sessions: Literal["closed", "anonymous"] = "closed"
    on_store_down_limits: Literal["local", "closed", "open"] = "local"
    workers_hint: int = 4

    # Lives of sessions
    session_ttl: int = 30 * MINUTE  # 0: never idle
    session_max_age: int = DAY  # 0: no absolute end
    session_max_ttl: int = DAY  # 0: a caller may ask for any
    cleanup_interval: int = MINUTE
    max_sessions_per_user: int = 5  # 0: no cap
    on_user_full: Literal["evict_oldest", "refuse"] = "evict_oldest"
    max_sessions_per_client: int = 1000  # 0: no cap
    max_sessions: int = MEMORY_SESSIONS  # 0: no cap, which `load` makes the default of every other store
    max_links: int = 100
    max_context: int = 1000  # messages
    max_data: int = DATA_MAX
    max_metadata: int = METADATA_MAX

    # How a session is presented
    on_missing: Literal["auto", "create", "lazy", "reject", "anonymous"] = "auto"
    on_unknown: Literal["auto", "reject", "create"] = "auto"
    anonymous: Literal["off", "minted", "named"] = "minted"
    session_header: str | None = "X-Session-ID"
    session_query: str | None = None
    session_body_field: str | None = None
    session_token: bool = False
    session_cookie: str | None = None  # DEFAULT_COOKIE or a name: ask `cookie_name`
    cookie_secure: Literal["auto", "on", "off"] = "auto"
    cookie_samesite: Literal["lax", "strict", "none"] = "lax"
    cookie_domain: str | None = None
    cookie_path: str = "/"
    cookie_max_age: int = 0  # 0: until the browser closes
    csrf: bool = True  # matters only with a cookie
    scope_session: bool = False

    # Who asks
    jwt_secret: str | None = None
    jwt_public_key: str | None = None  # PEM
    jwt_jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: tuple[str, ...] = ()  # empty: ask `audience`
    jwt_algorithms: tuple[str, ...] = ()  # empty: by the kind of key
    jwt_types: tuple[str, ...] = ("at+jwt", "application/at+jwt", "JWT")
    jwt_leeway: int = 30 * SECOND
    jwt_max_age: int = DAY  # the most that `exp - iat` may be; 0: anything
    jwt_claim_user: tuple[str, ...] = ("sub",)
    jwt_claim_org: tuple[str, ...] = ("org",)
    jwt_claim_groups: tuple[str, ...] = ("groups",)
    jwt_claim_session: tuple[str, ...] = ("sid",)
    jwt_claim_scope: tuple[str, ...] = ("scope",)
    jwt_claim_limits: tuple[str, ...] = ()  # empty: a token overrides no limit
    issuers: tuple[IssuerSettings, ...] = ()
    api_keys_file: str | None = None
    required_groups: tuple[str, ...] = ()  # any of them
    require_org: bool = False
    admin_scope: tuple[str, ...] = ("sessionware:admin",)  # any of them; empty: nobody is an administrator
    trusted_proxies: tuple[str, ...] = ()  # CIDRs, `private`, or SERVER_IS_TRUSTED alone
    user_header: str | None = "X-User-Id"  # counts only from trusted proxies

    # Limits
    limits: tuple[Limit, ...] = parse_limits("100/minute per session")
    create_limit: Limit | None = parse_limit("60/minute per user", source="SESSIONWARE_CREATE_LIMIT")
    exempt_paths: tuple[str, ...] = EXEMPT_PATHS
    ratelimit_headers: Literal["draft", "dual", "legacy", "off"] = "draft"

    # The edge
    public_url: str | None = None
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    audit: str | None = None

    @property
    def audience(self) -> tuple[str, ...]:
        """Whom a token must be for: JWT_AUDIENCE, else PUBLIC_URL; empty: anybody.

        RFC 3986 6.2.3: a URL without a path has a twin with a slash, and that is what some clients ask a token for.
        """
        url = self.public_url
        if self.jwt_audience or url is None:
            return self.jwt_audience
        return (url,) if "/" in url.partition("://")[2] else (url, f"{url}/")

    @property
    def claims(self) -> ClaimNames:
        """The claims of the issuer that the variables describe."""
        return ClaimNames(
            user=self.jwt_claim_user,
            org=self.jwt_claim_org,
            groups=self.jwt_claim_groups,
            session=self.jwt_claim_session,
            scope=self.jwt_claim_scope,
            limits=self.jwt_claim_limits,
        )

    @property
    def describes_issuer(self) -> bool:
        """Whether the variables name an issuer or its key, beside whatever `issuers` lists."""
        return bool(self.jwt_secret or self.jwt_public_key or self.jwt_jwks_url or self.jwt_issuer)

    @property
    def verifies_tokens(self) -> bool:
        """Whether there is anything to verify a JWT with."""
        return self.describes_issuer or bool(self.issuers)

    @property
    def proves_users(self) -> bool:
        """Whether any credential is verified here: a token, a static key, or a header of a trusted proxy."""
        return bool(self.verifies_tokens or self.api_keys_file or (self.trusted_proxies and self.user_header))

    def cookie_name(self, *, is_secure: bool) -> str | None:
        """The name of the session cookie on a connection that is HTTPS or not; None: there is no cookie."""
        if self.session_cookie != DEFAULT_COOKIE:
            return self.session_cookie
        secure = is_secure if self.cookie_secure == "auto" else self.cookie_secure == "on"
        return "__Host-session" if secure and self.cookie_domain is None and self.cookie_path == "/" else "session"

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"Settings({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What differs from the defaults, without secrets: rich asks this one, not `__repr__`."""
        values = [(name, getattr(self, name)) for name in self.__struct_fields__]
        defaults = self.__struct_defaults__
        return [
            (name, redacted(name, value))
            for (name, value), default in zip(values, defaults, strict=True)
            if value != default
        ]


def redacted(name: str, value: Any) -> Any:
    """A setting's value as it may be shown."""
    if name in SECRETS:
        return SET if value else value
    return without_password(value) if isinstance(value, str) else value


def without_password(text: str) -> str:
    """A URL without what stands before its `@`, and without a password among its options; any other text as it is.

    Everything up to the last `@` is cut: a password that was not percent-encoded may itself hold `@` and `/`.
    """
    scheme, is_url, rest = _PASSWORD_OPTION.sub(rf"\1{SET}", text).partition("://")
    if not is_url or scheme.lower().startswith("sqlite") or "@" not in rest:
        return scheme + is_url + rest
    return f"{scheme}://{SET}@{rest.rpartition('@')[2]}"
