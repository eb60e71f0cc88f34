"""The memory store's admission: look everything up, decide, then write."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from sessionware.core.admission import VICTIM_SCAN, Admission, Admitted, NewSession, Outcome
from sessionware.core.ledger import Counter, LeaseTally, Scope, Spend, Tally, When, charged, fits, rolled
from sessionware.core.rules import (
    NO_OVERRIDES,
    allowance_of,
    bound,
    choose_victims,
    death,
    is_refused,
    knows,
    lease_tally,
    operation_name,
    refusal,
    repeats,
    victims_wanted,
)
from sessionware.core.session import Ended, EndReason, Link, Session
from sessionware.stores.memory.records import Record
from sessionware.stores.memory.state import OwnerRow, State

Room = list[tuple[Record, EndReason]]
_NO_ROW: Final = OwnerRow()
# Asked on every request, so looked up once: a member of an enum costs ten times a global.
_IN_SESSION: Final = Scope.SESSION
_IF_CREATED: Final = When.CREATED
_ADMITTED: Final = Outcome.ADMITTED


def admit(state: State, ask: Admission) -> Admitted:
    """Answer one admission. Nothing is written before the last "no" has been ruled out."""
    now = ask.now
    record, link, row = _find(state, ask)
    session = record.session if record is not None else None
    revoked = ask.token is not None and state.tokens.get(ask.token.hash, 0) > now
    outcome = refusal(ask, session, not_before=row.not_before, token_revoked=revoked)
    if outcome is not None:
        return Admitted(outcome, now, reason=_reason(state, ask) if outcome is Outcome.UNKNOWN else None)
    if ask.once:
        owner, name = operation_name(ask)
        first: Admitted | None = state.operations.answer(owner, "admit", name, now)
        if first is not None and repeats(first, session):
            return first
    makes = record is None and ask.new is not None
    found, refused = _weigh(state, ask, record, row, makes=makes) if ask.spends else ([], False)
    leases = _lease_tallies(state, ask, session, row) if ask.leases else ()
    if refused or (leases and is_refused((), zip(ask.leases, leases, strict=True))):
        return Admitted(
            Outcome.LIMITED, now, session=_shown(session, ask), tallies=_shown_tallies(found), leases=leases
        )
    evicted: tuple[Ended, ...] = ()
    is_new = makes and ask.key is not None
    if is_new and ask.new is not None:
        swept = sweep_for_levels(state, ask.new, now)
        room = room_for(state, ask.new, now)
        if isinstance(room, str):
            return Admitted(Outcome.FULL, now, tallies=_shown_tallies(found), leases=leases, full=room, evicted=swept)
        record, evicted = make(state, ask.new, room, now, hits=int(ask.touch))
        evicted = swept + evicted
    tallies = _charge(state, record, found) if found else ()
    held = _hold(state, ask, record, leases) if leases or ask.opens else ()
    if record is not None:
        _write(state, ask, record, touch=ask.touch and not is_new)
        if link is not None and ask.touch:
            link = state.links.touch(record, link, now)
    shown = _shown(record.session, ask) if record is not None else None
    answer = Admitted(_ADMITTED, now, shown, is_new, tallies, held, link)
    if ask.once:
        owner, name = operation_name(ask)
        state.operations.keep(owner, "admit", name, answer, now)
    return replace(answer, evicted=evicted) if evicted else answer


def sweep_for_levels(state: State, new: NewSession, now: int) -> tuple[Ended, ...]:
    """Remove a few expired sessions when a level is full: it counts them until they are reaped."""
    if all(state.counters.level(level.key) < level.allowance for level in new.caps.levels):
        return ()
    return tuple([state.end(record, EndReason.EXPIRED, now) for record in state.records.due(now, VICTIM_SCAN)])


def room_for(state: State, new: NewSession, now: int, *, leaving: Record | None = None) -> Room | str:
    """Which records must go so that `new` fits its caps, or the name of the cap that is full."""
    owner, caps = new.session.birth.owner, new.caps
    not_before = state.owners.get(owner, _NO_ROW).not_before
    room: Room = []
    stale = state.records.by_hash(new.session.key.hash)
    if stale is not None:
        room.append((stale, death(stale.session, now=now, not_before=not_before) or EndReason.EXPIRED))
    gone = [record for record in (stale, leaving) if record is not None and record.session.birth.owner == owner]
    wanted = victims_wanted(caps, state.records.owned_count(owner) - len(gone))
    if wanted > 0:
        candidates = {
            record.session.key.hash: record for record in state.records.oldest_owned(owner) if record not in gone
        }
        chosen = choose_victims(
            [(record.session, record.is_open(now)) for record in candidates.values()],
            caps=caps, wanted=wanted, now=now, not_before=not_before,
        )  # fmt: skip
        if chosen is None:
            return "owner"
        room += [(candidates[session.key.hash], reason) for session, reason in chosen]
    for level in caps.levels:
        freed = sum(level.key in record.session.birth.holds for record, _ in room)
        if state.counters.level(level.key) - freed >= level.allowance:
            return level.name
    return room


def make(
    state: State, new: NewSession, room: Room, now: int, *, hits: int | None = None
) -> tuple[Record, tuple[Ended, ...]]:
    """Make the session after those in its way have ended."""
    evicted = tuple([state.end(record, reason, now) for record, reason in room])
    session = new.session if hits is None else replace(new.session, hits=hits)
    state.stones.clear(session.key)
    for level in new.caps.levels:
        state.counters.add_level(level.key, 1)
    return state.records.add(session), evicted


def _find(state: State, ask: Admission) -> tuple[Record | None, Link | None, OwnerRow]:
    """The live record that the question is about, by key or by link, and the row of its owner or the caller.

    A link of another session finds nothing.
    """
    key, link = ask.key, None
    if ask.link is not None:
        link = state.links.get(ask.link)
        key = link.session if link is not None and ask.key in (None, link.session) else None
    record = state.records.by_hash(key.hash) if key is not None else None
    owner = ask.owner if record is None else record.session.birth.owner
    row = state.owners.get(owner, _NO_ROW) if owner is not None else _NO_ROW
    if record is not None and death(record.session, now=ask.now, not_before=row.not_before) is not None:
        record = None
    return record, link, row


def _reason(state: State, ask: Admission) -> EndReason | None:
    """How the session under the key ended, if the caller may know; one that is not swept yet is no different."""
    if ask.key is None:
        return None
    record = state.records.by_hash(ask.key.hash)
    if record is None:
        return state.stones.reason(ask.key, ask.owner, ask.now)
    birth = record.session.birth
    if not knows(ask.owner, of=birth.owner, proof=birth.proof):
        return None
    return death(record.session, now=ask.now, not_before=state.owners.get(birth.owner, _NO_ROW).not_before)


# A spend, where its counter lies, the counter as the spend's window sees it, the allowance that holds, whether it
# fits. The counter is None when the spend takes no part.
_Found = list[tuple[Spend, bytes, Counter | None, int, bool]]


def _weigh(state: State, ask: Admission, record: Record | None, row: OwnerRow, *, makes: bool) -> tuple[_Found, bool]:
    """Roll every counter; say also whether a binding spend does not fit."""
    now = ask.now
    own, inside = (record.session.limits, record.counters) if record is not None else (NO_OVERRIDES, None)
    overridden = own or row.limits
    found: _Found = []
    refused = False
    for spend in ask.spends:
        place, allowance = spend.key, spend.allowance
        if not makes and spend.when is _IF_CREATED:
            found.append((spend, place, None, allowance, True))
            continue
        if spend.scope is not _IN_SESSION:
            place, counter = state.counters.find(spend, now)
        else:
            counter = inside.get(place) if inside else None
        if overridden:
            allowance = allowance_of(spend.limit, allowance, now, own, row.limits)
        if counter is None or counter.window != spend.window:
            counter = rolled(counter, spend.window)
        is_fit = fits(counter, spend, allowance)
        found.append((spend, place, counter, allowance, is_fit))
        if not is_fit and spend.binding:
            refused = True
    return found, refused


def _shown_tallies(found: _Found) -> tuple[Tally | None, ...]:
    return tuple(
        [None if counter is None else Tally(counter, allowance, is_fit) for _, _, counter, allowance, is_fit in found]
    )


def _lease_tallies(state: State, ask: Admission, session: Session | None, row: OwnerRow) -> tuple[LeaseTally, ...]:
    own = session.limits if session is not None else NO_OVERRIDES
    found = []
    for lease in ask.leases:
        running, held = state.leases.running(lease, ask.operation, ask.now)
        allowance = allowance_of(lease.limit, lease.allowance, ask.now, own, row.limits)
        found.append(lease_tally(running, held=held, allowance=allowance))
    return tuple(found)


def _charge(state: State, record: Record | None, found: _Found) -> tuple[Tally | None, ...]:
    tallies: list[Tally | None] = []
    for spend, place, counter, allowance, is_fit in found:
        if counter is None:
            tallies.append(None)
            continue
        after = charged(counter, spend.cost)
        tallies.append(Tally(after, allowance, is_fit))
        if spend.cost:
            put_counter(state, record, spend, place, after)
    return tuple(tallies)


def put_counter(state: State, record: Record | None, spend: Spend, place: bytes, counter: Counter) -> None:
    """Write one counter where its scope says; a session counter without a session has nowhere to go."""
    if spend.scope is not _IN_SESSION:
        state.counters.set(place, counter, stale_at=spend.stale_at)
    elif record is not None:
        if record.counters is None:
            record.counters = {}
        record.counters[place] = counter


def _hold(state: State, ask: Admission, record: Record | None, found: tuple[LeaseTally, ...]) -> tuple[LeaseTally, ...]:
    until = ask.now + ask.lease_ms
    held = []
    for lease, before in zip(ask.leases, found, strict=True):
        state.leases.hold(lease, ask.operation, until)
        running, _ = state.leases.running(lease, ask.operation, ask.now)
        held.append(LeaseTally(running, before.allowance, before.fits))
    if record is not None and (ask.leases or ask.opens):
        record.hold_open(ask.operation, until, ask.now)
    return tuple(held)


def _write(state: State, ask: Admission, record: Record, *, touch: bool) -> None:
    session = record.session
    candidate = ask.candidate
    if candidate is not None and candidate.pool not in session.bindings:
        session = replace(session, bindings=bound(session.bindings, candidate))
        state.records.count_bindings({candidate.pool: candidate.upstream}, 1)
    if touch:
        state.records.put(record, session.touched(ask.now))
    elif session is not record.session:
        record.session = session


def _shown(session: Session | None, ask: Admission) -> Session | None:
    return session if session is None or ask.wants_data else session.without_payload()
