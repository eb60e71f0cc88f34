"""The only place that starts a session: one atomic step that makes it, charges for it, and evicts what it displaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import Admission, NewSession, Outcome
from sessionware.core.decision import FULL_OWNER, Decision, Refused, judge
from sessionware.core.identity import Identity
from sessionware.core.ids import SessionName, check_name, ref
from sessionware.core.ledger import When
from sessionware.core.policy import Caller, Plan, plan_creation
from sessionware.core.policy import admission as admission_of
from sessionware.core.request import Facts
from sessionware.core.session import Session
from sessionware.core.store import PAGE_MAX, Query
from sessionware.credentials.session_token import new_session_token
from sessionware.errors import (
    IdentityRequired,
    InvalidValue,
    OwnerFull,
    PermissionDenied,
    SessionExists,
    StoreUnavailable,
)
from sessionware.service.actors import Actor
from sessionware.service.data import SessionData, with_reserved
from sessionware.service.finding import TOKEN_FIELD, identity_for
from sessionware.service.making import fresh_id, new_session
from sessionware.service.packing import packed
from sessionware.service.refusals import raise_refused, shown
from sessionware.service.runtime import Runtime
from sessionware.service.snapshot import Snapshot, Started

TTL_MAX_SECONDS: Final = 100 * 365 * 86_400  # a century: more is a mistake, and would leave the integers of a store


class Wish(Struct, frozen=True, kw_only=True):
    """What the caller asks of a new session. `ttl` in seconds; None is the default."""

    name: str | None = None
    metadata: Mapping[str, Any] = {}
    data: Mapping[str, Any] = {}
    ttl: float | None = None


async def start(runtime: Runtime, wish: Wish, *, by: Actor, reuse: bool = False) -> Started:
    """Make a session; with `reuse` the caller's own live one of that name will do.

    Raises SessionExists, LimitExceeded, TooManySessions,
    InvalidSessionId, IdentityRequired, InvalidValue, PayloadTooLarge, InvalidToken, StoreUnavailable.
    """
    name = None if wish.name is None else SessionName(check_name(wish.name))
    identity = _whose(runtime, wish, by=by)
    idle_ms = idle_of(runtime, wish.ttl, by=by)
    metadata, data = packed_metadata(runtime, wish.metadata), _packed_data(runtime, wish.data)
    token = None
    if runtime.terms.session_token:
        token, kept = new_session_token()
        data = with_reserved(data, {TOKEN_FIELD: kept})
    target = name or fresh_id(identity, entropy=runtime.entropy)
    new = new_session(
        target, identity, terms=runtime.terms, addresses=runtime.addresses, now=runtime.now(),
        client=by.client, idle_ms=idle_ms, metadata=metadata, data=data,
    )  # fmt: skip
    session, is_new = await _made(runtime, new, identity, by=by)
    if not is_new and not reuse:
        raise SessionExists("Session already exists")
    return Started(Snapshot(target.text, session), is_new, token if is_new else None)


async def bear(runtime: Runtime, new: NewSession, identity: Identity | None, *, client: str) -> Session:
    """Make a session that was prepared before anybody knew whether it would be needed.

    Raises LimitExceeded, TooManySessions, InvalidToken, StoreUnavailable.
    """
    session, _ = await _made(runtime, new, identity, by=Actor(identity=identity, client=client))
    return session


async def _made(runtime: Runtime, new: NewSession, identity: Identity | None, *, by: Actor) -> tuple[Session, bool]:
    """The session in the store, and whether this call has made it."""
    ask = _ask(runtime, new, identity, by=by)
    answer = await runtime.store.admit(ask)
    await runtime.tell_ended(answer.evicted)
    if answer.outcome is not Outcome.ADMITTED or answer.session is None:
        await _refuse(runtime, judge(ask, answer, runtime.policy), identity)
    if answer.is_new:
        runtime.tell_started(answer.session)
    return answer.session, answer.is_new


def idle_of(runtime: Runtime, ttl: float | None, *, by: Actor) -> int | None:
    """The idle time in milliseconds that `ttl` seconds ask for. Raises InvalidValue.

    SESSION_MAX_TTL binds everybody but administrators.
    """
    if ttl is None:
        return None
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= TTL_MAX_SECONDS:
        raise InvalidValue(f"ttl must be a number of seconds above 0, got {shown(ttl)}")
    idle_ms = max(round(ttl * 1000), 1)
    most = runtime.terms.max_ttl_ms
    if most and idle_ms > most and not by.is_admin:
        raise InvalidValue(f"ttl must be at most {most // 1000} s (SESSIONWARE_SESSION_MAX_TTL), got {shown(ttl)}")
    return idle_ms


def packed_metadata(runtime: Runtime, metadata: Mapping[str, Any]) -> bytes:
    """The client's metadata as it is kept. Raises PayloadTooLarge, InvalidValue for what cannot be kept at all."""
    return packed(metadata, what="metadata", at_most=runtime.terms.max_metadata)


def _packed_data(runtime: Runtime, values: Mapping[str, Any]) -> bytes:
    data = SessionData()
    data.update(values)
    changes = data.changes()
    return b"" if changes is None else changes.applied(b"", at_most=runtime.terms.max_data)[0]


def _whose(runtime: Runtime, wish: Wish, *, by: Actor) -> Identity | None:
    """Whom the session will belong to."""
    identity = identity_for(runtime, by)
    if identity is not None and identity.is_anonymous and wish.name is None:
        identity = None  # who chooses no name shares nothing, not even with ANONYMOUS=named
    if identity is None and not by.is_app:
        if runtime.terms.anonymous == "off" or runtime.terms.required_groups or runtime.terms.require_org:
            raise IdentityRequired("an identity is required: present a token")
        if wish.name is not None:
            raise IdentityRequired("a name needs an identity: present a token, or start without session_id")
    if identity is None and wish.name is not None:
        raise InvalidValue(f"the name {wish.name!r:.140} means something only beside its owner: say by=")
    if identity is not None and not identity.is_anonymous and runtime.terms.require_org and not identity.org_id:
        raise PermissionDenied("an organisation is required (SESSIONWARE_REQUIRE_ORG)")
    return identity


def _ask(runtime: Runtime, new: NewSession, identity: Identity | None, *, by: Actor) -> Admission:
    """The one question: is there room, does the budget for making sessions allow it, is the name free."""
    birth, now = new.session.birth, new.session.birth.created_at
    org_limits = runtime.org_limits_of(identity)
    caller = Caller(identity, birth.key, birth.tag, birth.key.bucket, org_limits)
    facts = Facts(client=by.client)
    spends = () if by.is_app else plan_creation(runtime.policy, caller, facts, now=now, when=When.CREATED)
    ask = admission_of(caller, Plan(spends), now=now, operation=runtime.operation(), new=new)
    return replace(ask, touch=False)


async def _refuse(runtime: Runtime, decision: Decision, identity: Identity | None) -> NoReturn:
    if not isinstance(decision, Refused):
        raise StoreUnavailable("the store admitted a session and did not answer it")
    runtime.telemetry.refused(decision)
    runtime.observers.refused(decision)
    if decision.answer.full == FULL_OWNER and identity is not None:
        refs = await _refs(runtime, identity)
        raise OwnerFull(decision.message, refs)
    raise_refused(decision)


async def _refs(runtime: Runtime, identity: Identity) -> tuple[str, ...]:
    query = Query(identity.owner, runtime.addresses.bucket(identity.tag), limit=PAGE_MAX)
    page = await runtime.store.list(query, now=runtime.now())
    return tuple([ref(session.key) for session in page.sessions])
