"""The only place that reads the rows of the SQL functions (type `reply`), and the events that they publish."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from msgspec import MsgspecError
from msgspec.structs import replace

from sessionware.core.admission import Admission, Admitted, Outcome
from sessionware.core.facts import (
    Event,
    Interrupted,
    OwnerRevocation,
    Revoked,
    SessionGone,
    TokenRevocation,
)
from sessionware.core.ids import SessionKey, ref
from sessionware.core.ledger import Counter, LeaseTally, Tally
from sessionware.core.session import Birth, Ended, EndReason, Link, Override, Session
from sessionware.errors import PayloadUnreadable
from sessionware.stores.codec import unpack_birth, unpack_link
from sessionware.stores.sealing import Place, Sealer

# The columns of `reply` (schema.sql).
AT, OUTCOME, NUMBER, MOMENT, REASON, FULL_NAME, ENDS, TALLIES, LEASES, HASH = range(10)
POOLS, UPSTREAMS, METADATA, DATA, LINK_HASHES = range(19, 24)

BUCKET: Final = 0  # one database keeps everything in one bucket
NOT_APPLIED: Final = 2  # a spend that counts only when a session is made, and none was
DAMAGED: Final = (MsgspecError, ValueError, TypeError)  # what decoding raises; messages may quote what was stored
_HASH_HEX: Final = 40
_OWNER_HEX: Final = 32
_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}

log = logging.getLogger("sessionware.store")

Row = Any
Read = TypeVar("Read")


def admitted(rows: Sequence[Row], ask: Admission, sealer: Sealer) -> Admitted:
    """Read what admit.sql answered to one question: its own row, then those of the sessions that ended for it."""
    row = rows[0]
    held = row[LEASES]
    return Admitted(
        _OUTCOMES[row[OUTCOME]],
        row[MOMENT],
        session(row, sealer, with_payload=ask.wants_data and row[DATA] is not None) if row[HASH] is not None else None,
        row[NUMBER] == 1,
        tallies(row[TALLIES]) if row[TALLIES] else (),
        tuple([LeaseTally(held[n], held[n + 1], held[n + 2] == 1) for n in range(0, len(held), 3)]) if held else (),
        links(row, sealer, with_handshake=ask.wants_data)[0] if row[LINK_HASHES] else None,
        EndReason(row[REASON]) if row[REASON] else None,
        row[FULL_NAME].decode() if row[FULL_NAME] is not None else "",
        ends(rows[1:], sealer) if len(rows) > 1 else (),
    )


def tallies(flat: Sequence[int]) -> tuple[Tally | None, ...]:
    return tuple(
        [
            Tally(Counter(flat[n], flat[n + 1], flat[n + 2]), flat[n + 3], flat[n + 4] == 1)
            if flat[n + 4] != NOT_APPLIED
            else None
            for n in range(0, len(flat), 5)
        ]
    )


def session(row: Row, sealer: Sealer, *, with_payload: bool, links: tuple[Link, ...] = ()) -> Session:
    """Read a session. Raises PayloadUnreadable when it is damaged, or its payload is wanted and cannot be opened."""
    (
        hash_, packed, idle, absolute_at, expires_at, seen_at, hits, revision,
        limit_names, limit_values, pools, upstreams, metadata, data,
    ) = row[HASH:LINK_HASHES]  # fmt: skip
    try:
        birth = _birth(packed)
        limits = overrides(limit_names, limit_values)
        bindings = {
            pool.decode(): upstream.decode() for pool, upstream in zip(pools or (), upstreams or (), strict=True)
        }
    except DAMAGED as error:
        raise PayloadUnreadable(f"the row of session {_named(hash_)} cannot be read") from error
    if birth.key.hash != hash_:
        raise PayloadUnreadable(f"the row of session {ref(birth.key)} was moved here from another session")
    if with_payload:
        if metadata is None or data is None:
            raise PayloadUnreadable(f"data of session {ref(birth.key)} is missing from the store")
        metadata = sealer.open(metadata, place=Place(birth.key, birth.owner, "metadata"))
        data = sealer.open(data, place=Place(birth.key, birth.owner, "data"))
    return Session(
        birth, idle, absolute_at, expires_at, seen_at, hits, revision,
        metadata if with_payload else None, data if with_payload else None,
        limits, bindings, links,
    )  # fmt: skip


def overrides(names: Sequence[bytes] | None, values: Sequence[int] | None) -> dict[str, Override]:
    """Read overrides as they lie in two arrays: names, and for each its allowance and until when it holds."""
    if not names or not values:
        return {}
    pairs = zip(values[::2], values[1::2], strict=True)
    return {name.decode(): Override(*pair) for name, pair in zip(names, pairs, strict=True)}


def links(row: Row, sealer: Sealer, *, with_handshake: bool = True) -> tuple[Link, ...]:
    """Read the links of a row; they belong to the session whose hash it has."""
    hashes, bodies, seen, handshakes = row[LINK_HASHES:]
    if not hashes:
        return ()
    key = SessionKey(BUCKET, row[HASH])
    found = []
    for hash_, body, seen_at, handshake in zip(hashes, bodies, seen, handshakes or hashes, strict=True):
        try:
            plain = unpack_link(body)
        except DAMAGED as error:
            raise PayloadUnreadable(f"a link of session {ref(key)} cannot be read") from error
        if plain.key.hash != hash_:
            raise PayloadUnreadable(f"a link of session {ref(key)} was moved here from another one")
        opened = sealer.open(handshake, place=Place(plain.key, plain.owner, "handshake")) if with_handshake else b""
        found.append(replace(plain, session=key, seen_at=seen_at, handshake=opened))
    return tuple(found)


def full(row: Row, sealer: Sealer) -> Session:
    """A session with its payload and its links."""
    return session(row, sealer, with_payload=True, links=links(row, sealer))


def ended(row: Row, sealer: Sealer) -> Ended:
    """Read one ended session.

    A payload that cannot be opened stays behind, loudly: the session has ended all the same, and an end that
    raises would be handed out again for ever. Raises PayloadUnreadable when not even the row can be read.
    """
    try:
        gone = full(row, sealer)
    except PayloadUnreadable as error:
        log.error("an ended session is handed over without its payload: %s", error)  # noqa: TRY400  # no traceback
        bare = links(row, sealer, with_handshake=False)
        gone = session(row, sealer, with_payload=False, links=bare)
    return Ended(gone, EndReason(row[REASON]), row[MOMENT], str(row[NUMBER]))


def ends(rows: Sequence[Row], sealer: Sealer) -> tuple[Ended, ...]:
    """Read ended sessions. A damaged one is left out: it stays claimed, and is dropped after ENDED_KEEP_MS."""
    return _readable(rows, lambda row: ended(row, sealer))


def page(rows: Sequence[Row], sealer: Sealer) -> tuple[Session, ...]:
    """Read sessions for a listing, without their payload; damaged ones are left out, loudly."""
    return _readable(rows, lambda row: session(row, sealer, with_payload=False))


def event(message: str) -> Event | None:
    """Read a published event; None for one that this version does not know. Raises one of DAMAGED.

    Of an organisation's overrides only `W` and the organisation are told: whoever hears it reads the row.
    """
    kind, body = message[:1], message[1:]
    if kind in {"G", "I"}:
        key = SessionKey(int(body[_HASH_HEX : _HASH_HEX + 2], 16), bytes.fromhex(body[:_HASH_HEX]))
        rest = body[_HASH_HEX + 2 :]
        return Interrupted(key, int(rest.partition(":")[0])) if kind == "I" else SessionGone(key, EndReason(rest))
    if kind == "T":
        return Revoked(TokenRevocation(bytes.fromhex(body[:_OWNER_HEX]), int(body[_OWNER_HEX:])))
    if kind == "O":
        owner, bucket, before = body[:_OWNER_HEX], body[_OWNER_HEX : _OWNER_HEX + 2], body[_OWNER_HEX + 2 :]
        return Revoked(OwnerRevocation(int(bucket, 16), bytes.fromhex(owner), int(before)))
    return None


def _readable(rows: Sequence[Row], read: Callable[[Row], Read]) -> tuple[Read, ...]:
    """Whatever of these can be read: one that cannot must not take its neighbours with it."""
    found = []
    for row in rows:
        try:
            found.append(read(row))
        except PayloadUnreadable as error:
            log.error("left out: %s", error)  # noqa: TRY400  # no traceback: it could show what was stored
    return tuple(found)


def _named(hash_: bytes) -> str:
    """The session at fault, as logs name it."""
    return ref(SessionKey(BUCKET, hash_))


@lru_cache(maxsize=16_384)
def _birth(packed: bytes) -> Birth:
    """Births never change: a session that is asked for again and again is decoded once."""
    return unpack_birth(packed)
