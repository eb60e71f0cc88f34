"""The only place that finds the session a caller means, and decides whether it is theirs to use.

Owner or administrator, on every verb. Another owner's minted id is refused without a lookup; a name is looked for
among the caller's own sessions only; a handle is no credential, so only the owner, or who presents its id, may use it.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from sessionware.core.admission import Admission, Outcome
from sessionware.core.facts import Touched
from sessionware.core.identity import Identity, derived_name, developer
from sessionware.core.ids import HANDLE_PREFIX, MintedId, SessionKey, SessionName, parse_handle, parse_presented, ref
from sessionware.core.session import Session
from sessionware.credentials.session_token import is_session_token
from sessionware.errors import (
    IdentityRequired,
    InvalidToken,
    InvalidValue,
    NoSessionId,
    PermissionDenied,
    SessionNotFound,
)
from sessionware.service.actors import Actor
from sessionware.service.data import reserved
from sessionware.service.making import Target, key_of
from sessionware.service.refusals import SessionDead, raise_unfound
from sessionware.service.runtime import Runtime
from sessionware.service.snapshot import Snapshot
from sessionware.telemetry import who_asks

TOKEN_FIELD: Final = "token"


class Place(Struct, frozen=True):
    """Where the meant session lies, whom the caller claims to be there, and what it is called towards them."""

    key: SessionKey
    owner: bytes | None
    called: str | None


async def find(runtime: Runtime, session_id: str, *, by: Actor, touch: bool = False) -> Snapshot:
    """The live session that `session_id` means for this caller, with its payload.

    With `touch` this counts as a request. Raises
    InvalidSessionId, IdentityRequired, InvalidToken, PermissionDenied, SessionNotFound, StoreUnavailable.
    """
    place = locate(runtime, session_id, by=by)
    if by.is_admin:
        session = await _look(runtime, place, by=by, touch=touch)
    else:
        session = await _ask(runtime, place, by=by, touch=touch)
        check_session_token(runtime, session, by=by)
        if by.identity is None:
            _check_member(runtime, session)
    return Snapshot(place.called or session.birth.name or session_id, session)


async def current(runtime: Runtime, *, by: Actor) -> Snapshot:
    """The session that the request itself presents, or that its identity selects.

    Raises IdentityRequired when there is neither, and what `find` raises.
    """
    return await find(runtime, current_id(by), by=by)


def current_id(by: Actor) -> str:
    """The id behind `current`."""
    if by.presented is not None:
        return by.presented.text
    if by.identity is not None:
        return derived_name(by.identity).text
    raise NoSessionId("No session ID provided")


def locate(runtime: Runtime, session_id: str, *, by: Actor) -> Place:
    """Read an id in any form that a path allows. Refuses what needs no lookup."""
    addresses = runtime.addresses
    identity = identity_for(runtime, by)
    owner = None if identity is None else identity.owner
    if session_id.startswith(HANDLE_PREFIX):
        key = parse_handle(session_id)
        presented = presented_key(runtime, by)
        if presented == key:
            return Place(key, _owner_for(by.presented, identity), None)
        if identity is None and not by.is_admin:
            raise SessionNotFound("Session not found")
        return Place(key, owner, None)
    target = parse_presented(session_id)
    if isinstance(target, MintedId):
        if by.is_app or identity is None or identity.is_anonymous or identity.may_hold(target):
            return Place(addresses.minted_key(target), _owner_for(target, identity), target.text)
        if not by.is_admin:
            _tell_foreign(runtime, by, addresses.minted_key(target))
            raise PermissionDenied("Permission denied")
        return Place(addresses.minted_key(target), None, target.text)
    if identity is None:
        if by.is_app:
            raise InvalidValue(f"the name {target.text!r} means something only beside its owner: say by=")
        raise IdentityRequired("a name needs an identity: present a token, or use the id that `start` returned")
    return Place(key_of(target, identity, addresses=addresses), owner, target.text)


def presented_key(runtime: Runtime, by: Actor) -> SessionKey | None:
    """Where the presented session lies; None when none is."""
    target = by.presented
    if target is None:
        if by.identity is None:
            return None
        target = derived_name(by.identity)
    identity = identity_for(runtime, by)
    if isinstance(target, SessionName) and identity is None:
        return None
    return key_of(target, identity, addresses=runtime.addresses)


def identity_for(runtime: Runtime, by: Actor) -> Identity | None:
    """Who the caller is; with ANONYMOUS=named those who have proved nothing share one owner for their names."""
    if by.identity is not None or by.is_app or runtime.terms.anonymous != "named":
        return by.identity
    return developer(runtime.addresses)


async def vet(runtime: Runtime, by: Actor) -> None:
    """Make sure that the caller's token was not revoked, where no session is asked for. Raises InvalidToken."""
    identity = by.identity
    if identity is None or identity.token is None:
        return
    answer = await runtime.store.admit(
        Admission(
            runtime.now(),
            runtime.addresses.bucket(identity.tag),
            runtime.operation(),
            owner=identity.owner,
            token=identity.token,
            touch=False,
            wants_data=False,
        )
    )
    if answer.outcome is Outcome.REVOKED:
        raise InvalidToken("Permission denied")


