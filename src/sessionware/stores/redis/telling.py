"""The only place that writes facts, revocations and moves in the words of the scripts."""

from __future__ import annotations

from typing import Any, assert_never

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
from sessionware.core.ledger import Scope
from sessionware.core.store import Log, Move, Moved
from sessionware.stores.redis import answers
from sessionware.stores.redis.asking import Argument, born, sealed, ttl
from sessionware.stores.sealing import NO_OWNER, Place, Sealer


def fact(told: Fact, now: int) -> tuple[int, list[Argument]]:  # noqa: PLR0911  # one line per kind of fact
    """The bucket of a fact, and what record.lua reads from ARGV[3] on."""
    match told:
        case Touched(key, at, hits):
            return key.bucket, ["touched", key.hash.hex(), at, hits]
        case Settled():
            return told.bucket, _settled(told, now)
        case Renewed(bucket, operation, session, leases, until):
            id_ = session.hash.hex() if session is not None else ""
            return bucket, ["renewed", operation.hex(), id_, until, *[lease.key.hex() for lease in leases]]
        case Released(bucket, operation, session, leases):
            id_ = session.hash.hex() if session is not None else ""
            return bucket, ["released", operation.hex(), id_, *[lease.key.hex() for lease in leases]]
        case Acknowledged(bucket, receipt):
            return bucket, ["acknowledged", receipt]
        case Interrupted(key, at):
            return key.bucket, ["interrupted", key.hash.hex(), at]
        case SessionLimits(key, limits, until):
            return key.bucket, ["limits", "session", key.hash.hex(), until, *_flat(limits)]
        case UserLimits(bucket, owner, limits, until):
            return bucket, ["limits", "user", owner.hex(), until, *_flat(limits)]
        case OrgLimits(org, limits, until):
            return 0, ["limits", "org", org.hex(), until, *_flat(limits)]
        case _:
            assert_never(told)


def revocation(told: Revocation) -> list[Argument]:
    match told:
        case TokenRevocation(token, until):
            return ["token", token.hex(), until]
        case OwnerRevocation(_, owner, before):
            return ["owner", owner.hex(), before]
        case _:
            assert_never(told)


def revoked(told: Revocation) -> bytes:
    """The event that tells every worker to forget verified tokens."""
    match told:
        case TokenRevocation(token, until):
            return b"T" + token.hex().encode() + str(until).encode()
        case OwnerRevocation(bucket, owner, before):
            return b"O" + owner.hex().encode() + f"{bucket:02x}{before}".encode()
        case _:
            assert_never(told)


def moving(move: Move, before: Any, sealer: Sealer) -> list[Argument]:
    """A move, from what moving.lua read: everything sealed is sealed anew for its new place."""
    record, _, contexts, events, *logs = before
    stored = answers.session(record, sealer, with_payload=True)
    birth = replace(move.birth, holds=stored.birth.holds)
    moved_session = replace(stored, birth=birth)
    items = [
        [
            sealer.seal(
                sealer.open(item, place=Place(move.old, NO_OWNER, log.value)),
                place=Place(birth.key, NO_OWNER, log.value),
            )
            for item in kept
        ]
        for log, kept in zip((Log.CONTEXT, Log.EVENTS), logs, strict=True)
    ]
    return [
        move.old.hash.hex(), move.revision, contexts, events, int(birth.tag != stored.birth.tag),
        len(items[0]), len(items[1]),
        *born(moved_session, replace(move.caps, levels=()), sealed(moved_session, sealer)),
        *items[0], *items[1],
    ]  # fmt: skip


def moved(raw: Any, bucket: int, sealer: Sealer) -> Moved:
    """Read what move.lua answered."""
    return Moved(
        answers.session(raw[1], sealer, with_payload=True),
        answers.links(raw[2], bucket, sealer),
        answers.ends(raw[3], bucket, sealer),
    )


def upstream_counts(flat: list[bytes]) -> dict[tuple[str, str], int]:
    """Read the hash of bound sessions per (pool, upstream): `length of pool:pool upstream` as ending.lua writes it."""
    counts = {}
    for place, count in zip(flat[::2], flat[1::2], strict=True):
        length, _, names = place.partition(b":")
        pool, upstream = names[: int(length)], names[int(length) :]
        counts[pool.decode(), upstream.decode()] = int(count)
    return counts


def _settled(told: Settled, now: int) -> list[Argument]:
    asked: list[Argument] = [
        "settled", told.owner.hex(), told.operation.hex(),
        told.session.hash.hex() if told.session is not None else "", len(told.spends),
    ]  # fmt: skip
    for spend in told.spends:
        place = "s" if spend.scope is Scope.SESSION else "c"
        asked += (place, spend.key.hex(), spend.window, spend.cost, ttl(spend, now))
    return asked


def _flat(limits: dict[str, int | None]) -> list[Argument]:
    flat: list[Argument] = []
    for name, allowance in limits.items():
        flat += (name, "" if allowance is None else allowance)
    return flat
