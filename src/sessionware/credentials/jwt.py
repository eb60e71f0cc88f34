"""The only place that decides whether a JWT proves somebody.

Everything that a token says of itself is checked first, because that costs no key; then the key is found by issuer
and `kid`, then the signature decides. Nothing in a header is followed:
`jku`, `x5u`, `x5c` and `jwk` are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from sessionware.core.admission import Token
from sessionware.core.identity import Claims
from sessionware.core.ids import Addresses
from sessionware.credentials import rules
from sessionware.credentials.compact import Unverified, is_encodable, read
from sessionware.credentials.issuer import FAMILIES, Issuer, check_issuers, find, texts, words
from sessionware.credentials.keys import Look, verify
from sessionware.credentials.refusals import RefusalLog, Refused, shown
from sessionware.credentials.rules import Check, milliseconds
from sessionware.errors import KeysUnavailable

BELIEVED_MS: Final = 60_000  # how long a verified token is believed without being verified again


class Verified(Struct, frozen=True):
    """What a good token says, and the last instant at which it may be believed unseen."""

    claims: Claims
    until: int


class Explanation(Struct, frozen=True):
    """All checks of one token in order, and what it says if all of them hold."""

    checks: tuple[Check, ...]
    claims: Claims | None


class _Candidate(Struct, frozen=True):
    """A token whose own words are in order: only its signature is in question."""

    token: Unverified
    issuer: Issuer

    @property
    def alg(self) -> str:
        return str(self.token.header["alg"])

    @property
    def kid(self) -> str | None:
        kid: str | None = self.token.header.get("kid")
        return kid

    def look(self, now: int) -> Look:
        return self.issuer.keys.look(self.kid, self.alg, FAMILIES[self.alg], now)


class JwtVerifier:
    """Verifies tokens of the given issuers. Does no I/O itself: the issuers' key sources do."""

    def __init__(self, issuers: Sequence[Issuer], *, addresses: Addresses) -> None:
        """Raises ConfigError when issuers cannot be told apart or ask for what is unsafe."""
        check_issuers(issuers)
        self._issuers: Mapping[str | None, Issuer] = {issuer.name: issuer for issuer in issuers}
        self._addresses = addresses
        self.refusals = RefusalLog("jwt")

    @property
    def issuers(self) -> tuple[Issuer, ...]:
        return tuple(self._issuers.values())

    def verify_at_once(self, text: str, now: int) -> Verified | None:
        """What the token proves; None when keys must be fetched first. Raises InvalidToken or KeysUnavailable."""
        try:
            candidate = self._candidate(text, now)
            look = candidate.look(now)
            return None if look.wants_fetch else self._conclude(candidate, look, now)
        except Refused as refused:
            raise self.refusals.refuse(refused, now) from None

    async def verify(self, text: str, now: int) -> Verified:
        """What the token proves. Raises InvalidToken, or KeysUnavailable when its issuer gives no keys."""
        try:
            candidate = self._candidate(text, now)
            look = await self._find_key(candidate, now)
            return self._conclude(candidate, look, now)
        except Refused as refused:
            raise self.refusals.refuse(refused, now) from None

    async def explain(self, text: str, now: int) -> Explanation:
        """Every check of a token, also those behind a failed one. Raises KeysUnavailable, never InvalidToken."""
        try:
            token = read(text)
        except Refused as refused:
            return Explanation((Check(refused.rule, holds=False, got=refused.reason, expected="a signed JWT"),), None)
        issuer = rules.find_issuer(token, self._issuers)
        if issuer is None:
            return Explanation((self._unknown_issuer(token),), None)
        checks = [rule(token, issuer, now) for rule in rules.RULES]
        if not checks[0].holds or not all(check.holds for check in checks if check.rule == "kid"):
            return Explanation(tuple(checks), None)
        candidate = _Candidate(token, issuer)
        look = await self._find_key(candidate, now)
        try:
            self._check_signature(candidate, look)
        except Refused as refused:
            checks.append(Check(refused.rule, holds=False, got=refused.reason, expected="a signature of the issuer"))
        else:
            checks.append(Check("signature", holds=True, got="good", expected="a signature of the issuer"))
        is_good = all(check.holds for check in checks)
        return Explanation(tuple(checks), self._claims(candidate) if is_good else None)

    async def aclose(self) -> None:
        for issuer in self._issuers.values():
            await issuer.keys.aclose()

    def _candidate(self, text: str, now: int) -> _Candidate:
        token = read(text)
        issuer = rules.find_issuer(token, self._issuers)
        if issuer is None:
            raise _refused(self._unknown_issuer(token))
        for rule in rules.RULES:
            check = rule(token, issuer, now)
            if not check.holds:
                raise _refused(check)
        return _Candidate(token, issuer)

    async def _find_key(self, candidate: _Candidate, now: int) -> Look:
        look = candidate.look(now)
        if not look.wants_fetch:
            return look
        await candidate.issuer.keys.fetch(now, is_urgent=look.key is None)
        return candidate.look(now) if look.key is None else look

    def _conclude(self, candidate: _Candidate, look: Look, now: int) -> Verified:
        self._check_signature(candidate, look)
        expires = milliseconds(candidate.token.claims["exp"]) or 0
        return Verified(self._claims(candidate), min(expires, look.until, now + BELIEVED_MS))

    def _check_signature(self, candidate: _Candidate, look: Look) -> None:
        if look.is_unavailable:
            raise KeysUnavailable("the keys of the token's issuer cannot be fetched")
        if look.key is None:
            kid = "without a kid" if candidate.kid is None else f"with kid {shown(candidate.kid)}"
            raise Refused("key", f"there is no single {candidate.alg} key {kid}")
        token = candidate.token
        if not verify(look.key, candidate.alg, token.signing_input, token.signature):
            raise Refused("signature", "the signature is not the issuer's")

    def _claims(self, candidate: _Candidate) -> Claims:
        claims, names = candidate.token.claims, candidate.issuer.claims
        name = claims.get("iss") or ""
        sid, limits = find(claims, names.session), find(claims, names.limits)
        return Claims(
            issuer=name,
            user_id=find(claims, names.user),
            org_id=find(claims, names.org),
            groups=texts(find(claims, names.groups)),
            scopes=words(find(claims, names.scope)),
            sid=sid if isinstance(sid, str) else None,
            token=self._token(candidate, name),
            expires_at=milliseconds(claims["exp"]),
            limits={each: limits[each] for each in limits if is_encodable(each)} if isinstance(limits, dict) else {},
        )

    def _token(self, candidate: _Candidate, issuer: str) -> Token:
        """The revocable name of a token: never its text, which has several spellings (ES256: r, n - s).

        A token that does not say when it was issued is taken for as old as it can be.
        """
        claims = candidate.token.claims
        jti = claims.get("jti")
        issued = milliseconds(claims.get("iat"))
        if issued is None:
            max_age = candidate.issuer.max_age
            issued = max((milliseconds(claims["exp"]) or 0) - max_age, 0) if max_age else 0
        return Token(
            self._addresses.token(issuer, jti) if jti
            else self._addresses.token_without_jti(candidate.token.signing_input),
            issued,
        )  # fmt: skip

    def _unknown_issuer(self, token: Unverified) -> Check:
        known: list[Any] = sorted(name for name in self._issuers if name is not None)
        return Check("iss", holds=False, got=shown(token.claims.get("iss")), expected=" or ".join(map(shown, known)))


def _refused(check: Check) -> Refused:
    return Refused(check.rule, check.reason)
