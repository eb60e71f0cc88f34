"""The only place that gives a session another id: the old one dies, what was in it lives on.

Within a bucket the store moves the session in one step. Between buckets (Redis Cluster) it is made anew, and the old
one ends only if nobody has changed it meanwhile; else the copy goes and all begins again. So it is, too, where what
was in it must not live on: a copy can be made without it.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import Caps, NewSession, Outcome
from sessionware.core.amounts import plan_usage
from sessionware.core.facts import Settled
from sessionware.core.identity import Identity
from sessionware.core.ids import SECRET_ENTROPY_BYTES, MintedId, SessionKey, mint
from sessionware.core.ledger import Scope, Spend
from sessionware.core.policy import Plan, admission
from sessionware.core.session import Birth, EndReason, Proof, Session
from sessionware.core.store import Log, Making, Move
from sessionware.errors import Conflict, PermissionDenied, SessionExists, SessionNotFound, TooManySessions
from sessionware.service.amounts import stand_of
from sessionware.service.data import only_reserved
from sessionware.service.making import LOGIN_ISSUER, birth_of, caps_of, fresh_id, holds_of
from sessionware.service.owners import named_user
from sessionware.service.runtime import Runtime
from sessionware.service.terms import Terms

ROTATE_TRIES: Final = 3


class Rotated(Struct, frozen=True):
    """The session under its new id. `is_new_id` is False for a name, which is no secret and stays."""

    id: str
    session: Session
    is_new_id: bool = True


async def rotate(runtime: Runtime, session: Session) -> Rotated:
    """Give a minted session a new id in the same partition; a named session keeps its name and is left alone.

    Raises SessionNotFound, Conflict, StoreUnavailable.
    """
    birth = session.birth
    if birth.name is not None:
        return Rotated(birth.name, session, is_new_id=False)
    minted = mint(birth.tag, runtime.entropy(SECRET_ENTROPY_BYTES))
    is_anonymous = birth.tag.startswith("a")  # then it is its own owner
    owner = runtime.addresses.anonymous_owner(minted.text) if is_anonymous else birth.owner
    reborn = replace(birth, key=runtime.addresses.minted_key(minted), owner=owner)
    return await _reborn(runtime, session, minted, reborn, Caps())


async def login(  # noqa: PLR0913  # what users type
    runtime: Runtime,
    session: Session,
    user_id: str,
    *,
    org_id: str | None = None,
    groups: tuple[str, ...] = (),
    keep_data: bool = True,
) -> Rotated:
    """Hand the session over to a user whom the app itself has proved: from now on its new id alone proves them.

    Raises InvalidValue for what is no user, and what `hand_over` raises.
    """
    identity = named_user(runtime, user_id, iss=LOGIN_ISSUER, org=org_id, groups=groups)
    return await hand_over(runtime, session, identity, keep_data=keep_data)


async def hand_over(runtime: Runtime, session: Session, identity: Identity, *, keep_data: bool = True) -> Rotated:
    """Make the session that of `identity`, under a new id: `login` and `adopt`. Its links end.

    It counts as made now (a revocation of this owner before now does not reach it), but dies when it would have.
    Raises TooManySessions, SessionNotFound, Conflict, StoreUnavailable.
    """
    minted = fresh_id(identity, entropy=runtime.entropy)
    client = session.birth.client
    reborn = birth_of(minted, identity, addresses=runtime.addresses, now=runtime.now(), client=client)
    caps = caps_of(identity, client=client, ground=runtime.ground)
    if not keep_data and reborn.owner == session.birth.owner:
        caps = replace(caps, per_owner=0)  # it takes its own place
    return await _reborn(runtime, session, minted, reborn, caps, keep_data=keep_data)


def check_login(session: Session, *, org_id: str | None, terms: Terms) -> None:
    """Raises PermissionDenied for a session that a credential owns, and for a user without the org that is wanted."""
    if session.birth.proof is Proof.TOKEN:
        raise PermissionDenied("a session that a token owns cannot be logged in: its user is whom the token names")
    if terms.require_org and not org_id:
        raise PermissionDenied("an organisation is required (SESSIONWARE_REQUIRE_ORG): login(..., org_id=...)")


def check_adoptable(session: Session) -> None:
    """Raises PermissionDenied for a session that belongs to somebody already."""
    if session.birth.user_id is not None or session.birth.proof is not Proof.ID or session.birth.name is not None:
        raise PermissionDenied("only an anonymous session can be adopted")


async def _reborn(  # noqa: PLR0913  # what moves, where to, and on which terms
    runtime: Runtime, session: Session, minted: MintedId, birth: Birth, caps: Caps, *, keep_data: bool = True
) -> Rotated:
    step = _copy_emptied if not keep_data else _move if birth.key.bucket == session.key.bucket else _copy
    payload = session
    for attempt in range(ROTATE_TRIES):
        try:
            moved = await step(runtime, session, birth, caps)
        except Conflict:
            runtime.telemetry.conflict()
            if attempt == ROTATE_TRIES - 1:
                raise
            payload = session = await _read(runtime, session)
            continue
        runtime.health.moved(session.key, birth.key)
        kept = moved if moved.data is not None else replace(moved, metadata=payload.metadata, data=payload.data)
        return Rotated(minted.text, kept)
    raise AssertionError("the last attempt returns or raises")


async def _move(runtime: Runtime, session: Session, birth: Birth, caps: Caps) -> Session:
    moved = await runtime.store.move(Move(session.key, birth, session.revision, caps), now=runtime.now())
    runtime.unlinked(moved.unlinked)
    await runtime.tell_ended(moved.evicted)
    return moved.session


async def _copy(runtime: Runtime, session: Session, birth: Birth, caps: Caps, *, keep_data: bool = True) -> Session:
    """Make the copy, fill it, end the original; undo when anything goes wrong in between."""
    original = await _read(runtime, session)
    holding = replace(birth, holds=holds_of(caps))
    copied = original if keep_data else replace(original, metadata=b"", data=only_reserved(original.data or b""))
    new = NewSession(replace(copied, birth=holding, links=()), caps)
    created = await runtime.store.create(new, operation=runtime.operation(), now=runtime.now())
    await runtime.tell_ended(created.evicted)
    if created.outcome is Making.EXISTS:
        raise SessionExists("a live session already stands under the new id")
    if created.outcome is Making.FULL:
        raise TooManySessions(f"no room for the session under its new owner: {created.full}")
    try:
        if keep_data:
            await _carry_conversation(runtime, original.key, new.session.key)
        await _carry_use(runtime, original, new.session)
        await _end_original(runtime, original)
    except BaseException:
        await runtime.store.delete(birth.key, now=runtime.now())
        raise
    return new.session


async def _copy_emptied(runtime: Runtime, session: Session, birth: Birth, caps: Caps) -> Session:
    """Never show one user what another has left: neither data nor metadata nor the conversation."""
    return await _copy(runtime, session, birth, caps, keep_data=False)


async def _carry_conversation(runtime: Runtime, old: SessionKey, new: SessionKey) -> None:
    now, most = runtime.now(), runtime.terms.max_context
    for item in await runtime.store.tail(old, Log.CONTEXT, most, now=now):
        await runtime.store.append(new, Log.CONTEXT, item, keep=most, now=now)


async def _carry_use(runtime: Runtime, old: Session, new: Session) -> None:
    """What the session has used of its own limits."""
    now = runtime.now()
    stand = stand_of(runtime, old)
    planned = plan_usage(runtime.policy, stand.caller, stand.facts, now=now)
    spends = tuple([spend for spend in planned if spend.scope is Scope.SESSION])
    if not spends:
        return
    ask = replace(
        admission(stand.caller, Plan(spends), now=now, operation=runtime.operation()), touch=False, wants_data=False
    )
    answer = await runtime.store.admit(ask)
    if answer.outcome is not Outcome.ADMITTED:
        raise SessionNotFound("Session not found")
    found = [(spend, tally.counter) for spend, tally in zip(ask.spends, answer.tallies, strict=True) if tally]
    used = tuple([replace(spend, cost=at.used, window=at.window) for spend, at in found if at.used])
    before = tuple([replace(spend, cost=at.before, window=at.window - 1) for spend, at in found if at.before])

    def settled(charges: tuple[Spend, ...]) -> Settled:
        return Settled(new.key.bucket, new.birth.owner, runtime.operation(), new.key, charges)

    await runtime.store.record([settled(charges) for charges in (used, before) if charges], now=now)


async def _end_original(runtime: Runtime, original: Session) -> None:
    newest = await _read(runtime, original)
    if newest.revision != original.revision:
        raise Conflict("the session changed while it was moved", revision=newest.revision)
    ended = await runtime.store.delete(original.key, now=runtime.now(), reason=EndReason.ROTATED)
    if ended is None:
        raise SessionNotFound("Session not found")
    runtime.unlinked(ended.session.links)
    await runtime.acknowledge([ended])


async def _read(runtime: Runtime, session: Session) -> Session:
    newest = await runtime.store.get(session.key, now=runtime.now())
    if newest is None:
        raise SessionNotFound("Session not found")
    return newest
