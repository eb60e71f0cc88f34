"""The only place that knows which settings cannot work together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sessionware.config.case import Case, Check
from sessionware.config.settings import SERVER_IS_TRUSTED
from sessionware.config.shapes import is_fetchable
from sessionware.core.policy import CREATION

_SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}  # RFC 7518 3.2: as long as the hash


def clashes(case: Case) -> Iterator[str]:
    """One sentence for each, with the way out."""
    for check in _CHECKS:
        yield from check(case)


def _one_key_source(case: Case) -> Iterator[str]:
    settings = case.settings
    given = [key for key in ("jwt_secret", "jwt_public_key", "jwt_jwks_url") if getattr(settings, key)]
    if len(given) > 1:
        names = " and ".join(case.named(key) for key in given)
        yield f"{names} are set together: one issuer has one kind of key; keep one, or write [[issuers]] in the file"
    if settings.jwt_issuer and not given and not is_fetchable(settings.jwt_issuer):
        yield (
            f"{case.named('jwt_issuer')}: {settings.jwt_issuer!r} is no https URL that keys can be found at: "
            "set JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL beside it"
        )


def _one_family(case: Case) -> Iterator[str]:
    """JWT-01: who may read a public key must not be able to sign with it."""
    settings = case.settings
    shared = [each for each in settings.jwt_algorithms if each.startswith("HS")]
    public = [each for each in settings.jwt_algorithms if not each.startswith("HS")]
    name = case.named("jwt_algorithms")
    if shared and public:
        yield f"{name}: {shared[0]} (a shared secret) and {public[0]} (a public key) together: keep one family"
    elif shared and not settings.jwt_secret and settings.verifies_tokens:
        yield f"{name}: {shared[0]} needs SESSIONWARE_JWT_SECRET; public keys go with RS256, PS256, ES256 or EdDSA"
    elif public and settings.jwt_secret:
        yield f"{name}: {public[0]} needs a public key, and {case.named('jwt_secret')} is a shared one: write HS256"
    for number, issuer in enumerate(settings.issuers, 1):
        if any(each.startswith("HS") for each in issuer.algorithms):
            yield f"{case.named('issuers')}, item {number}, algorithms: an issuer with public keys never signs with HS"


def _long_secret(case: Case) -> Iterator[str]:
    secret = case.settings.jwt_secret
    needed = max([_SECRET_BYTES.get(each, 0) for each in case.settings.jwt_algorithms] or [_SECRET_BYTES["HS256"]])
    if secret and len(secret.encode()) < needed:
        yield (
            f"{case.named('jwt_secret')} is shorter than {needed} bytes and can be guessed: make one with "
            "`python -c 'import secrets; print(secrets.token_urlsafe(64))'`"
        )


def _distinct_issuers(case: Case) -> Iterator[str]:
    settings = case.settings
    names = [each.issuer for each in settings.issuers]
    has_key = bool(settings.jwt_secret or settings.jwt_public_key or settings.jwt_jwks_url)
    if settings.jwt_issuer:
        names.append(settings.jwt_issuer)
    elif names and has_key:
        yield f"{case.named('issuers')}: beside other issuers the key of the variables needs its own: set JWT_ISSUER"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{case.named('issuers')}: {name!r} is there twice: keep one"
    for number, issuer in enumerate(settings.issuers, 1):
        where = f"{case.named('issuers')}, item {number}"
        if issuer.jwks_url and issuer.public_key:
            yield f"{where}: jwks_url and public_key are set together: keep one"
        elif not (issuer.jwks_url or issuer.public_key or is_fetchable(issuer.issuer)):
            yield f"{where}: {issuer.issuer!r} is no https URL that keys can be found at: add jwks_url or public_key"


def _cookie_attributes(case: Case) -> Iterator[str]:
    """RFC 6265bis 4.1.3: browsers drop a cookie that breaks its name's promise, without a word."""
    settings = case.settings
    source, name = case.named("session_cookie"), settings.session_cookie or ""
    prefix = name.lower()
    is_insecure = settings.cookie_secure == "off"
    if is_insecure and prefix.startswith(("__host-", "__secure-")):
        yield f"{source}: {name!r} needs Secure: leave COOKIE_SECURE at auto, or choose another name"
    if prefix.startswith("__host-") and (settings.cookie_domain or settings.cookie_path != "/"):
        yield f"{source}: {name!r} allows no COOKIE_DOMAIN and only COOKIE_PATH=/: choose another name"
    if name and is_insecure and settings.cookie_samesite == "none":
        yield f"{case.named('cookie_samesite')}: 'none' needs Secure: leave COOKIE_SECURE at auto, or write lax"


def _one_trust(case: Case) -> Iterator[str]:
    proxies = case.settings.trusted_proxies
    if SERVER_IS_TRUSTED in proxies and len(proxies) > 1:
        yield (
            f"{case.named('trusted_proxies')}: `server` leaves the judgement to the ASGI server and stands alone: "
            f"keep it, or {','.join(each for each in proxies if each != SERVER_IS_TRUSTED)}"
        )


def _own_headers(case: Case) -> Iterator[str]:
    session, user = case.settings.session_header, case.settings.user_header
    if session and user and session.lower() == user.lower():
        yield f"{case.named('session_header')} and {case.named('user_header')} are both {session!r}: rename one"


def _shared_store(case: Case) -> Iterator[str]:
    settings = case.settings
    if settings.workers > 1 and case.is_memory:
        yield (
            f"{case.named('workers')}: {settings.workers} processes with {settings.store} would each have sessions and "
            "counters of their own: set SESSIONWARE_STORE=sqlite:///sessionware.db or redis://…"
        )


def _creation_name(case: Case) -> Iterator[str]:
    creation = case.settings.create_limit
    if creation is None:
        return
    name = creation.name if creation.is_named else CREATION
    if any(limit.name == name for limit in case.settings.limits):
        yield f"{case.named('limits')}: the limit for making sessions is called {name!r} too: give one another name="


_CHECKS: Final[tuple[Check, ...]] = (
    _shared_store, _one_key_source, _one_family, _long_secret, _distinct_issuers, _cookie_attributes, _one_trust,
    _own_headers, _creation_name,
)  # fmt: skip
