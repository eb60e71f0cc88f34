"""The only place that decides what a new session is: its id, its birth, its life, and the caps it must fit.

Pure: entropy and `now` are arguments. The middleware makes its sessions here too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import Caps, Level, NewSession
from sessionware.core.decision import LEVEL_ALL, LEVEL_CLIENT
from sessionware.core.identity import Claims, Identity, developer, named_key, prove
from sessionware.core.ids import (
    SECRET_ENTROPY_BYTES,
    TAG_ENTROPY_BYTES,
    Addresses,
    MintedId,
    SessionKey,
    SessionName,
    anonymous_tag,
    mint,
)
from sessionware.core.session import Birth, Proof, Session, deadline
from sessionware.service.terms import Terms

Entropy = Callable[[int], bytes]
Target = MintedId | SessionName

LOGIN_ISSUER: Final = "login:"  # who speaks for the users that an app logs in


def fresh_id(identity: Identity | None, *, entropy: Entropy) -> MintedId:
    """A new id in the caller's partition; without an identity in a partition of its own."""
    tag = identity.tag if identity is not None else anonymous_tag(entropy(TAG_ENTROPY_BYTES))
    return mint(tag, entropy(SECRET_ENTROPY_BYTES))


def key_of(target: Target, identity: Identity | None, *, addresses: Addresses) -> SessionKey:
    """Where a session of that id lies. Raises ValueError for a name without anybody to whom it belongs."""
    if isinstance(target, MintedId):
        return addresses.minted_key(target)
    if identity is None:
        raise ValueError("a session name means something only beside an owner")
    return named_key(identity, target, addresses=addresses)


class Ground(Struct, frozen=True):
    """What all sessions of an installation stand on."""

    terms: Terms
    addresses: Addresses


def new_session(  # noqa: PLR0913  # each is a field of the record
    target: Target,
    identity: Identity | None,
    *,
    terms: Terms,
    addresses: Addresses,
    now: int,
    client: str = "",
    idle_ms: int | None = None,
    metadata: bytes = b"",
    data: bytes = b"",
    is_derived: bool = False,
) -> NewSession:
    """The session to be made under `target`, with its caps. `client` comes from `client_group`.

    `idle_ms` None is the default idle time, 0 none at all. A derived session (`is_derived`) does not remember the
    token that happened to need it first: revoking that token refuses it and leaves the session to the next one.
    """
    birth = birth_of(target, identity, addresses=addresses, now=now, client=client)
    caps = caps_of(identity, client=client, ground=Ground(terms, addresses))
    idle = terms.idle_ms if idle_ms is None else idle_ms
    absolute_at = now + terms.max_age_ms if terms.max_age_ms else 0
    return NewSession(
        Session(
            birth=replace(birth, holds=holds_of(caps), started_by=b"" if is_derived else birth.started_by),
            idle=idle,
            absolute_at=absolute_at,
            expires_at=deadline(now, idle, absolute_at),
            seen_at=now,
            metadata=metadata,
            data=data,
        ),
        caps,
    )


def birth_of(target: Target, identity: Identity | None, *, addresses: Addresses, now: int, client: str = "") -> Birth:
    """What will never change about a session. Without an identity it is its own owner, proved by its id."""
    key = key_of(target, identity, addresses=addresses)
    if identity is None:
        text = target.text
        return Birth(key, text[:12], addresses.anonymous_owner(text), Proof.ID, now, client=client)
    return Birth(
        key=key,
        tag=identity.tag,
        owner=identity.owner,
        proof=identity.proof,
        created_at=now,
        name=target.text if isinstance(target, SessionName) else None,
        user_id=identity.user_id,
        issuer=identity.issuer,
        org_id=identity.org_id,
        groups=identity.groups,
        client=client,
        started_by=identity.token.hash if identity.token is not None else b"",
    )


def caps_of(identity: Identity | None, *, client: str, ground: Ground) -> Caps:
    """How many sessions may live beside a new one: of its owner if there is a user, else of its client; and of all."""
    terms, addresses = ground.terms, ground.addresses
    has_user = identity is not None and not identity.is_anonymous
    levels: list[Level] = []
    if not has_user and terms.per_client and client:
        levels.append(Level(LEVEL_CLIENT, addresses.counter("level", LEVEL_CLIENT, client), terms.per_client))
    if terms.max_sessions:
        levels.append(Level(LEVEL_ALL, addresses.counter("level", LEVEL_ALL), terms.max_sessions))
    return Caps(per_owner=terms.per_user if has_user else 0, evict=terms.evicts, levels=tuple(levels))


def holds_of(caps: Caps) -> tuple[bytes, ...]:
    """What a session made within these caps releases when it ends."""
    return tuple([level.key for level in caps.levels])


def identity_of(birth: Birth, *, ground: Ground) -> Identity | None:
    """The identity that a session was made for, as far as its record knows: without token and scopes."""
    if birth.user_id is not None and birth.issuer is not None:
        claims = Claims(
            issuer=birth.issuer, user_id=birth.user_id, org_id=birth.org_id, groups=birth.groups, proof=birth.proof
        )
        return prove(claims, addresses=ground.addresses, partition=ground.terms.partition)
    shared = developer(ground.addresses)
    return shared if birth.owner == shared.owner else None


def user_identity(
    user_id: str, *, issuer: str, ground: Ground, org_id: str | None = None, groups: tuple[str, ...] = ()
) -> Identity:
    """The identity of a user of that issuer. A user whom the app itself has logged in is proved by the session's id."""
    proof = Proof.ID if issuer == LOGIN_ISSUER else Proof.TOKEN
    claims = Claims(issuer=issuer, user_id=user_id, org_id=org_id, groups=groups, proof=proof)
    return prove(claims, addresses=ground.addresses, partition=ground.terms.partition)
