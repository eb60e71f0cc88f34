"""The only place that lists what a token must be before its signature is even looked at: one row per rule.

Each rule can be asked alone and of any token, however broken, so that `sessionware explain-token` shows them all;
the verifier stops at the first that does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from sessionware.credentials.compact import Unverified, is_encodable, is_plain
from sessionware.credentials.issuer import Issuer, find
from sessionware.credentials.keys import KID_MAX
from sessionware.credentials.refusals import shown

YEAR_9999: Final = 253_402_300_799  # seconds; beyond it no calendar and no integer of a store follows
_SECOND: Final = 1000

_NEVER_IN_HEADER: Final = ("crit", "b64", "zip")  # RFC 7515 4.1.11, RFC 7797, and what would decompress
_ID_TOKEN_CLAIMS: Final = ("at_hash", "c_hash", "s_hash")  # OpenID Connect Core 3.3.2.11: in ID tokens only
_OTHER_USES: Final[Mapping[str, frozenset[str]]] = {
    "typ": frozenset({"id", "refresh", "offline", "logout"}),  # Keycloak
    "token_use": frozenset({"id", "refresh"}),  # Cognito
    "token_type": frozenset({"id", "refresh"}),  # djangorestframework-simplejwt
    "type": frozenset({"id", "refresh"}),  # flask-jwt-extended
}


class Check(Struct, frozen=True):
    """One question about a token: what was found, what was wanted."""

    rule: str
    holds: bool
    got: str
    expected: str

    @property
    def reason(self) -> str:
        return f"{self.rule} is {self.got}, expected {self.expected}"


Rule = Callable[[Unverified, Issuer, int], Check]


def find_issuer(token: Unverified, issuers: Mapping[str | None, Issuer]) -> Issuer | None:
    """The one issuer whose keys may be asked: `iss` compared exactly, or the only issuer if that has no name."""
    name = token.claims.get("iss")
    if name is not None and not is_encodable(name):
        return None
    return issuers.get(name) or issuers.get(None)


def algorithm(token: Unverified, issuer: Issuer, _: int) -> Check:
    found = token.header.get("alg")
    holds = isinstance(found, str) and found in issuer.algorithms
    return Check("alg", holds, _got(found), " or ".join(sorted(issuer.algorithms)))


def media_type(token: Unverified, issuer: Issuer, _: int) -> Check:
    """A missing `typ` counts as JWT: RFC 7519 5.1 leaves it out freely."""
    found = token.header.get("typ", "JWT")
    holds = isinstance(found, str) and found.lower() in issuer.types
    return Check("typ", holds, _got(token.header.get("typ")), " or ".join(sorted(issuer.types)))


def extensions(token: Unverified, _issuer: Issuer, _now: int) -> Check:
    found = [name for name in _NEVER_IN_HEADER if name in token.header]
    return Check("header extensions", not found, ", ".join(found) or "none", "none")


def key_id(token: Unverified, _issuer: Issuer, _now: int) -> Check:
    found = token.header.get("kid")
    holds = found is None or (is_encodable(found) and 0 < len(found) <= KID_MAX)
    return Check("kid", holds, _got(found), f"none or 1..{KID_MAX} characters")


def issuer_name(token: Unverified, issuer: Issuer, _: int) -> Check:
    found = token.claims.get("iss")
    if issuer.name is None:
        return Check("iss", found is None or is_encodable(found), _got(found), "any text")
    return Check("iss", found == issuer.name, _got(found), shown(issuer.name))


def audience(token: Unverified, issuer: Issuer, _: int) -> Check:
    found = token.claims.get("aud")
    named = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    is_text = all(isinstance(each, str) for each in named)
    holds = not issuer.audiences or (is_text and not issuer.audiences.isdisjoint(named))
    return Check("aud", holds, _got(found), " or ".join(map(shown, sorted(issuer.audiences))) or "anything")


def expiry(token: Unverified, issuer: Issuer, now: int) -> Check:
    found = milliseconds(token.claims.get("exp"))
    holds = found is not None and found > now - issuer.leeway
    return Check("exp", holds, _got(token.claims.get("exp")), f"a number after {(now - issuer.leeway) // _SECOND}")


def not_before(token: Unverified, issuer: Issuer, now: int) -> Check:
    return _not_after_now("nbf", token, issuer, now)


def issued_at(token: Unverified, issuer: Issuer, now: int) -> Check:
    return _not_after_now("iat", token, issuer, now)


def lifetime(token: Unverified, issuer: Issuer, now: int) -> Check:
    """From `iat` to `exp`; without `iat`, from now."""
    expires = milliseconds(token.claims.get("exp"))
    issued = milliseconds(token.claims.get("iat"))
    start = now + issuer.leeway if issued is None else issued
    lives = None if expires is None else expires - start
    holds = lives is not None and (not issuer.max_age or lives <= issuer.max_age)
    got = "unknown" if lives is None else f"{lives // _SECOND} s"
    return Check("lifetime", holds, got, f"at most {issuer.max_age // _SECOND} s" if issuer.max_age else "any")


def use(token: Unverified, _issuer: Issuer, _now: int) -> Check:
    """ID, refresh and logout tokens carry the same signature and open nothing here."""
    claims = token.claims
    signs: list[str] = [name for name in _ID_TOKEN_CLAIMS if name in claims]
    if "events" in claims:  # OpenID Connect Back-Channel Logout 2.4, RFC 8417
        signs.append("events")
    for name, others in _OTHER_USES.items():
        found = claims.get(name)
        if isinstance(found, str) and found.lower() in others:
            signs.append(f"{name}={found}")
    return Check("use", not signs, ", ".join(signs) or "access", "an access token: no ID, refresh or logout token")


def subject(token: Unverified, _issuer: Issuer, _now: int) -> Check:
    """RFC 7519 4.1.2: a string, also when another claim is configured to name the user."""
    found = token.claims.get("sub")
    holds = found is None or isinstance(found, str)
    return Check("sub", holds, _kind(found), "none or text")


def user(token: Unverified, issuer: Issuer, _: int) -> Check:
    found = find(token.claims, issuer.claims.user)
    name = "user (" + ", ".join(issuer.claims.user) + ")"
    return Check(name, is_plain(found), _kind(found), "1..255 characters without control characters")


def org(token: Unverified, issuer: Issuer, _: int) -> Check:
    found = find(token.claims, issuer.claims.org)
    name = "org (" + ", ".join(issuer.claims.org) + ")"
    return Check(name, found is None or is_plain(found), _kind(found), "none or 1..255 characters")


def token_id(token: Unverified, _issuer: Issuer, _now: int) -> Check:
    found = token.claims.get("jti")
    return Check("jti", found is None or is_encodable(found), _kind(found), "none or text")


RULES: Final[tuple[Rule, ...]] = (
    algorithm, media_type, extensions, key_id, issuer_name, audience, expiry, not_before, issued_at, lifetime, use,
    subject, user, org, token_id,
)  # fmt: skip


def milliseconds(claimed: Any) -> int | None:
    """A NumericDate as our time; None when it is no number, or one that no calendar holds."""
    if isinstance(claimed, bool) or not isinstance(claimed, int | float) or not 0 <= claimed <= YEAR_9999:
        return None
    return int(claimed * _SECOND)


def _not_after_now(name: str, token: Unverified, issuer: Issuer, now: int) -> Check:
    claimed = token.claims.get(name)
    found = milliseconds(claimed)
    holds = name not in token.claims if found is None else found <= now + issuer.leeway
    return Check(name, holds, _got(claimed), f"none or a number up to {(now + issuer.leeway) // _SECOND}")


def _got(value: Any) -> str:
    return "missing" if value is None else shown(value)


def _kind(value: Any) -> str:
    """What a personal value looks like, without the value."""
    if isinstance(value, str):
        return f"{len(value)} characters" if is_plain(value) else f"{len(value)} characters, some of them not plain"
    return "missing" if value is None else type(value).__name__
