"""What the tests of credentials share: one issuer, one verifier of its tokens."""

from typing import Any

from sessionware.core.ids import Addresses
from sessionware.credentials.issuer import Issuer
from sessionware.credentials.jwt import JwtVerifier
from sessionware.credentials.keys import FixedKeys, Key, KeySet, read_key_set
from sessionware.testing.clock import START
from sessionware.testing.tokens import FakeIssuer, SigningKey

ADDRESSES = Addresses(b"s" * 32, 256)
NOW = START
PUBLIC = frozenset({"RS256", "ES256", "PS256", "EdDSA"})


def fixed(*keys: SigningKey) -> FixedKeys:
    """The keys as if they had been fetched, or as shared secrets."""
    if isinstance(keys[0].key, bytes):
        return FixedKeys(KeySet(tuple(Key(family="oct", material=key.key) for key in keys)))
    return FixedKeys(read_key_set({"keys": [key.jwk for key in keys]}))


def trusting(issuer: FakeIssuer, **more) -> Issuer:
    is_secret = isinstance(issuer.keys[0].key, bytes)
    rules: dict[str, Any] = {
        "name": issuer.name,
        "keys": fixed(*issuer.keys),
        "algorithms": frozenset({issuer.keys[0].alg}) if is_secret else PUBLIC,
        "audiences": frozenset({"api"}),
    }
    return Issuer(**(rules | more))


def verifier_of(*issuers: Issuer) -> JwtVerifier:
    return JwtVerifier(issuers, addresses=ADDRESSES)
