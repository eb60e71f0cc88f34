"""The only place that writes questions in the words of the scripts: flat arguments, decimal strings."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from sessionware.core.admission import Admission, Caps, NewSession
from sessionware.core.ids import SessionKey
from sessionware.core.ledger import Scope, Spend, When
from sessionware.core.session import Proof, Session
from sessionware.core.windows import NEVER
from sessionware.stores.codec import pack
from sessionware.stores.sealing import Place, Sealer

COUNTER_GRACE_MS: Final = 60_000  # a counter is kept a little longer than it is worth: clocks differ
HEX: Final = [f"{number:02x}" for number in range(256)]

Argument = str | bytes | int


class Keys:
    """The names of keys: `prefix{bb}kind:…`; the braces make all keys of a bucket share a cluster slot."""

    def __init__(self, prefix: str) -> None:
        self.events = f"{prefix}events"
        self._bases = [f"{prefix}{{{HEX[bucket]}}}" for bucket in range(256)]

    def base(self, bucket: int) -> str:
        return self._bases[bucket]

    def session(self, key: SessionKey) -> str:
        return f"{self._bases[key.bucket]}s:{key.hash.hex()}"


class Elsewhere(Struct, frozen=True):
    """What the buckets of wide limits said before: per limit its name, its own allowance and the one looked at.

    `hold` names the levels' members of the session that may be made; `kept` lies beside the answer for a repeat.
    """

    limits: tuple[tuple[str, int, int], ...] = ()
    is_refused: bool = False
    hold: str = ""
    kept: bytes = b""


def admission(ask: Admission, sealer: Sealer, elsewhere: Elsewhere | None = None) -> list[Argument]:
    """What admit.lua reads from ARGV[3] on."""
    key, token, candidate = ask.key, ask.token, ask.candidate
    flags = ask.touch + 2 * ask.wants_data + 4 * ask.opens + 8 * ask.once
    new = ask.new if key is not None else None
    if new is not None:
        flags += 16
    if elsewhere is not None:
        flags += 32 + 64 * elsewhere.is_refused
    asked: list[Argument] = [
        ask.operation.hex(),
        ask.owner.hex() if ask.owner is not None else "",
        flags,
        key.hash.hex() if key is not None else "",
        ask.link.hash.hex() if ask.link is not None else "",
        token.hash.hex() if token is not None else "",
        token.issued_at if token is not None else 0,
        candidate.pool if candidate is not None else "",
        candidate.upstream if candidate is not None else "",
        ask.now + ask.lease_ms,
        len(ask.spends),
        len(ask.leases),
    ]
    for spend in ask.spends:
        mode = spend.binding + 2 * (spend.when is When.CREATED)
        asked += (
            "s" if spend.scope is Scope.SESSION else "c", spend.key.hex(), spend.window, spend.carry, spend.cost,
            spend.allowance, mode, ttl(spend, ask.now), spend.limit,
        )  # fmt: skip
    for lease in ask.leases:
        asked += (lease.key.hex(), lease.allowance, int(lease.binding), lease.limit)
    if elsewhere is not None:
        asked.append(len(elsewhere.limits))
        for limit in elsewhere.limits:
            asked += limit
        asked.append(elsewhere.kept)
    if new is not None:
        asked += new_session(new, sealer, hold=elsewhere.hold if elsewhere is not None else "")
    return asked


def ttl(spend: Spend, now: int) -> int:
    """How long the server keeps a counter; 0 for ever. Garbage collection only: windows decide what counts."""
    return 0 if spend.stale_at >= NEVER else max(spend.stale_at - now, 0) + COUNTER_GRACE_MS


def new_session(new: NewSession, sealer: Sealer, *, hold: str = "") -> list[Argument]:
    """A session that may be made, as making.lua reads it."""
    return born(new.session, new.caps, sealed(new.session, sealer), hold=hold)


def sealed(session: Session, sealer: Sealer) -> tuple[bytes, bytes]:
    """Metadata and data as they lie at rest."""
    key, owner = session.birth.key, session.birth.owner
    return (
        sealer.seal(session.metadata or b"", place=Place(key, owner, "metadata")),
        sealer.seal(session.data or b"", place=Place(key, owner, "data")),
    )


def born(session: Session, caps: Caps, payload: tuple[bytes, bytes], *, hold: str = "") -> list[Argument]:
    birth = session.birth
    holds = ",".join([level.hex() for level in birth.holds])
    asked: list[Argument] = [
        birth.key.hash.hex(),
        birth.owner.hex(),
        "i" if birth.proof is Proof.ID else "t",
        birth.created_at,
        session.idle,
        session.absolute_at,
        session.expires_at,
        session.seen_at,
        session.hits,
        session.revision,
        pack(birth),
        *payload,
        birth.started_by.hex(),
        pack(session.bindings) if session.bindings else "",
        pack(session.limits) if session.limits else "",
        f"@{hold},{holds}" if hold else holds,
        "1" if birth.name is not None else "",
        caps.per_owner,
        int(caps.evict),
        len(caps.levels),
    ]
    for level in caps.levels:
        asked += (level.name, level.key.hex(), level.allowance)
    return asked
