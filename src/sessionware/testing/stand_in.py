"""The only place that lets a fake issuer speak for an app's own one, so that the app needs no other settings in tests.

Its tokens have the name, the audience and the claims that the app asks for; what the app trusts otherwise stays.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.clock import HostClock
from sessionware.config.settings import ClaimNames, Settings
from sessionware.core.store import Clock
from sessionware.credentials.issuer import FAMILIES, Issuer
from sessionware.credentials.keys import FixedKeys, Key, KeySet, KeySource, Look
from sessionware.credentials.sources import Sources
from sessionware.service.making import LOGIN_ISSUER
from sessionware.testing.tokens import FakeIssuer, SigningKey

LIFE_S: Final = 3600
KEY_ID: Final = "sessionware-testing"
_ALG: Final = "ES256"


class Person(Struct, frozen=True):
    """Whom a token speaks of. `claims` stand above the others; None leaves one out."""

    user: str
    groups: tuple[str, ...] = ()
    org: str | None = None
    scopes: tuple[str, ...] = ()
    claims: dict[str, Any] = {}

    def claims_by(self, names: ClaimNames) -> dict[str, Any]:
        """The claims as an app looks for them: by the first name of each, which is tried literally."""
        said = {
            names.user[0]: self.user,
            names.org[0]: self.org,
            names.groups[0]: list(self.groups) or None,
            names.scope[0]: " ".join(self.scopes) or None,
        }
        return said | self.claims


class Signed(Struct, frozen=True):
    """A token, and from when to when (milliseconds) it may be sent."""

    text: str
    since: int
    until: int
    starts: int

    def holds(self, now: int, starts: int) -> bool:
        return self.starts == starts and self.since <= now < self.until


class StandIn:
    """The fake issuer of one running app. `starts` counts what has started: before the first, nothing is known."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or HostClock()
        self._key = SigningKey(_ALG, kid=KEY_ID)
        self._issuer = _issuer_of_logins(self._key, Settings())
        self.starts = 0

    def beside(self, settings: Settings, own: Sources, clock: Clock) -> Sources:
        """What an app trusts, and the fake key beside it: as a key of its first issuer.

        An app that trusts no issuer gets one: whoever the users that it logs in are known by.
        """
        first, *others = own.issuers or (_issuer_of_logins(self._key, settings),)
        if settings.jwt_secret:  # first is the issuer of the variables: we know its key
            alg = min(first.algorithms)
            self._key = SigningKey(alg, kid=KEY_ID, key=settings.jwt_secret.encode())
        else:
            self._key = self._key if self._key.alg == _ALG else SigningKey(_ALG, kid=KEY_ID)
            keys = _Beside(_published(self._key), first.keys)
            first = replace(first, keys=keys, algorithms=first.algorithms | {_ALG})
        self._issuer, self._clock = first, clock
        self.starts += 1
        return replace(own, issuers=(first, *others))

    def sign(self, person: Person) -> Signed:
        """A good token from now on for an hour, if the app accepts one that long."""
        issuer, now = self._issuer, self._clock.now()
        life = min(LIFE_S, issuer.max_age // 1000) if issuer.max_age else LIFE_S
        claims = {"aud": min(issuer.audiences, default=None), "iss": issuer.name} | person.claims_by(issuer.claims)
        typ = "at+jwt" if "at+jwt" in issuer.types else min(issuer.types)
        fake = FakeIssuer(issuer.name or "", keys=[self._key])
        text = fake.token(person.user, now=now, life=life, header={"typ": typ}, **claims)
        return Signed(text, now, now + life * 1000, self.starts)

    def holds(self, signed: Signed) -> bool:
        """Whether the token may still be sent."""
        return signed.holds(self._clock.now(), self.starts)


class _Beside(Struct, frozen=True):
    """A key of ours beside the keys of a real issuer, which are asked for every other `kid`."""

    ours: FixedKeys
    real: KeySource

    def look(self, kid: str | None, alg: str, family: str, now: int) -> Look:
        source: KeySource = self.ours if kid == KEY_ID else self.real
        return source.look(kid, alg, family, now)

    async def fetch(self, now: int, *, is_urgent: bool) -> None:
        await self.real.fetch(now, is_urgent=is_urgent)

    async def aclose(self) -> None:
        await self.real.aclose()


def _published(key: SigningKey) -> FixedKeys:
    return FixedKeys(KeySet((Key(family=FAMILIES[key.alg], material=key.public, kid=key.kid),)))


def _issuer_of_logins(key: SigningKey, settings: Settings) -> Issuer:
    return Issuer(
        name=LOGIN_ISSUER,
        keys=_published(key),
        algorithms=frozenset({_ALG}),
        max_age=settings.jwt_max_age,
        claims=settings.claims,
    )
