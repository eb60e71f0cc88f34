"""The only place that reads from the settings what can prove an identity; all of it is checked, nothing is fetched."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from sessionware.config.settings import IssuerSettings, Settings
from sessionware.core.ids import Addresses
from sessionware.credentials.api_keys import ApiKeys
from sessionware.credentials.fetching import Fetch, check_fetchable
from sessionware.credentials.issuer import FAMILIES, Issuer, check_issuers
from sessionware.credentials.jwks import RemoteKeys
from sessionware.credentials.jwt import JwtVerifier
from sessionware.credentials.keys import KeySource, public_key, shared_secret
from sessionware.credentials.trusted_headers import TrustedProxies, read_proxies
from sessionware.errors import ConfigError

SECRET_ALGORITHMS: Final = frozenset({"HS256"})
REMOTE_ALGORITHMS: Final = frozenset({"RS256", "ES256", "PS256", "EdDSA"})
_BY_FAMILY: Final = {
    "RSA": frozenset({"RS256", "PS256"}), "P-256": frozenset({"ES256"}), "P-384": frozenset({"ES384"}),
    "P-521": frozenset({"ES512"}), "OKP": frozenset({"EdDSA"}),
}  # fmt: skip


class Sources(Struct, frozen=True, kw_only=True):
    """What proves an identity: the issuers of tokens, the file of keys, the proxies that may name a user."""

    issuers: tuple[Issuer, ...] = ()
    api_keys: ApiKeys | None = None
    proxies: TrustedProxies = TrustedProxies()

    def verifier(self, addresses: Addresses) -> JwtVerifier | None:
        return JwtVerifier(self.issuers, addresses=addresses) if self.issuers else None


def read_sources(settings: Settings, *, fetch: Fetch | None = None) -> Sources:
    """What the settings trust. Raises ConfigError, naming the setting and the way out."""
    issuers = tuple(_issuers(settings, fetch))
    check_issuers(issuers)
    return Sources(
        issuers=issuers,
        api_keys=ApiKeys(settings.api_keys_file) if settings.api_keys_file else None,
        proxies=read_proxies(settings.trusted_proxies),
    )


def _issuers(settings: Settings, fetch: Fetch | None) -> list[Issuer]:
    found = []
    given = [name for name in ("jwt_secret", "jwt_public_key", "jwt_jwks_url") if getattr(settings, name)]
    if len(given) > 1:
        raise ConfigError(
            f"{' and '.join(given)} exclude each other: keep one, or list several [[issuers]] in the file"
        )
    if given or settings.jwt_issuer:
        keys, algorithms = _variables_keys(settings, fetch)
        found.append(_issuer(settings, settings.jwt_issuer, keys, algorithms))
    for each in settings.issuers:
        keys, algorithms = _keys(each, settings, fetch)
        found.append(_issuer(settings, each.issuer, keys, algorithms, each))
    return found


def _issuer(
    settings: Settings, name: str | None, keys: KeySource, algorithms: frozenset[str], own: IssuerSettings | None = None
) -> Issuer:
    return Issuer(
        name=name,
        keys=keys,
        algorithms=algorithms,
        audiences=frozenset((own and own.audience) or settings.audience),
        types=frozenset(each.lower() for each in (own and own.types) or settings.jwt_types),
        leeway=settings.jwt_leeway,
        max_age=settings.jwt_max_age,
        claims=own.claims if own else settings.claims,
    )


def _variables_keys(settings: Settings, fetch: Fetch | None) -> tuple[KeySource, frozenset[str]]:
    if settings.jwt_secret:
        algorithms = frozenset(settings.jwt_algorithms) or SECRET_ALGORITHMS
        _check_fit("jwt_secret", algorithms, frozenset(name for name in FAMILIES if FAMILIES[name] == "oct"))
        return shared_secret(settings.jwt_secret, algorithms), algorithms
    described = IssuerSettings(
        issuer=settings.jwt_issuer or "", jwks_url=settings.jwt_jwks_url, public_key=settings.jwt_public_key
    )
    return _keys(described, settings, fetch)


def _keys(own: IssuerSettings, settings: Settings, fetch: Fetch | None) -> tuple[KeySource, frozenset[str]]:
    wanted = frozenset(own.algorithms or settings.jwt_algorithms)
    if own.public_key:
        keys, family = public_key(own.public_key)
        algorithms = wanted or _BY_FAMILY[family]
        _check_fit("jwt_public_key", algorithms, frozenset(name for name in FAMILIES if FAMILIES[name] == family))
        return keys, algorithms
    algorithms = wanted or REMOTE_ALGORITHMS
    _check_fit("published keys", algorithms, frozenset(name for name in FAMILIES if FAMILIES[name] != "oct"))
    if own.jwks_url:
        return RemoteKeys(url=check_fetchable("jwt_jwks_url", own.jwks_url), fetch=fetch), algorithms
    return RemoteKeys(issuer=check_fetchable("jwt_issuer", own.issuer), fetch=fetch), algorithms


def _check_fit(what: str, algorithms: frozenset[str], possible: frozenset[str]) -> None:
    unfit = sorted(algorithms - possible)
    if unfit:
        raise ConfigError(
            f"jwt_algorithms: {', '.join(unfit)} cannot go with {what}: {', '.join(sorted(possible))} can"
        )
