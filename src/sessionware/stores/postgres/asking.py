"""The only place that writes questions in the words of the SQL functions: locks, words (bytes) and numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import Admission, Caps, NewSession
from sessionware.core.ledger import Scope, When
from sessionware.core.session import Birth, Link, Override, Proof, Session
from sessionware.stores.codec import pack
from sessionware.stores.sealing import Place, Sealer

LOCK_BYTES: Final = 8
NOBODY: Final = b"nobody's"  # names the lock of the operations of callers without a proved owner

TOUCH, WANTS_DATA, OPENS, ONCE, HAS_NEW = 1, 2, 4, 8, 16
BINDING, WHEN_CREATED, IN_SESSION = 1, 2, 4

Word = bytes | None


class Question(Struct, gc=False):
    """What a function is asked: the locks of all that it writes or decides by, words, and numbers."""

    locks: set[int]
    words: list[Word]
    numbers: list[int | None]

    def sorted_locks(self) -> list[int]:
        return sorted(self.locks)


class Asked(Struct, gc=False):
    """One admission of a batch. `link` names a session that is known by its link alone: its lock is looked up."""

    question: Question
    link: bytes | None


def lock_of(key: bytes) -> int:
    """The lock of a key, which is a salted hash already (locks.sql)."""
    return int.from_bytes(key[:LOCK_BYTES].ljust(LOCK_BYTES, b"\0"), "big", signed=True)


def locks_of(keys: Iterable[bytes]) -> set[int]:
    return {lock_of(key) for key in keys}


def question(keys: Iterable[bytes], words: list[Word], numbers: list[int | None]) -> Question:
    return Question(locks_of(keys), words, numbers)


def admission(ask: Admission, sealer: Sealer) -> Asked:
    """One question as admit.sql reads it."""
    key, link, token, candidate = ask.key, ask.link, ask.token, ask.candidate
    new = ask.new if key is not None else None
    written = [each.hash for each in (key, link) if each is not None]
    if ask.once:
        written.append(ask.owner or NOBODY)
    flags = (
        TOUCH * ask.touch + WANTS_DATA * ask.wants_data + OPENS * ask.opens + ONCE * ask.once
        + HAS_NEW * (new is not None)
    )  # fmt: skip
    words: list[Word] = [
        ask.operation,
        ask.owner,
        key.hash if key is not None else None,
        link.hash if link is not None else None,
        token.hash if token is not None else None,
        candidate.pool.encode() if candidate is not None else None,
        candidate.upstream.encode() if candidate is not None else None,
    ]
    numbers: list[int | None] = [
        0, 0, ask.now, flags, token.issued_at if token is not None else 0, ask.now + ask.lease_ms,
        len(ask.spends), len(ask.leases),
    ]  # fmt: skip
    for spend in ask.spends:
        mode = BINDING * spend.binding + WHEN_CREATED * (spend.when is When.CREATED)
        if spend.scope is Scope.SESSION:
            mode += IN_SESSION
        else:
            written.append(spend.key)
        words += (spend.key, spend.limit.encode())
        numbers += (spend.window, spend.carry, spend.cost, spend.allowance, mode, spend.stale_at)
    for lease in ask.leases:
        written.append(lease.key)
        words += (lease.key, lease.limit.encode())
        numbers += (lease.allowance, int(lease.binding))
    if new is not None:
        written += born_under(new)
        add_newborn(new.session, new.caps, sealed(new.session, sealer), words, numbers)
    numbers[0], numbers[1] = len(words), len(numbers)
    return Asked(question(written, words, numbers), link.hash if link is not None and key is None else None)


def born_under(new: NewSession) -> list[bytes]:
    """The keys that making a session reads or writes: nobody makes one while its owner or its token is revoked."""
    birth, levels = new.session.birth, [level.key for level in new.caps.levels]
    return [birth.key.hash, birth.owner, *started_under(birth), *birth.holds, *levels]


def started_under(birth: Birth) -> list[bytes]:
    """The token that started a session; nothing for one that none did: they have no lock in common."""
    return [birth.started_by] if birth.started_by else []


def sealed(session: Session, sealer: Sealer) -> tuple[bytes, bytes]:
    """Metadata and data as they lie at rest."""
    birth = session.birth
    return (
        sealer.seal(session.metadata or b"", place=Place(birth.key, birth.owner, "metadata")),
        sealer.seal(session.data or b"", place=Place(birth.key, birth.owner, "data")),
    )


def add_newborn(
    session: Session, caps: Caps, payload: tuple[bytes, bytes], words: list[Word], numbers: list[int | None]
) -> None:
    """Add a session that may be made, as making.sql reads it."""
    birth, bindings, limits = session.birth, session.bindings, session.limits
    words += (birth.key.hash, birth.owner, pack(birth), *payload, birth.started_by or None)
    words += [pool.encode() for pool in bindings]
    words += [upstream.encode() for upstream in bindings.values()]
    words += [name.encode() for name in limits]
    words += birth.holds
    words += [level.name.encode() for level in caps.levels]
    words += [level.key for level in caps.levels]
    numbers += (
        birth.created_at, session.idle, session.absolute_at, session.expires_at, session.seen_at, session.hits,
        session.revision, int(birth.proof is Proof.ID), int(birth.name is not None), caps.per_owner, int(caps.evict),
        len(bindings), len(limits), len(birth.holds), len(caps.levels),
    )  # fmt: skip
    numbers += _flat(limits.values())
    numbers += [level.allowance for level in caps.levels]


def creation(new: NewSession, operation: bytes, now: int, sealer: Sealer) -> Question:
    words: list[Word] = [operation]
    numbers: list[int | None] = [now]
    add_newborn(new.session, new.caps, sealed(new.session, sealer), words, numbers)
    return question(born_under(new), words, numbers)


def change(session: Session, now: int, sealer: Sealer) -> Question:
    """An update; a payload that is None stays as it is."""
    birth = session.birth
    payload = [
        sealer.seal(plain, place=Place(birth.key, birth.owner, kind)) if plain is not None else None
        for kind, plain in (("metadata", session.metadata), ("data", session.data))
    ]
    words: list[Word] = [birth.key.hash, *payload]
    return question([birth.key.hash], words, [now, session.revision, session.idle, session.absolute_at])


def linking(link: Link, operation: bytes, *, now: int, at_most: int, sealer: Sealer) -> Question:
    handshake = sealer.seal(link.handshake, place=Place(link.key, link.owner, "handshake"))
    packed = pack(replace(link, handshake=b""))
    words: list[Word] = [operation, link.owner, link.session.hash, link.key.hash, packed, handshake]
    return question([link.owner, link.session.hash, link.key.hash], words, [now, link.seen_at, at_most])


def moving_under(old: Birth, new: Birth) -> list[bytes]:
    """The keys that a move reads or writes."""
    return [old.key.hash, new.key.hash, old.owner, new.owner, *started_under(old), *started_under(new)]


def _flat(overrides: Iterable[Override]) -> list[int]:
    flat: list[int] = []
    for override in overrides:
        flat += (override.allowance, override.until)
    return flat
