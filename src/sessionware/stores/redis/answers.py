"""The only place that reads the scripts' answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct as Layout
from struct import error as StructError  # noqa: N812  # the module spells it like a variable
from typing import Any, Final, TypeVar

from msgspec import MsgspecError
from msgspec.structs import replace

from sessionware.core.admission import Admission, Admitted, Outcome
from sessionware.core.facts import (
    Event,
    Interrupted,
    OrgLimitsNow,
    OwnerRevocation,
    Revoked,
    SessionGone,
    TokenRevocation,
)
from sessionware.core.ids import SessionKey, ref
from sessionware.core.ledger import Counter, LeaseTally, Tally
from sessionware.core.session import Birth, Ended, EndReason, Link, Session
from sessionware.core.store import Created, Making
from sessionware.errors import PayloadUnreadable
from sessionware.stores.codec import unpack_bindings, unpack_birth, unpack_link, unpack_overrides
from sessionware.stores.sealing import Place, Sealer

_STATE: Final = Layout(">QQQQQQQQ")
_TALLY: Final = Layout(">QQQQB")
_LEASE: Final = Layout(">QQB")
_NOT_APPLIED: Final = 2  # a spend that counts only when a session is made, and none was
_OUTCOMES: Final = {outcome.value.encode(): outcome for outcome in Outcome}
_HASH_HEX: Final = 40
_OWNER_HEX: Final = 32

DAMAGED: Final = (MsgspecError, StructError, ValueError)  # what decoding raises; messages may quote what was stored

log = logging.getLogger("sessionware.store")

Raw = Any
Read = TypeVar("Read")


def admitted(raw: Raw, ask: Admission, sealer: Sealer) -> Admitted:
    """Read what admit.lua answered."""
    outcome = _OUTCOMES[raw[0]]
    return Admitted(
        outcome,
        int(raw[16]),
        session(raw[2:10], sealer, with_payload=ask.wants_data) if raw[2] else None,
        raw[1] == 1,
        tuple([
            Tally(Counter(window, used, before), allowance, fits == 1) if fits != _NOT_APPLIED else None
            for window, used, before, allowance, fits in _TALLY.iter_unpack(raw[10])
        ]),
        tuple([LeaseTally(running, allowance, fits == 1) for running, allowance, fits in _LEASE.iter_unpack(raw[11])])
        if raw[11]
        else (),
        link(raw[12], ask.bucket, sealer, with_handshake=ask.wants_data) if raw[12] else None,
        EndReason(raw[13].decode()) if raw[13] else None,
        raw[14].decode(),
        ends(raw[15], ask.bucket, sealer) if raw[15] else (),
    )  # fmt: skip


def created(raw: Raw, bucket: int, sealer: Sealer) -> Created:
    """Read what create.lua answered."""
    outcome, record, full, evicted, *_ = raw
    shown = session(record, sealer, with_payload=outcome == b"created") if record else None
    return Created(Making(outcome.decode()), shown, full.decode(), ends(evicted, bucket, sealer))


def session(raw: Raw, sealer: Sealer, *, with_payload: bool, links: tuple[Link, ...] = ()) -> Session:
    """Read a record: state, birth, bindings, limits, metadata, data, id, owner and proof.

    Raises PayloadUnreadable when the record is damaged or another session's, or its payload is wanted and cannot be
    opened.
    """
    try:
        state, birth_bytes, bindings, limits, metadata, data, id_, owner_and_proof = raw
        _, idle, absolute_at, expires_at, seen_at, hits, revision, _ = _STATE.unpack(state)
        birth, overrides, bound = _birth(birth_bytes), unpack_overrides(limits), unpack_bindings(bindings)
    except DAMAGED as error:
        raise PayloadUnreadable(f"the record of {_named(raw, 6)} cannot be read") from error
    if birth.key.hash.hex().encode() != id_ or birth.owner.hex().encode() != owner_and_proof[:_OWNER_HEX]:
        raise PayloadUnreadable(f"the record of session {ref(birth.key)} was moved here from another session")
    if with_payload:
        metadata = sealer.open(metadata, place=Place(birth.key, birth.owner, "metadata"))
        data = sealer.open(data, place=Place(birth.key, birth.owner, "data"))
    return Session(
        birth, idle, absolute_at, expires_at, seen_at, hits, revision,
        metadata if with_payload else None, data if with_payload else None,
        overrides, bound, links,
    )  # fmt: skip


def link(raw: Raw, bucket: int, sealer: Sealer, *, with_handshake: bool = True) -> Link:
    """Read a link: blob, seen_at, handshake, session id, link id. Raises PayloadUnreadable when it is damaged."""
    try:
        blob, seen_at, handshake, session_id, _ = raw
        plain = unpack_link(blob)
        key, last_seen = SessionKey(bucket, bytes.fromhex(session_id.decode())), int(seen_at)
    except DAMAGED as error:
        raise PayloadUnreadable(f"a link of {_named(raw, 3)} cannot be read") from error
    if with_handshake:
        handshake = sealer.open(handshake, place=Place(plain.key, plain.owner, "handshake"))
    return replace(
        plain,
        session=key,
        seen_at=last_seen,
        handshake=handshake if with_handshake else b"",
    )


def links(raw: Sequence[Raw], bucket: int, sealer: Sealer) -> tuple[Link, ...]:
    return tuple([link(each, bucket, sealer) for each in raw])


def ended(raw: Raw, bucket: int, sealer: Sealer) -> Ended:
    """Read one ended session: receipt, reason, ended_at, record, links.

    A payload that cannot be opened stays behind, loudly: the session has ended all the same, and an end that
    raises would be handed out again for ever. Raises PayloadUnreadable when not even the record can be read.
    """
    receipt, reason, ended_at, record, its_links = raw
    try:
        gone = session(record, sealer, with_payload=True, links=links(its_links, bucket, sealer))
    except PayloadUnreadable as error:
        log.error("an ended session is handed over without its payload: %s", error)  # noqa: TRY400  # no traceback
        bare = _readable(its_links, lambda each: link(each, bucket, sealer, with_handshake=False))
        gone = session(record, sealer, with_payload=False, links=bare)
    return Ended(gone, EndReason(reason.decode()), int(ended_at), receipt.decode())


def ends(raw: Sequence[Raw], bucket: int, sealer: Sealer) -> tuple[Ended, ...]:
    """Read ended sessions. A damaged one is left out: it stays claimed, and is dropped after ENDED_KEEP_MS."""
    return _readable(raw, lambda each: ended(each, bucket, sealer))


def page(raw: Sequence[Raw], sealer: Sealer) -> tuple[Session, ...]:
    """Read sessions for a listing, without their payload; damaged ones are left out, loudly."""
    return _readable(raw, lambda each: session(each, sealer, with_payload=False))


def event(message: bytes) -> Event | None:
    """Read a published event; None for one that this version does not know. Raises one of DAMAGED."""
    kind, body = message[:1], message[1:]
    if kind in {b"G", b"I"}:
        key = SessionKey(int(body[_HASH_HEX : _HASH_HEX + 2], 16), bytes.fromhex(body[:_HASH_HEX].decode()))
        rest = body[_HASH_HEX + 2 :]
        return Interrupted(key, int(rest or 0)) if kind == b"I" else SessionGone(key, EndReason(rest.decode()))
    if kind == b"W":
        return OrgLimitsNow(bytes.fromhex(body[:_OWNER_HEX].decode()), unpack_overrides(body[_OWNER_HEX:]))
    if kind == b"T":
        return Revoked(TokenRevocation(bytes.fromhex(body[:_OWNER_HEX].decode()), int(body[_OWNER_HEX:])))
    if kind == b"O":
        owner, bucket, before = body[:_OWNER_HEX].decode(), body[_OWNER_HEX : _OWNER_HEX + 2], body[_OWNER_HEX + 2 :]
        return Revoked(OwnerRevocation(int(bucket, 16), bytes.fromhex(owner), int(before)))
    return None


def _readable(raw: Sequence[Raw], read: Callable[[Raw], Read]) -> tuple[Read, ...]:
    """Whatever of these can be read: one that cannot must not take its neighbours with it."""
    found = []
    for each in raw:
        try:
            found.append(read(each))
        except PayloadUnreadable as error:
            log.error("left out: %s", error)  # noqa: TRY400  # no traceback: it could show what was stored
    return tuple(found)


def _named(raw: Raw, place: int) -> str:
    """The session at fault, as logs name it, if at least its id can be read."""
    try:
        return f"session {ref(SessionKey(0, bytes.fromhex(raw[place].decode())))}"
    except (ValueError, IndexError):
        return "an unknown session"


@lru_cache(maxsize=16_384)
def _birth(packed: bytes) -> Birth:
    """Births never change: a session that is asked for again and again is decoded once."""
    return unpack_birth(packed)
