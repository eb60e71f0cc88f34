"""The one question to the store and its one answer: everything that a request needs from shared state.

Inside `admit` every store keeps the same order: load -> live? -> owner? -> revoked? -> roll counters -> do all
binding spends fit? -> is there room for a new session? -> write -> answer. Any "no" means nothing was written.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.ids import SessionKey
from sessionware.core.ledger import LEASE_MS, Lease, LeaseTally, Spend, Tally, When, placed
from sessionware.core.session import Ended, EndReason, Link, Session

VICTIMS_MAX: Final = 8  # sessions evicted by one call
VICTIM_SCAN: Final = 64  # oldest sessions of an owner that one call looks at for victims


class Outcome(StrEnum):
    """What became of an admission."""

    ADMITTED = "admitted"
    LIMITED = "limited"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"
    REVOKED = "revoked"
    FULL = "full"

    __hash__ = str.__hash__  # an enum's own is written in Python, and every answer is counted under its outcome


class Token(Struct, frozen=True, gc=False):
    """The presented credential, as far as revocation is concerned."""

    hash: bytes
    issued_at: int


class Level(Struct, frozen=True, gc=False):
    """A cap on live sessions counted over a client or over the whole installation; refuses when full."""

    name: str
    key: bytes
    allowance: int


class Caps(Struct, frozen=True, gc=False):
    """How many sessions may live beside a new one. `per_owner` 0 means no cap.

    An owner over its cap loses the expired sessions first, then the oldest that is not open (`evict`), or the
    new session is refused. A session is open while it holds a lease.
    """

    per_owner: int = 0
    evict: bool = True
    levels: tuple[Level, ...] = ()


class NewSession(Struct, frozen=True, gc=False):
    """A session to be made if its key is free. `session.birth.holds` are the keys of `caps.levels`."""

    session: Session
    caps: Caps = Caps()

    def later(self, ms: int) -> NewSession:
        """The same session made so much later (or earlier): all of its life moves."""
        born = self.session
        return NewSession(
            replace(
                born,
                birth=replace(born.birth, created_at=born.birth.created_at + ms),
                absolute_at=born.absolute_at and born.absolute_at + ms,
                expires_at=born.expires_at + ms,
                seen_at=born.seen_at + ms,
            ),
            self.caps,
        )


class Binding(Struct, frozen=True, gc=False):
    """The upstream that a pool proposes for a session that has none in that pool yet."""

    pool: str
    upstream: str


class Admission(Struct, frozen=True, gc=False):
    """Everything that one request asks of shared state.

    `owner` is the *proved* caller; None means that only the id is presented, and the record's own proof
    decides. `bucket` is the partition's bucket and equals `key.bucket` when there is a key. A `link` may stand
    for the session. With `once` a repeated `operation` about the same session gets the first answer and charges
    nothing, as long as it would still be let in.
    """

    now: int
    bucket: int
    operation: bytes
    key: SessionKey | None = None
    owner: bytes | None = None
    token: Token | None = None
    new: NewSession | None = None
    spends: tuple[Spend, ...] = ()
    leases: tuple[Lease, ...] = ()
    candidate: Binding | None = None
    link: SessionKey | None = None
    touch: bool = True
    wants_data: bool = True
    opens: bool = False
    once: bool = False
    lease_ms: int = LEASE_MS

    def at(self, now: int, *, operation: bytes | None = None) -> Admission:
        """The same question asked at another instant: windows and a new session's life are placed anew.

        With an `operation` of its own it is another request that asks the same.
        """
        new = self.new.later(now - self.now) if self.new is not None else None
        spends = placed(self.spends, now) if self.spends else ()
        return replace(self, now=now, operation=operation or self.operation, new=new, spends=spends)

    def without_making(self) -> Admission:
        """The same question about a session that probably lives: shorter, for nothing is made and charged for.

        UNKNOWN, which wrote nothing, then means: ask the whole question.
        """
        always = tuple([spend for spend in self.spends if spend.when is When.ALWAYS])
        return replace(self, new=None, spends=always)


class Admitted(Struct, frozen=True, gc=False):
    """The answer to an admission.

    `tallies` and `leases` stand in the order of the question; a tally is None when its spend took no part
    (`When.CREATED`, and nothing was made; or the answer came before counters were looked at). `reason` tells
    the proved owner of an UNKNOWN session how it ended; `full` names the cap of a FULL answer (`owner`, or the
    level's name). `evicted` sessions are handed over exactly once.
    """

    outcome: Outcome
    now: int
    session: Session | None = None
    is_new: bool = False
    tallies: tuple[Tally | None, ...] = ()
    leases: tuple[LeaseTally, ...] = ()
    link: Link | None = None
    reason: EndReason | None = None
    full: str = ""
    evicted: tuple[Ended, ...] = ()
