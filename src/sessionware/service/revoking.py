"""The only place that revokes: one token, or everything of one user before now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from sessionware.core.facts import OwnerRevocation, Revocation, TokenRevocation
from sessionware.core.identity import Identity
from sessionware.core.ids import handle
from sessionware.core.session import Ended
from sessionware.core.times import LATEST_MS
from sessionware.credentials.compact import read
from sessionware.credentials.refusals import Refused
from sessionware.errors import InvalidValue
from sessionware.service.runtime import Runtime
from sessionware.telemetry import Who, who_asks

TOKEN_LIFE_MS: Final = 86_400_000  # JWT_MAX_AGE: no token that we accept lives longer
LEEWAY_MS: Final = 60_000  # an expired token passes for as long as clocks may differ


class Condemned(Struct, frozen=True):
    """A token as far as revoking it goes: the hash that names it, and until when anybody would accept it."""

    hash: bytes
    until: int


def token_in(runtime: Runtime, text: str) -> Condemned:
    """What a token's text says of itself; its signature plays no part. Raises InvalidValue when it is no JWT."""
    try:
        found = read(text)
    except Refused as error:
        raise InvalidValue(f"token is no JWT: {error.reason}; or send its iss and jti") from error
    issuer, jti = found.claims.get("iss"), found.claims.get("jti")
    if isinstance(jti, str) and jti:
        hash_ = runtime.addresses.token(issuer if isinstance(issuer, str) else "", jti)
    else:
        hash_ = runtime.addresses.token_without_jti(found.signing_input)
    return Condemned(hash_, _until(runtime, found.claims.get("exp")))


def token_named(runtime: Runtime, issuer: str, jti: str, exp: object = None) -> Condemned:
    """The token of that issuer and `jti`; without `exp` (seconds) it is refused for as long as any may live."""
    if not jti:
        raise InvalidValue("jti is empty: send the token's own")
    return Condemned(runtime.addresses.token(issuer, jti), _until(runtime, exp))


async def revoke_token(runtime: Runtime, condemned: Condemned) -> list[str]:
    """Refuse a token everywhere from now on; answers the handles of the sessions that it had started."""
    return await _revoke(runtime, [TokenRevocation(condemned.hash, condemned.until)], "token", Who())


async def revoke_user(runtime: Runtime, identity: Identity) -> list[str]:
    """Refuse all tokens and end all sessions that this user has now; answers the handles of those that ended.

    With PARTITION=org the user's sessions may lie in every bucket.
    """
    addresses, now = runtime.addresses, runtime.now()
    everywhere = runtime.terms.partition == "org"
    buckets = range(addresses.buckets) if everywhere else (addresses.bucket(identity.tag),)
    who = who_asks(identity)
    return await _revoke(runtime, [OwnerRevocation(bucket, identity.owner, now) for bucket in buckets], "user", who)


async def _revoke(runtime: Runtime, revocations: Sequence[Revocation], what: str, who: Who) -> list[str]:
    ends: list[Ended] = []
    for revocation in revocations:
        ends += await runtime.store.revoke(revocation, now=runtime.now())
    runtime.observers.revoked(revocations[0])
    runtime.telemetry.revoked(what, who, sessions=len(ends))
    await runtime.tell_ended(ends)
    return [handle(ended.session.key) for ended in ends]


def _until(runtime: Runtime, exp: Any) -> int:
    """Until when the revocation must be kept. Raises InvalidValue for an `exp` that is no instant."""
    if exp is None:
        return runtime.now() + TOKEN_LIFE_MS + LEEWAY_MS
    if isinstance(exp, bool) or not isinstance(exp, int | float) or not 0 <= exp <= LATEST_MS // 1000:
        raise InvalidValue("exp must be the token's own: seconds since 1970")
    return int(exp * 1000) + LEEWAY_MS
