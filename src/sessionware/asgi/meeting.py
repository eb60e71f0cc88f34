"""The only place that meets a caller for the first time: everything that was presented is read and resolved."""

from __future__ import annotations

from msgspec import Struct

from sessionware.asgi.engine import Engine
from sessionware.asgi.messages import Scope
from sessionware.asgi.reading import Read, read
from sessionware.asgi.visits import Visit, believed_until
from sessionware.core.identity import Identity
from sessionware.core.ids import MintedId
from sessionware.core.ledger import Spend
from sessionware.core.policy import Caller
from sessionware.core.session import Proof
from sessionware.credentials.presented import Place, Presented
from sessionware.credentials.refusals import ForeignId
from sessionware.credentials.resolved import Kind, Resolved, Target
from sessionware.errors import AmbiguousCredentials, InvalidToken
from sessionware.service.tickets import read_ticket
from sessionware.telemetry import who_asks


class Met(Struct, frozen=True):
    """A caller, and the spend that uses up the ticket that they came with."""

    visit: Visit
    ticket: Spend | None = None


async def meet(engine: Engine, scope: Scope, now: int, *, body_id: str | None = None) -> Met:
    """Read all that is presented, and find out what it means. Raises for bad credentials."""
    seen = read(scope, engine.options.names, body_id=body_id)
    if seen.tickets:
        return _ticketed(engine, seen, now)
    presented = seen.presented
    try:
        resolved = await engine.resolver.resolve(presented, now)
    except ForeignId as error:
        engine.runtime.telemetry.foreign_id(who_asks(error.identity))
        raise
    client = engine.resolver.client(presented)
    engine.doubt.heard(presented)
    identity = resolved.identity
    if resolved.key_id is not None:
        engine.runtime.telemetry.key_used(resolved.key_id, who_asks(identity))
    visit = Visit(
        resolved,
        _caller(engine, resolved),
        client=client,
        session_token=presented.one_session_token,
        until=believed_until(resolved, now),
    )
    visit.since = now
    visit.poses = _poses(engine, presented)
    return Met(visit)


def without_session(engine: Engine, visit: Visit) -> Visit:
    """The same caller, who means no session any more."""
    resolved = Resolved(visit.identity)
    alone = Visit(resolved, _caller(engine, resolved), client=visit.client, session_token=visit.session_token)
    alone.poses = visit.poses
    return alone


def _poses(engine: Engine, presented: Presented) -> bool:
    return bool(presented.user) and not engine.resolver.trusts(presented.peer)


def _caller(engine: Engine, resolved: Resolved) -> Caller:
    runtime, identity = engine.runtime, resolved.identity
    org_limits = runtime.org_limits_of(identity)
    target, link = resolved.target, resolved.link
    if target is not None:
        return Caller(identity, target.key, target.tag, target.key.bucket, org_limits)
    if link is not None:
        # Its session is known once the store has answered; most have the link's own id. What counts over sessions
        # needs one to count over, or it would count over the client, whom many share.
        session = runtime.addresses.minted_key(MintedId(link.text))
        return Caller(identity, session, link.tag, link.key.bucket, org_limits)
    tag = identity.tag if identity is not None else ""
    return Caller(identity, None, tag, runtime.addresses.bucket(tag) if tag else 0, org_limits)


def _ticketed(engine: Engine, seen: Read, now: int) -> Met:
    """A ticket stands for its session and whoever asked for it. Raises InvalidToken, AmbiguousCredentials."""
    presented, runtime = seen.presented, engine.runtime
    if presented.ids or presented.authorization or presented.api_key or len(seen.tickets) > 1:
        raise AmbiguousCredentials("a ticket and another credential: send one of them")
    ticket = read_ticket(seen.tickets[0], addresses=runtime.addresses, now=now)
    identity: Identity | None = ticket.identity(addresses=runtime.addresses, partition=runtime.terms.partition)
    if identity is None and ticket.proof is not Proof.ID:
        raise InvalidToken("Invalid or expired ticket")
    tag = identity.tag if identity is not None else ""
    # Minted: only the session that the ticket was written for will do, and its id is not told.
    target = Target(ticket.session, tag, "", Kind.MINTED, Place.QUERY)
    resolved = Resolved(identity, target)
    visit = Visit(resolved, _caller(engine, resolved), client=engine.resolver.client(presented))
    visit.poses = _poses(engine, presented)
    return Met(visit, ticket.use(addresses=runtime.addresses))
