"""The only place that holds an issuer's keys and says which of them a token may be checked with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from jwt import PyJWK, PyJWS
from jwt.exceptions import PyJWTError
from msgspec import Struct

from sessionware.core.windows import NEVER
from sessionware.errors import ConfigError

KEYS_MAX: Final = 100  # of one issuer; real sets hold two to ten
KID_MAX: Final = 256

_SIGNATURES: Final = PyJWS(options={"enforce_minimum_key_length": True})
_CURVES: Final[Mapping[str, str]] = {"P-256": "P-256", "P-384": "P-384", "P-521": "P-521", "Ed25519": "OKP"}


class Key(Struct, frozen=True, kw_only=True):
    """One key that signatures are checked with. `kid` None answers to every kid; `alg` None to all of its family."""

    family: str
    material: Any
    kid: str | None = None
    alg: str | None = None

    def fits(self, alg: str, family: str) -> bool:
        return self.family == family and (self.alg is None or self.alg == alg)


class KeySet(Struct, frozen=True):
    """All keys that an issuer publishes at one time."""

    keys: tuple[Key, ...]

    def find(self, kid: str | None, alg: str, family: str) -> Key | None:
        """The key for a token. Without a `kid` in it, only if there is no choice."""
        fitting = [key for key in self.keys if key.fits(alg, family) and (kid is None or key.kid in {None, kid})]
        if kid is None and len(fitting) > 1:
            return None
        return fitting[0] if fitting else None


class Look(Struct, frozen=True):
    """What a look at the keys found. `until` is the last instant that the answer may be kept for."""

    key: Key | None
    until: int = 0
    wants_fetch: bool = False
    is_unavailable: bool = False


class KeySource(Protocol):
    """Where an issuer's keys come from."""

    def look(self, kid: str | None, alg: str, family: str, now: int) -> Look:
        """What is known at once. With `wants_fetch`, `fetch` and look again."""
        ...

    async def fetch(self, now: int, *, is_urgent: bool) -> None:
        """Ask for the keys anew unless that was done just now; waits for the answer if it `is_urgent`."""
        ...

    async def aclose(self) -> None: ...


class FixedKeys(Struct, frozen=True):
    """Keys from the settings: they never change while the process lives."""

    keys: KeySet

    def look(self, kid: str | None, alg: str, family: str, now: int) -> Look:  # noqa: ARG002  # time changes nothing
        return Look(self.keys.find(kid, alg, family), NEVER)

    async def fetch(self, now: int, *, is_urgent: bool) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to do."""


def verify(key: Key, alg: str, signing_input: bytes, signature: bytes) -> bool:
    """Whether `signature` is this key's over `signing_input`. False also when the key is unfit for `alg`."""
    try:
        algorithm = _SIGNATURES.get_algorithm_by_name(alg)
        prepared = algorithm.prepare_key(key.material)
        return algorithm.check_key_length(prepared) is None and algorithm.verify(signing_input, prepared, signature)
    except (PyJWTError, NotImplementedError, TypeError, ValueError):
        return False


def shared_secret(secret: str | bytes, algorithms: Iterable[str]) -> FixedKeys:
    """The key behind JWT_SECRET. Raises ConfigError when it is too short, or is no secret at all but a public key."""
    raw = secret.encode() if isinstance(secret, str) else secret
    for name in sorted(algorithms):
        algorithm = _SIGNATURES.get_algorithm_by_name(name)
        try:
            too_short = algorithm.check_key_length(algorithm.prepare_key(raw))
        except PyJWTError as error:
            raise ConfigError(f"jwt_secret: {error} For a public key set jwt_public_key") from error
        if too_short:
            raise ConfigError(
                f"jwt_secret is {len(raw)} bytes, too short for {name}: make one with "
                "python -c 'import secrets; print(secrets.token_urlsafe(64))'"
            )
    return FixedKeys(KeySet((Key(family="oct", material=raw),)))


def public_key(pem: str | bytes) -> tuple[FixedKeys, str]:
    """The key behind JWT_PUBLIC_KEY, and its family. Raises ConfigError when it is no public key, or a weak one."""
    raw = pem.encode() if isinstance(pem, str) else pem
    for family, name in (
        ("RSA", "RS256"),
        ("P-256", "ES256"),
        ("P-384", "ES384"),
        ("P-521", "ES512"),
        ("OKP", "EdDSA"),
    ):
        algorithm = _SIGNATURES.get_algorithm_by_name(name)
        try:
            material = algorithm.prepare_key(raw)
        except (PyJWTError, TypeError, ValueError):
            continue
        if hasattr(material, "private_numbers") or hasattr(material, "private_bytes"):
            raise ConfigError("jwt_public_key is a private key: give the public half, this process must not sign")
        weakness = algorithm.check_key_length(material)
        if weakness:
            raise ConfigError(f"jwt_public_key: {weakness}")
        return FixedKeys(KeySet((Key(family=family, material=material),))), family
    raise ConfigError(
        "jwt_public_key is no public key in PEM (RSA, EC P-256/384/521 or Ed25519): it begins with "
        "-----BEGIN PUBLIC KEY-----"
    )


def read_key_set(document: Any) -> KeySet:
    """The usable signature keys of a JWK set (RFC 7517 5); those for encryption, secret or unknown ones are left out.

    Raises ValueError when it is no key set or holds more than 100 keys.
    """
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError("no JWK set: it has no list 'keys'")  # noqa: TRY004  # a foreign document, not an argument
    if len(keys) > KEYS_MAX:
        raise ValueError(f"{len(keys)} keys, at most {KEYS_MAX} are read")
    return KeySet(tuple(key for key in map(_read_key, keys) if key is not None))


def _read_key(jwk: Any) -> Key | None:
    if not isinstance(jwk, dict) or "d" in jwk or jwk.get("use", "sig") != "sig":
        return None
    operations = jwk.get("key_ops", ["verify"])
    kid, alg, kty = jwk.get("kid"), jwk.get("alg"), jwk.get("kty")
    family = "RSA" if kty == "RSA" else _CURVES.get(str(jwk.get("crv"))) if str(kty) in {"EC", "OKP"} else None
    if family is None or not isinstance(operations, list) or "verify" not in operations:
        return None
    if not isinstance(kid, str | None) or not isinstance(alg, str | None) or len(kid or "") > KID_MAX:
        return None
    try:
        material = PyJWK.from_dict({name: value for name, value in jwk.items() if name != "alg"}).key
    except (PyJWTError, UnsupportedAlgorithm, TypeError, ValueError, LookupError, AttributeError, OverflowError):
        return None  # whatever another server writes there, it must not stop the keys beside it
    return Key(family=family, material=material, kid=kid or "", alg=alg)
