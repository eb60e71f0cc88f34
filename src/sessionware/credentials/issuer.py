"""The only place that says what one issuer's tokens must look like, and where in them the facts stand."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from sessionware.config.settings import ClaimNames
from sessionware.credentials.compact import is_encodable
from sessionware.credentials.keys import KeySource
from sessionware.errors import ConfigError

LEEWAY_MAX_MS: Final = 60_000  # clocks that disagree by more are broken
PATH_DEPTH: Final = 16  # parts of a claim path that are followed

FAMILIES: Final[Mapping[str, str]] = {
    "HS256": "oct", "HS384": "oct", "HS512": "oct",
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
    "ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "OKP",
}  # fmt: skip


class Issuer(Struct, frozen=True, kw_only=True):
    """What one issuer's tokens must look like.

    `name` None accepts every `iss` (there is one issuer, whose keys are ours alone), no `audiences` accept
    every `aud`. Durations are milliseconds; `max_age` 0 means no cap on a token's life.
    """

    name: str | None
    keys: KeySource
    algorithms: frozenset[str]
    audiences: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset({"at+jwt", "application/at+jwt", "jwt"})
    leeway: int = 30_000
    max_age: int = 86_400_000
    claims: ClaimNames = ClaimNames()


def check_issuers(issuers: Collection[Issuer]) -> None:
    """Raise ConfigError when issuers cannot be told apart, or one of them asks for what is unsafe."""
    names = {issuer.name for issuer in issuers}
    if len(names) != len(issuers) or (None in names and len(issuers) > 1):
        raise ConfigError("jwt_issuer: with several issuers each needs an `issuer` of its own")
    for issuer in issuers:
        _check_algorithms(issuer.algorithms)
        if not 0 <= issuer.leeway <= LEEWAY_MAX_MS:
            raise ConfigError(f"jwt_leeway: {issuer.leeway // 1000} s, at most 60 s: mend the clock instead")


def _check_algorithms(algorithms: frozenset[str]) -> None:
    """RFC 8725 3.1: who holds a public key must not be able to use it as a shared secret."""
    unknown = sorted(algorithms - FAMILIES.keys())
    if unknown or not algorithms:
        found = repr(unknown[0]) if unknown else "nothing"
        raise ConfigError(f"jwt_algorithms: {found} is not possible, known are {', '.join(FAMILIES)}")
    if len({FAMILIES[each] == "oct" for each in algorithms}) > 1:
        raise ConfigError(
            f"jwt_algorithms: {', '.join(sorted(algorithms))} mixes shared secrets (HS...) with public keys: "
            "whoever reads the public key could sign; keep one kind"
        )


def find(claims: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of `names` that the claims hold, literally or as a path; None when they hold none."""
    for name in names:
        found = claims.get(name)
        if found is None and "." in name:
            found = _follow(claims, name)
        if found is not None:
            return found
    return None


def texts(value: Any) -> tuple[str, ...]:
    """The strings of a claim that lists names; anything in it that is no proper text is left out."""
    return tuple(_texts(value))


def words(value: Any) -> tuple[str, ...]:
    """The scopes of a claim: a list, or RFC 6749 3.3's string of words."""
    return texts(value.split(" ") if isinstance(value, str) else value)


def _texts(value: Any) -> Iterator[str]:
    for each in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
        if each and is_encodable(each):
            yield each


def _follow(claims: Mapping[str, Any], path: str) -> Any:
    found: Any = claims
    for part in path.split(".", PATH_DEPTH):
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found
