"""What a memory store books after the fact, revokes and lists."""

from __future__ import annotations

from itertools import islice
from typing import assert_never

from msgspec.structs import replace

from sessionware.core.facts import (
    Acknowledged,
    Fact,
    Interrupted,
    OrgLimits,
    OrgLimitsNow,
    OwnerRevocation,
    Released,
    Renewed,
    Revocation,
    Revoked,
    SessionLimits,
    Settled,
    TokenRevocation,
    Touched,
    UserLimits,
)
from sessionware.core.ledger import Scope, adjusted
from sessionware.core.rules import overridden
from sessionware.core.session import Ended, EndReason, deadline
from sessionware.core.store import PAGE_MAX, Page, Query
from sessionware.stores.cursor import read_cursor, write_cursor
from sessionware.stores.memory.admitting import put_counter
from sessionware.stores.memory.records import place_of
from sessionware.stores.memory.state import State


def book(state: State, fact: Fact, now: int) -> bool:  # noqa: C901, PLR0911  # a row for each kind of fact
    """Book one fact; False when it was booked before or there is nothing left that it could change."""
    match fact:
        case Touched():
            return _touch(state, fact, now)
        case Settled():
            return _settle(state, fact, now)
        case Renewed():
            return _renew(state, fact, now)
        case Released():
            return _release(state, fact, now)
        case Acknowledged():
            return state.ended.acknowledge(fact.receipt)
        case SessionLimits():
            record = state.live(fact.key, now)
            if record is None:
                return False
            session = record.session
            limits = overridden(session.limits, fact.limits, until=fact.until, now=now)
            record.session = replace(session, limits=limits, revision=session.revision + 1)
        case UserLimits():
            row = state.owner_row(fact.owner)
            row.limits = overridden(row.limits, fact.limits, until=fact.until, now=now)
        case OrgLimits():
            limits = overridden(state.orgs.get(fact.org, {}), fact.limits, until=fact.until, now=now)
            state.orgs[fact.org] = limits
            state.events.publish(OrgLimitsNow(fact.org, limits))
        case Interrupted():
            if state.live(fact.key, now) is None:
                return False
            state.events.publish(fact)
        case _:
            assert_never(fact)
    return True


def revoke(state: State, revocation: Revocation, now: int) -> list[Ended]:
    """Write the revocation and end the sessions that it reaches, in one step."""
    match revocation:
        case TokenRevocation(token, until):
            state.tokens[token] = max(until, state.tokens.get(token, 0))
            doomed = state.records.started_by(token)
        case OwnerRevocation(_, owner, before):
            row = state.owner_row(owner)
            row.not_before = max(row.not_before, before)
            doomed = [
                record for record in state.records.owned(owner) if record.session.birth.created_at <= row.not_before
            ]
        case _:
            assert_never(revocation)
    ended = [state.end(record, EndReason.REVOKED, now) for record in doomed if now < record.session.expires_at]
    state.events.publish(Revoked(revocation))
    return ended


def page(state: State, query: Query, now: int) -> Page:
    """One page of live sessions, oldest first."""
    records = state.records
    if query.owner is None:
        total, upstreams = len(records), dict(records.upstreams) if query.limit <= 0 else {}
    else:
        total, upstreams = records.owned_count(query.owner), {}
    if query.limit <= 0:
        return Page((), total, upstreams=upstreams)
    created_at, hash_ = read_cursor(query.cursor)
    wanted = min(query.limit, PAGE_MAX)
    if query.owner is None:
        found = records.live_after(created_at, hash_, now=now, count=wanted + 1)
    else:
        owned = (each for each in records.owned(query.owner) if place_of(each) > (created_at, hash_))
        found = list(islice((each for each in owned if now < each.session.expires_at), wanted + 1))
    shown = found[:wanted]
    cursor = write_cursor(*place_of(shown[-1])) if len(found) > wanted else ""
    return Page(tuple([record.session.without_payload() for record in shown]), total, cursor)


def _touch(state: State, fact: Touched, now: int) -> bool:
    record = state.live(fact.key, now)
    if record is None:
        return False
    session = record.session
    seen_at = max(fact.at, session.seen_at)
    expires_at = deadline(seen_at, session.idle, session.absolute_at)
    state.records.put(record, replace(session, seen_at=seen_at, expires_at=expires_at, hits=session.hits + fact.hits))
    return True


def _settle(state: State, fact: Settled, now: int) -> bool:
    if state.operations.answer(fact.owner, "settle", fact.operation, now) is not None:
        return False
    record = state.live(fact.session, now) if fact.session is not None else None
    for spend in fact.spends:
        place, counter = spend.key, None
        if spend.scope is not Scope.SESSION:
            place, counter = state.counters.find(spend, now)
        elif record is not None and record.counters:
            counter = record.counters.get(place)
        changed = adjusted(counter, window=spend.window, cost=spend.cost)
        if changed is not None:
            put_counter(state, record, spend, place, changed)
    state.operations.keep(fact.owner, "settle", fact.operation, True, now)  # noqa: FBT003  # the answer itself
    return True


def _renew(state: State, fact: Renewed, now: int) -> bool:
    for lease in fact.leases:
        state.leases.hold(lease, fact.operation, fact.until)
    if fact.session is None:
        return True
    record = state.live(fact.session, now)
    if record is None:
        return False
    record.hold_open(fact.operation, fact.until, now)
    return True


def _release(state: State, fact: Released, now: int) -> bool:
    released = [state.leases.release(lease, fact.operation, now) for lease in fact.leases]
    record = state.live(fact.session, now) if fact.session is not None else None
    if record is not None and record.open is not None:
        released.append(record.open.pop(fact.operation, 0) > now)
    return any(released)
