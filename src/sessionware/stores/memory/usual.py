"""The only place that answers the usual request of the memory store in one go: it is nearly every request.

It decides nothing in another way than `admitting` does: whatever is unusual is left to it, with nothing written.
"""

from __future__ import annotations

from typing import Final

from sessionware.core.admission import Admission, Admitted, Outcome
from sessionware.core.ledger import Counter, Scope, Spend, Tally, When, taken
from sessionware.stores.memory.records import Record
from sessionware.stores.memory.state import State

# Asked on every request, so looked up once: a member of an enum costs ten times a global.
_IN_SESSION: Final = Scope.SESSION
_IF_CREATED: Final = When.CREATED
_ADMITTED: Final = Outcome.ADMITTED


def admit_usual(state: State, ask: Admission) -> Admitted | None:
    """Admit a proved owner in a live session with nothing to override, when every counter stands and has room.

    None when anything is otherwise.
    """
    record = _usual_record(state, ask)
    if record is None:
        return None
    inside, outside = record.counters or {}, state.counters
    changed: list[tuple[Spend, Counter]] = []
    tallies: list[Tally | None] = []
    for spend in ask.spends:
        if spend.when is _IF_CREATED:
            tallies.append(None)
            continue
        counter = inside.get(spend.key) if spend.scope is _IN_SESSION else outside.standing(spend.key)
        if counter is None or counter.window != spend.window:
            return None
        after = taken(counter, spend, spend.allowance)
        if after is None:
            return None
        if after is not counter:
            changed.append((spend, after))
        tallies.append(Tally(after, spend.allowance, True))  # noqa: FBT003  # it fits
    for spend, counter in changed:
        if spend.scope is _IN_SESSION:
            inside[spend.key] = counter
        else:
            outside.set(spend.key, counter, stale_at=spend.stale_at)
    session = record.session.touched(ask.now)
    state.records.put(record, session)
    return Admitted(_ADMITTED, ask.now, session, False, tuple(tallies))  # noqa: FBT003  # it is not new


def _usual_record(state: State, ask: Admission) -> Record | None:
    """The live record that the question is about, if neither of them holds anything out of the ordinary."""
    key, token = ask.key, ask.token
    if key is None or ask.link is not None or ask.candidate is not None:
        return None
    if ask.leases or ask.once or ask.opens or not (ask.touch and ask.wants_data):
        return None
    record = state.records.by_hash(key.hash)
    if record is None:
        return None
    session = record.session
    owner = session.birth.owner
    if ask.owner != owner or ask.now >= session.expires_at or session.limits or owner in state.owners:
        return None
    if token is not None and (token.hash in state.tokens or token.issued_at < 0):
        return None
    return record