def check_session_token(runtime: Runtime, session: Session, *, by: Actor) -> None:
    """Where `start` has handed out a secret, it must come along. Raises InvalidToken."""
    if not runtime.terms.session_token:
        return
    kept = reserved(session.data or b"").get(TOKEN_FIELD)
    if isinstance(kept, bytes) and not is_session_token(by.session_token, kept):
        raise InvalidToken("Permission denied")


def _check_member(runtime: Runtime, session: Session) -> None:
    """REQUIRED_GROUPS and REQUIRE_ORG, of a session that its id alone proves: only the record tells whose it is."""
    terms, birth = runtime.terms, session.birth
    if terms.required_groups and terms.required_groups.isdisjoint(birth.groups):
        raise PermissionDenied("Permission denied")
    if terms.require_org and not birth.org_id:
        raise PermissionDenied("Permission denied")


def _owner_for(target: Target | None, identity: Identity | None) -> bytes | None:
    """Whom the store is to believe: the shared owner of named sessions holds no minted id, its bearer does."""
    if identity is None or (identity.is_anonymous and isinstance(target, MintedId)):
        return None
    return identity.owner


async def _ask(runtime: Runtime, place: Place, *, by: Actor, touch: bool) -> Session:
    answer = await runtime.store.admit(
        Admission(
            runtime.now(),
            place.key.bucket,
            runtime.operation(),
            key=place.key,
            owner=place.owner,
            token=None if by.identity is None else by.identity.token,
            touch=touch,
        )
    )
    await runtime.tell_ended(answer.evicted)
    if answer.outcome is not Outcome.ADMITTED or answer.session is None:
        if answer.outcome is Outcome.FOREIGN:
            _tell_foreign(runtime, by, place.key)
        raise_unfound(answer)
    return answer.session


async def _look(runtime: Runtime, place: Place, *, by: Actor, touch: bool) -> Session:
    await vet(runtime, by)
    now = runtime.now()
    if touch:
        await runtime.store.record([Touched(place.key, now, 1)], now=now)
    session = await runtime.store.get(place.key, now=now)
    if session is None:
        raise SessionDead(None)
    if by.identity is not None and by.identity.owner != session.birth.owner:
        tell_admin(runtime, "session", by, ref=ref(place.key))
    return session


def tell_admin(runtime: Runtime, act: str, by: Actor, **details: str | None) -> None:
    """Audit what an administrator does, and on whom; the application itself is none."""
    if by.identity is not None:
        runtime.telemetry.admin(
            act, who_asks(by.identity), {name: value for name, value in details.items() if value is not None}
        )


def _tell_foreign(runtime: Runtime, by: Actor, key: SessionKey) -> None:
    runtime.telemetry.foreign_id(who_asks(by.identity, key))
