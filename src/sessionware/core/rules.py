"""The rules of an admission, one by one, for the stores that are written in Python.

`redis/*.lua` says the same in its own language, with the same names; the differential test holds them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sessionware.core.admission import VICTIMS_MAX, Admission, Admitted, Binding, Caps, Outcome
from sessionware.core.ledger import Counter, Lease, LeaseTally, Spend, Tally, charged, fits, rolled
from sessionware.core.session import EndReason, Override, Proof, Session

NO_OVERRIDES: Final[Mapping[str, Override]] = {}
INDEX_LAG_DIVISOR: Final = 8  # an expiry index moves only when it lags by more than idle/8


def death(session: Session, *, now: int, not_before: int) -> EndReason | None:
    """Why a stored session is dead, or None while it lives. `not_before` is its owner's revocation instant."""
    if now >= session.expires_at:
        return EndReason.EXPIRED
    if session.birth.created_at <= not_before:
        return EndReason.REVOKED
    return None


def knows(owner: bytes | None, *, of: bytes, proof: Proof) -> bool:
    """Whether the caller has shown what a record (live or tombstone) asks for."""
    return proof is Proof.ID if owner is None else owner == of


def refusal(ask: Admission, session: Session | None, *, not_before: int, token_revoked: bool) -> Outcome | None:
    """The first "no" that needs no counter, or None. `session` is the live one, if there is one.

    Without a proved owner a record that wants a token answers exactly as if it did not exist. A link that leads
    nowhere is never replaced by a new session: its holder must learn that it is gone.
    """
    if session is not None:
        birth = session.birth
        if ask.owner != birth.owner and not knows(ask.owner, of=birth.owner, proof=birth.proof):
            return Outcome.UNKNOWN if ask.owner is None else Outcome.FOREIGN
    elif ask.link is not None or (ask.new is None and ask.key is not None):
        return Outcome.UNKNOWN
    if ask.token is not None and (token_revoked or ask.token.issued_at <= not_before):
        return Outcome.REVOKED
    return None


def operation_name(ask: Admission) -> tuple[bytes, bytes]:
    """Whose operation this is, and its name: bound to what was asked about, so that no other session gets its answer.

    A repeated operation gets its first answer only where it would be let in now: see `repeats`.
    """
    about = (ask.key.hash if ask.key is not None else b"") + (ask.link.hash if ask.link is not None else b"")
    return ask.owner or b"", ask.operation + about


def repeats(first: Admitted, session: Session | None) -> bool:
    """Whether the first answer still holds: not when the session that it speaks of has ended since."""
    return first.session is None or session is not None


def allowance_of(
    limit: str, allowance: int, now: int, session: Mapping[str, Override], user: Mapping[str, Override]
) -> int:
    """The allowance that holds: an override of the session, else of the user, else the rule's own."""
    for overrides in (session, user):
        if overrides:
            override = overrides.get(limit)
            if override is not None and now < override.until:
                return override.allowance
    return allowance


def tally(spend: Spend, counter: Counter | None, allowance: int) -> Tally:
    """What one spend finds before anything is charged."""
    current = counter if counter is not None and counter.window == spend.window else rolled(counter, spend.window)
    return Tally(current, allowance, fits(current, spend, allowance))


def tally_after(found: Tally, spend: Spend) -> Tally:
    """What is answered once the admission is taken."""
    return Tally(charged(found.counter, spend.cost), found.allowance, found.fits)


def lease_tally(running: int, *, held: bool, allowance: int) -> LeaseTally:
    """What one lease finds: an operation that already holds it fits again."""
    return LeaseTally(running, allowance, held or running < allowance)


def is_refused(spends: Iterable[tuple[Spend, Tally | None]], leases: Iterable[tuple[Lease, LeaseTally]]) -> bool:
    """Whether a binding spend or lease does not fit."""
    for spend, found in spends:
        if found is not None and spend.binding and not found.fits:
            return True
    return any(lease.binding and not found.fits for lease, found in leases)


def victims_wanted(caps: Caps, have: int) -> int:
    """How many of an owner's `have` sessions must go before one more is made; bounded per call."""
    return min(have - caps.per_owner + 1, VICTIMS_MAX) if caps.per_owner else 0


def choose_victims(
    candidates: Iterable[tuple[Session, bool]], *, caps: Caps, wanted: int, now: int, not_before: int
) -> list[tuple[Session, EndReason]] | None:
    """Who goes, from (session, is open) pairs in order of creation; None when not enough may go.

    The dead go first; then, if the caps evict, the oldest that is not open.
    """
    if wanted <= 0:
        return []
    dead: list[tuple[Session, EndReason]] = []
    living: list[Session] = []
    for session, is_open in candidates:
        reason = death(session, now=now, not_before=not_before)
        if reason is not None:
            dead.append((session, reason))
        elif not is_open:
            living.append(session)
    chosen = dead[:wanted]
    if caps.evict:
        chosen += [(session, EndReason.EVICTED) for session in living[: wanted - len(chosen)]]
    return chosen if len(chosen) == wanted else None


def bound(bindings: dict[str, str], candidate: Binding | None) -> dict[str, str]:
    """The bindings after a candidate was offered: the first to come stays."""
    if candidate is None or candidate.pool in bindings:
        return bindings
    return {**bindings, candidate.pool: candidate.upstream}


def index_lags(session: Session, indexed_at: int) -> bool:
    """Whether the expiry index must move; a life that became shorter moves it at once."""
    ahead = session.expires_at - indexed_at
    return ahead < 0 or ahead > session.idle // INDEX_LAG_DIVISOR


def overridden(
    limits: Mapping[str, Override], changes: Mapping[str, int | None], *, until: int, now: int
) -> dict[str, Override]:
    """The overrides after some were set (an allowance) or taken back (None); those that ran out are dropped."""
    kept = {name: override for name, override in limits.items() if now < override.until and name not in changes}
    return kept | {name: Override(allowance, until) for name, allowance in changes.items() if allowance is not None}
