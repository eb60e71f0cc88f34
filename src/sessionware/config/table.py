"""The only place that names the variables: how each is read and shown, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args, get_type_hints

from msgspec import Struct

from sessionware.config import keys, kinds, shapes
from sessionware.config.given import Given, Kind
from sessionware.config.issuers import issuers
from sessionware.config.kinds import choice, duration, number, size, switch, text, texts, word
from sessionware.config.proxy_rows import PROXY_ROWS
from sessionware.config.proxy_settings import ProxySettings
from sessionware.config.settings import DAY, MINUTE, SECOND, SECRETS, Preset, Settings
from sessionware.core.store import LINKS_MAX

PREFIX: Final = "SESSIONWARE_"
FILE_SUFFIX: Final = "_FILE"
CAP_MAX: Final = 1000  # sessions of one user: evicting walks the owner's index (store.md 16)
_YEARS: Final = 3660 * DAY  # an expiry date that every calendar holds
_COUNT: Final = 1_000_000_000
_MEGABYTE: Final = 1 << 20

Role = Literal["setting", "loading", "proxy"]


class Row(Struct, frozen=True):
    """One variable. `loading`: says how the others are found; `proxy`: known, but only `sessionware proxy` obeys."""

    name: str
    kind: Kind
    meaning: str
    section: str
    role: Role = "setting"

    @property
    def key(self) -> str:
        """Its name as a keyword, in TOML, and in `Settings`."""
        return self.name.lower()

    @property
    def variable(self) -> str:
        return PREFIX + self.name

    @property
    def is_secret(self) -> bool:
        return self.key in SECRETS

    @property
    def default(self) -> Any:
        """What holds when nobody says more. Raises LookupError for a variable that is no setting."""
        return DEFAULTS[self.key]

    def read(self, value: object, source: str) -> Any:
        """The typed value. Raises ConfigError that names the source, the value and the way out."""
        return self.kind.read(Given(value, source, self.is_secret))


DEFAULTS: Final[Mapping[str, Any]] = {
    key: default
    for each in (Settings, ProxySettings)
    for key, default in zip(each.__struct_fields__, each.__struct_defaults__, strict=True)
}
_TYPES: Final = get_type_hints(Settings)


def _one_of(key: str) -> Kind:
    return choice(get_args(_TYPES[key]))


def _section(title: str, rows: Mapping[str, tuple[Kind, str]], role: Role = "setting") -> tuple[Row, ...]:
    return tuple(Row(name, kind, meaning, title, role) for name, (kind, meaning) in rows.items())


_ANY: Final = text(word, "text")
_NAMES: Final = texts(word, "names")
_CLAIMS: Final = texts(word, "claims")

_LOADING = _section(
    "Where settings come from",
    {
        "PRESET": (
            choice(get_args(Preset), off=True),
            (
                "sets only these: `dev`: memory store, ttl 300, cleanup 60, `ANONYMOUS=named`; `single`: "
                "`sqlite:///sessionware.db`, ttl 3600, cleanup 120; `cluster`: Redis at `SESSIONWARE_REDIS_URL` or "
                "`REDIS_URL`, ttl 3600, cleanup 120, JSON logs. Whatever is set beside it wins"
            ),
        ),
        "STRICT": (switch(), "an unknown `SESSIONWARE_*` variable is an error, not a warning"),
    },
) + _section(
    "Where settings come from",
    {
        "CONFIG": (_ANY, "a TOML file; the command line also reads `./sessionware.toml`"),
        "REDIS_URL": (text(shapes.store, "URL"), "where `PRESET=cluster` finds Redis"),
    },
    role="loading",
)

_STORE = _section(
    "The store",
    {
        "STORE": (
            text(shapes.store, "URL", off=False),
            (
                "`memory://`, `sqlite:///relative.db`, `sqlite:////absolute.db`, `redis://`, `rediss://`, `valkey://`, "
                "`valkeys://` (`?prefix=sw:`), `redis+sentinel://host,host/name`, `redis+cluster://host,host`, "
                "`postgresql://user:password@host/database` (`?schema=sessionware`), or `module:factory`"
            ),
        ),
        "STORE_TIMEOUT": (duration(1, MINUTE), "the longest that one call of the store may take"),
        "SECRET_KEYS": (
            keys.secret_keys(),
            "base64 of 32 bytes each (`sessionware keys new`): the first encrypts payloads at rest, all decrypt",
        ),
        "PARTITION": (_one_of("partition"), "`org` makes limits per org atomic on Redis Cluster"),
        "ON_STORE_DOWN_SESSIONS": (
            _one_of("on_store_down_sessions"),
            "a request with a session while the store is away: 503, or served with session None",
        ),
        "ON_STORE_DOWN_LIMITS": (
            _one_of("on_store_down_limits"),
            "a request without one: `local` counts requests in this process, at its share of the allowance",
        ),
        "WORKERS_HINT": (number(1, 100_000), "how many processes share an allowance while the store is away"),
    },
)

_LIVES = _section(
    "Lives of sessions",
    {
        "SESSION_TTL": (duration(1, _YEARS, off=True), "idle time after which a session ends"),
        "SESSION_MAX_AGE": (duration(1, _YEARS, off=True), "age at which a session ends, however active"),
        "SESSION_MAX_TTL": (duration(1, _YEARS, off=True), "the most that a caller may ask for; more is 400"),
        "CLEANUP_INTERVAL": (duration(100, DAY), "between two sweeps for expired sessions"),
        "MAX_SESSIONS_PER_USER": (
            number(1, CAP_MAX, off=True, why="more sessions of one user make evicting slow"),
            "live sessions of one user (`sessionware proxy`: 100); anonymous sessions are not counted",
        ),
        "ON_USER_FULL": (
            _one_of("on_user_full"),
            "over that cap the oldest session without an open request ends, or the new one is refused (429)",
        ),
        "MAX_SESSIONS_PER_CLIENT": (number(1, _COUNT, off=True), "live anonymous sessions of one client address"),
        "MAX_SESSIONS": (number(1, _COUNT, off=True), "live sessions in all, over it 503; off with a store on disk"),
        "MAX_LINKS": (number(1, LINKS_MAX), "MCP connections of one session; over it the longest unused one ends"),
        "MAX_CONTEXT": (number(1, 100_000), "messages kept of a session's context"),
        "MAX_DATA": (size(1, 64 * _MEGABYTE), "what the app may keep in one session"),
        "MAX_METADATA": (size(1, 16 * _MEGABYTE), "what a client may keep in one session"),
    },
)

_PRESENTED = _section(
    "How a session is presented",
    {
        "ON_MISSING": (
            _one_of("on_missing"),
            (
                "a request without a session id: `auto` makes one (for cookies only when written to: `lazy`), `reject` "
                "is 401, `anonymous` goes on with session None"
            ),
        ),
        "ON_UNKNOWN": (
            _one_of("on_unknown"),
            (
                "an id that no session has: `auto` replaces an expired cookie, creates a name that a proved identity "
                "presents, and refuses a minted id in a header (401)"
            ),
        ),
        "ANONYMOUS": (
            _one_of("anonymous"),
            "callers without an identity: refused, given random ids of ours, or free to choose names (development)",
        ),
        "SESSION_HEADER": (text(shapes.header, "header"), "the header that holds the id"),
        "SESSION_QUERY": (
            text(shapes.field, "name"),
            "a query parameter that holds the id; only for GET event streams and WebSockets, never logged by us",
        ),
        "SESSION_BODY_FIELD": (text(shapes.field, "name"), "a field of a JSON body that holds the id"),
        "SESSION_TOKEN": (switch(), "`start` also returns a secret that `X-Session-Token` must then repeat"),
        "SESSION_COOKIE": (
            shapes.cookie(),
            "a cookie that holds the id; `on`: `__Host-session`, or `session` when not Secure or with a domain or path",
        ),
        "COOKIE_SECURE": (_one_of("cookie_secure"), "`auto`: Secure when the request came over HTTPS"),
        "COOKIE_SAMESITE": (_one_of("cookie_samesite"), "the cookie's SameSite"),
        "COOKIE_DOMAIN": (text(shapes.cookie_domain, "domain"), "share the cookie with subdomains"),
        "COOKIE_PATH": (text(shapes.cookie_path, "path", off=False), "the cookie's Path"),
        "COOKIE_MAX_AGE": (duration(SECOND, _YEARS, off=True), "how long a browser keeps it; off: until it closes"),
        "CSRF": (
            switch(),
            "with a cookie session, an unsafe method from another site is 403 (`Sec-Fetch-Site`, `Origin`)",
        ),
        "SCOPE_SESSION": (switch(), '`scope["session"]` is filled too (Authlib, admin packages)'),
    },
)

_IDENTITY = _section(
    "Who asks",
    {
        "JWT_SECRET": (keys.secret(), "a shared secret (HS256: at least 32 bytes)"),
        "JWT_PUBLIC_KEY": (text(keys.public_key, "PEM"), "or a public key"),
        "JWT_JWKS_URL": (text(shapes.keys_url, "URL"), "or where public keys are published; https"),
        "JWT_ISSUER": (text(word, "text"), "the `iss` that tokens must have; alone it also finds the keys (OpenID)"),
        "JWT_AUDIENCE": (_NAMES, "the `aud` that tokens must be for, any of; else `PUBLIC_URL`"),
        "JWT_ALGORITHMS": (
            texts(keys.algorithm, "algorithms"),
            "off: HS256 for a secret, the key's own for a public key, RS256, ES256, PS256 and EdDSA for a JWKS",
        ),
        "JWT_TYPES": (_NAMES, "the `typ` that tokens may have"),
        "JWT_LEEWAY": (duration(0, MINUTE), "how far clocks may disagree"),
        "JWT_MAX_AGE": (duration(SECOND, _YEARS, off=True), "the longest life (`exp` - `iat`) that is accepted"),
        "JWT_CLAIM_USER": (_CLAIMS, "the claim that names the user: tried as it is, then as a path; first found of"),
        "JWT_CLAIM_ORG": (_CLAIMS, "the same for the org"),
        "JWT_CLAIM_GROUPS": (_CLAIMS, "the same for groups, for example `realm_access.roles`"),
        "JWT_CLAIM_SESSION": (_CLAIMS, "the same for the session"),
        "JWT_CLAIM_SCOPE": (_CLAIMS, "the same for scopes"),
        "JWT_CLAIM_LIMITS": (_CLAIMS, "the same for overrides of limits: `{name: allowance}`"),
        "ISSUERS": (issuers(), "more issuers: `issuer`, `audience`, `jwks_url`, `public_key`, `algorithms`, `claims`"),
        "API_KEYS_FILE": (_ANY, "static keys (`sessionware key add`), presented as Bearer or `X-API-Key`"),
        "REQUIRED_GROUPS": (_NAMES, "who asks must be in any of these groups"),
        "REQUIRE_ORG": (switch(), "who asks must belong to an org"),
        "ADMIN_SCOPE": (_NAMES, "the scope that makes an administrator, any of"),
        "TRUSTED_PROXIES": (
            texts(shapes.proxy, "networks"),
            (
                "peers whose `X-Forwarded-For` and user header count: addresses, networks, `private`, or `server` (the "
                "ASGI server has looked already)"
            ),
        ),
        "USER_HEADER": (text(shapes.header, "header"), "the user's name, as a trusted proxy says it; else stripped"),
    },
)

_LIMITS = _section(
    "Limits",
    {
        "LIMITS": (kinds.limits(), "separated by `;` or newlines; see the grammar"),
        "CREATE_LIMIT": (
            kinds.one_limit(),
            "the budget for making sessions (`sessionware proxy`: 600; without a user: per client)",
        ),
        "EXEMPT_PATHS": (texts(shapes.exempt_path, "paths"), "no session and no limits here"),
        "RATELIMIT_HEADERS": (
            _one_of("ratelimit_headers"),
            "`draft`: RateLimit and RateLimit-Policy; `legacy`: X-RateLimit-*; `dual`: `draft` in both spellings",
        ),
    },
)

_EDGE = _section(
    "The edge",
    {
        "PUBLIC_URL": (
            text(shapes.public_url, "URL"),
            "how the world reaches us; the proxy leads MCP clients from here to where tokens are issued (RFC 9728)",
        ),
        "ALLOWED_ORIGINS": (
            texts(shapes.origin, "origins"),
            (
                "other origins whose pages may call us (CORS, CSRF); unset, the proxy lets only pages of this machine "
                "speak to MCP servers while HOST is a loopback address, else only those of the same host"
            ),
        ),
        "ALLOWED_HOSTS": (
            texts(shapes.host, "hosts"),
            (
                "the only `Host` values that are served (DNS rebinding): `api.example.com`, `*.example.com`, "
                "`localhost:*`; unset, the proxy answers on a loopback HOST to localhost and PUBLIC_URL's host alone"
            ),
        ),
        "HOST": (text(shapes.listening_host, "address", off=False), "where `sessionware` itself listens"),
        "PORT": (number(0, 65535), "and its port; 0: any free one"),
        "WORKERS": (number(1, 1024), "its processes; more than one need a store that they share"),
        "LOG_FORMAT": (_one_of("log_format"), "how logs are written"),
        "LOG_LEVEL": (_one_of("log_level"), "what is logged"),
        "AUDIT": (text(shapes.audit, "place"), "`stderr`, `file:/path` or `module:object`: one JSON line per event"),
    },
)

_PROXY = _section("The proxy's own", PROXY_ROWS, role="proxy")

ROWS: Final = (*_LOADING, *_STORE, *_LIVES, *_PRESENTED, *_IDENTITY, *_LIMITS, *_EDGE, *_PROXY)
BY_KEY: Final[Mapping[str, Row]] = {row.key: row for row in ROWS}
SETTINGS: Final = tuple(row for row in ROWS if row.role == "setting")
PROXY_SETTINGS: Final = tuple(row for row in ROWS if row.role == "proxy")
PRESETS: Final[Mapping[str, Mapping[str, str]]] = {
    "dev": {"store": "memory://", "session_ttl": "300", "cleanup_interval": "60", "anonymous": "named"},
    "single": {"store": "sqlite:///sessionware.db", "session_ttl": "3600", "cleanup_interval": "120"},
    "cluster": {"session_ttl": "3600", "cleanup_interval": "120", "log_format": "json"},  # and Redis, wherever it is
}
