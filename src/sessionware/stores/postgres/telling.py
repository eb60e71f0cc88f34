"""The only place that writes facts, revocations and moves in the words of the SQL functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from msgspec.structs import replace

from sessionware.core.facts import (
    Acknowledged,
    Fact,
    Interrupted,
    OrgLimits,
    OwnerRevocation,
    Released,
    Renewed,
    Revocation,
    SessionLimits,
    Settled,
    TokenRevocation,
    Touched,
    UserLimits,
)
from sessionware.core.ids import SessionKey
from sessionware.core.ledger import Lease, Scope
from sessionware.core.store import Log, Move, Moved
from sessionware.stores.postgres import answers
from sessionware.stores.postgres.answers import Row
from sessionware.stores.postgres.asking import Question, Word, add_newborn, lock_of, moving_under, question, sealed
from sessionware.stores.sealing import NO_OWNER, Place, Sealer

TOUCHED, SETTLED, RENEWED, RELEASED, ACKNOWLEDGED, LIMITS, INTERRUPTED = range(1, 8)
_RECEIPT_DIGITS: Final = 18
_NO_RECEIPT: Final = -1
_RECEIPTS: Final = lock_of(b"receipts")  # sets their locks apart from the small numbers that other programs lock
_LENGTHS: Final = 2  # the numbers before a fact's own: how many words, how many numbers


def facts(told: Sequence[Fact], now: int) -> Question:
    """What record_facts reads."""
    asked = Question(set(), [], [now])
    for fact in told:
        _add(asked, _fact(fact))
    return asked


def _add(asked: Question, fact: Question) -> None:
    asked.locks |= fact.locks
    asked.words += fact.words
    asked.numbers += (len(fact.words), len(fact.numbers) + _LENGTHS, *fact.numbers)


def _fact(told: Fact) -> Question:  # noqa: PLR0911  # one line per kind of fact
    match told:
        case Touched(key, at, hits):
            return question([key.hash], [key.hash], [TOUCHED, at, hits])
        case Settled():
            return _settled(told)
        case Renewed(_, operation, session, leases, until):
            return _of_leases(operation, session, leases, [RENEWED, until])
        case Released(_, operation, session, leases):
            return _of_leases(operation, session, leases, [RELEASED])
        case Acknowledged(_, receipt):
            is_ours = receipt.isascii() and receipt.isdigit() and len(receipt) <= _RECEIPT_DIGITS
            number = int(receipt) if is_ours else _NO_RECEIPT
            return Question({number ^ _RECEIPTS}, [], [ACKNOWLEDGED, number])
        case Interrupted(key, at):
            return Question(set(), [key.hash], [INTERRUPTED, at])
        case SessionLimits(key, limits, until):
            return _limits(b"session", key.hash, limits, until)
        case UserLimits(_, owner, limits, until):
            return _limits(b"user", owner, limits, until)
        case OrgLimits(org, limits, until):
            return _limits(b"org", org, limits, until)
        case _:
            assert_never(told)


def revocation(told: Revocation, *, now: int, at_most: int) -> Question:
    """What revoke_access reads; the last number says that it is the first call."""
    match told:
        case TokenRevocation(token, until):
            return question([token], [b"token", token], [now, until, at_most, 1])
        case OwnerRevocation(_, owner, before):
            return question([owner], [b"owner", owner], [now, before, at_most, 1])
        case _:
            assert_never(told)


def moving(move: Move, rows: Sequence[Row], now: int, sealer: Sealer) -> Question:
    """A move, from what read_for_move answered: everything sealed is sealed anew for its new place."""
    row, *logs = rows
    stored = answers.session(row, sealer, with_payload=True)
    birth = replace(move.birth, holds=stored.birth.holds)
    moved = replace(stored, birth=birth, limits={}, bindings={})
    items = {log: [_resealed(each, move, log, sealer) for each in logs if each[answers.OUTCOME] == log] for log in Log}
    words: list[Word] = [move.old.hash]
    contexts, events = row[answers.TALLIES]
    numbers: list[int | None] = [
        now, move.revision, contexts, events, int(birth.tag != stored.birth.tag),
        len(items[Log.CONTEXT]), len(items[Log.EVENTS]),
    ]  # fmt: skip
    add_newborn(moved, replace(move.caps, levels=()), sealed(moved, sealer), words, numbers)
    words += items[Log.CONTEXT] + items[Log.EVENTS]
    return question(moving_under(stored.birth, birth), words, numbers)


def moved(rows: Sequence[Row], sealer: Sealer) -> Moved:
    """Read what move_session answered: the session, the links that ended, the sessions that were evicted."""
    by_outcome: dict[str, list[Row]] = {"unlinked": [], "ended": []}
    for row in rows[1:]:
        by_outcome[row[answers.OUTCOME]].append(row)
    unlinked = tuple([link for row in by_outcome["unlinked"] for link in answers.links(row, sealer)])
    return Moved(
        answers.session(rows[0], sealer, with_payload=True), unlinked, answers.ends(by_outcome["ended"], sealer)
    )


def _resealed(row: Row, move: Move, log: Log, sealer: Sealer) -> bytes:
    plain = sealer.open(row[answers.DATA], place=Place(move.old, NO_OWNER, log.value))
    return sealer.seal(plain, place=Place(move.birth.key, NO_OWNER, log.value))


def _settled(told: Settled) -> Question:
    session = told.session.hash if told.session is not None else None
    asked = Question({lock_of(told.owner)}, [told.owner, told.operation, session], [SETTLED, len(told.spends)])
    if session is not None:
        asked.locks.add(lock_of(session))
    for spend in told.spends:
        in_session = spend.scope is Scope.SESSION
        if not in_session:
            asked.locks.add(lock_of(spend.key))
        asked.words.append(spend.key)
        asked.numbers += (spend.window, spend.cost, spend.stale_at, int(in_session))
    return asked


def _of_leases(
    operation: bytes, session: SessionKey | None, leases: Sequence[Lease], numbers: list[int | None]
) -> Question:
    keys = [lease.key for lease in leases]
    hash_ = session.hash if session is not None else None
    written = keys if hash_ is None else [*keys, hash_]
    return question(written, [operation, hash_, *keys], numbers)


def _limits(whom: bytes, whose: bytes, limits: dict[str, int | None], until: int) -> Question:
    return question([whose], [whom, whose, *[name.encode() for name in limits]], [LIMITS, until, *limits.values()])
