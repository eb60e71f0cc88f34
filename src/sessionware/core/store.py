"""The contract between the product and its shared state: one protocol, sixteen methods, none optional.

The laws, for every engine (`sessionware.testing.StoreContract` is the exam):

- Every method is one atomic step. What a method returns has happened; what raises `StoreUnavailable` may or
  may not have happened, except that a refusal value means: nothing was written.
- `now` decides everything. An expired session is gone at once, swept or not; engine TTLs only collect garbage.
  A `now` that lags takes nothing back: `seen_at` and `expires_at` stay where a later one has put them.
- A session ends exactly once: one caller gets the `Ended`. Until it is acknowledged through `record`, `reap`
  hands it out again after CLAIM_MS, so that observers are told at least once.
- A refused admission does not touch: abuse cannot keep a session alive. On the way to a refusal nothing is
  written, except that expired sessions may be removed (and are then in the answer's `evicted`).
- An `operation` is remembered per method and owner: `admit(once)`, `create`, `link` and a Settled may share one id.
  Only what was taken is remembered, not a refusal; the answer is the first one, but its `evicted` is empty (they
  were handed over) and its payload may be missing.
- A payload travels out of `get`, and out of `admit` that `wants_data`; any other answer may leave it behind.
- The spends of one admission have different keys.
- Counters of `Scope.SESSION` are fields of the session record and die with it; all others outlive sessions.
- Ids are never seen here: only keyed hashes, and the names that callers chose.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Final, Protocol, Self

from msgspec import Struct

from sessionware.core.admission import Admission, Admitted, Caps, NewSession
from sessionware.core.facts import Event, Fact, Revocation
from sessionware.core.ids import Addresses, SessionKey
from sessionware.core.session import Birth, Ended, EndReason, Link, Session

CLAIM_MS: Final = 30_000  # how long an unacknowledged end belongs to the worker that it was handed to
ENDED_KEEP_MS: Final = 3_600_000  # an end that nobody acknowledges is dropped after this
ENDED_MAX: Final = 10_000  # and so are the oldest ones beyond this many per bucket
OPERATION_KEEP_MS: Final = 300_000  # how long a repeated operation id gets the first answer
OPERATIONS_MAX: Final = 1024  # per owner; the oldest beyond this are forgotten
PAGE_MAX: Final = 1000  # sessions in one page of a listing
REAP_MAX: Final = 1000  # sessions that one reap ends: more would stall an engine, or an event loop
LINKS_MAX: Final = 100  # legacy MCP sessions inside one session


class Clock(Protocol):
    """Time as the store sees it."""

    def now(self) -> int:
        """Integer milliseconds since 1970, on the store's own clock."""
        ...

    def is_settling(self) -> bool:
        """Whether the clock has just jumped, so that mass expiry must wait one interval."""
        ...


class Log(StrEnum):
    """The bounded logs that a session can carry."""

    CONTEXT = "context"
    EVENTS = "events"


class Making(StrEnum):
    """What became of a `create`."""

    CREATED = "created"
    EXISTS = "exists"
    FULL = "full"


class Created(Struct, frozen=True, gc=False):
    """The answer to `create`. With EXISTS the session is shown to its own owner only."""

    outcome: Making
    session: Session | None = None
    full: str = ""
    evicted: tuple[Ended, ...] = ()


class Move(Struct, frozen=True, gc=False):
    """Give the session `old` a new birth (key, tag, owner) in the same bucket, if it still has `revision`.

    The tombstone of the old key says ROTATED. Links move when the tag stays the same and end otherwise.
    """

    old: SessionKey
    birth: Birth
    revision: int
    caps: Caps = Caps()


class Moved(Struct, frozen=True, gc=False):
    """The session under its new key, the links that ended, and who was evicted to make room."""

    session: Session
    unlinked: tuple[Link, ...] = ()
    evicted: tuple[Ended, ...] = ()


class Linked(Struct, frozen=True, gc=False):
    """The link as it stands, and the least recently seen ones that ended because there were too many."""

    link: Link
    unlinked: tuple[Link, ...] = ()


class Unlinked(Struct, frozen=True, gc=False):
    """The link that ended, and its session if that was unnamed and this was its last link."""

    link: Link
    ended: Ended | None = None


class Query(Struct, frozen=True, gc=False):
    """Which sessions to list: all, or one owner's (`owner` and its `bucket`). `limit` 0 asks for counts only."""

    owner: bytes | None = None
    bucket: int = 0
    cursor: str = ""
    limit: int = 100


class Page(Struct, frozen=True, gc=False):
    """Sessions without their payload, oldest first; an empty `cursor` means that this was the last page.

    A store that spreads buckets over servers lists bucket by bucket, oldest first within each: one owner's sessions
    share a bucket (but with PARTITION=org), so theirs are in order all the same.

    `total` counts what has not been removed yet: expired sessions leave it when they are reaped. `upstreams`
    counts bound sessions per (pool, upstream), for a query with limit 0 over all.
    """

    sessions: tuple[Session, ...]
    total: int
    cursor: str = ""
    upstreams: dict[tuple[str, str], int] = {}


class Store(Protocol):
    """Shared state. Raises `StoreUnavailable` from any method; anything else is said at the method."""

    @property
    def addresses(self) -> Addresses:
        """The installation's salt and bucket count, known once the store is entered."""
        ...

    @property
    def clock(self) -> Clock: ...

    async def __aenter__(self) -> Self:
        """Connect, check the engine, agree on the salt. Raises `ConfigError` when this can never work."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def admit(self, ask: Admission) -> Admitted:
        """Decide and charge one request. Never retried by anybody: it may have been applied.

        A `link` that is missing, or in another session than `key`, is UNKNOWN, whatever else was asked. A session
        made at or before its owner's revocation instant is UNKNOWN here too. The reason of an UNKNOWN is why the
        session under `key` is dead, whether it was swept or not. A full level first loses up to VICTIM_SCAN
        expired sessions; the owner's cap is looked at before the levels.
        """
        ...

    async def create(self, new: NewSession, *, operation: bytes, now: int) -> Created:
        """Insert if absent, within the caps. A repeated `operation` gets the first answer."""
        ...

    async def get(self, key: SessionKey, *, now: int) -> Session | None:
        """The live session with its payload and links; never touches it.

        Raises `PayloadUnreadable` when its payload cannot be decrypted.
        """
        ...

    async def update(self, session: Session, *, now: int) -> Session:
        """Write metadata, data, `idle` and `absolute_at` if `session.revision` still stands; counts as activity.

        A payload that is None stays as it is. Overrides, bindings, hits and links are not written. Raises
        `Conflict`, or `SessionNotFound`: it never resurrects.
        """
        ...

    async def rebind(self, key: SessionKey, *, pool: str, was: str | None, to: str | None, now: int) -> str | None:
        """Move the binding in `pool` if it still is `was`; answers the binding that stands. The revision stays.

        Raises `SessionNotFound`.
        """
        ...

    async def link(self, link: Link, *, operation: bytes, now: int, at_most: int = LINKS_MAX) -> Linked:
        """Put one legacy MCP session into its session; over `at_most` the least recently seen others go.

        A link that stands under its key already is replaced. Not an activity. Raises `SessionNotFound`.
        """
        ...

    async def unlink(self, key: SessionKey, *, now: int) -> Unlinked | None:
        """End a link; an unnamed session ends with its last one. None when there is no such link."""
        ...

    async def move(self, move: Move, *, now: int) -> Moved:
        """Rotate an id: payload, revision, times, hits, overrides, bindings, counters, logs and leases stay.

        Watchers hear that the old key is gone. The birth's `holds` stay too, whatever `move` says; `caps.levels`
        play no part. Raises `SessionNotFound`, `Conflict`, `SessionExists`, `TooManySessions`; ValueError when the
        keys lie in different buckets.
        """
        ...

    async def delete(self, key: SessionKey, *, now: int, reason: EndReason = EndReason.ENDED) -> Ended | None:
        """End a live session; exactly one of many callers gets it, the others None."""
        ...

    async def list(self, query: Query, *, now: int) -> Page:
        """One page of live sessions. Raises ValueError when the cursor is not one of ours."""
        ...

    async def reap(self, *, now: int, limit: int, idle_for: int | None = None) -> Sequence[Ended]:
        """Remove up to `limit` expired sessions, and those idle for `idle_for` ms; hand out unacknowledged ends.

        A session that is open is not idle. Does nothing while the clock is settling after a jump. `limit` bounds
        all that is handed out (at most REAP_MAX); limit 0 is the readiness probe.
        """
        ...

    async def record(self, facts: Sequence[Fact], *, now: int) -> Sequence[bool]:
        """Book what has happened, each fact by itself; False where it was booked before or has nothing to hit.

        False: a Settled whose operation was booked (else True, whatever was left to adjust), a Touched,
        SessionLimits, Interrupted or Renewed without its session (leases are renewed all the same), a Released
        that frees nothing (what has run out is free already), a receipt that is not waiting. SessionLimits move
        the revision.
        """
        ...

    async def revoke(self, revocation: Revocation, *, now: int) -> Sequence[Ended]:
        """Refuse a token, or all of an owner before an instant; in force everywhere when this returns.

        Hands over the sessions that it ended. An earlier instant, or an earlier `until`, takes nothing back.
        """
        ...

    async def append(self, key: SessionKey, log: Log, item: bytes, *, keep: int, now: int) -> int:
        """Add to a log of which the newest `keep` items stay; answers how many were ever added.

        Raises `SessionNotFound`.
        """
        ...

    async def tail(self, key: SessionKey, log: Log, count: int, *, now: int) -> Sequence[bytes]:
        """The newest `count` items, oldest first. Raises `SessionNotFound`."""
        ...

    def watch(self) -> AsyncIterator[Event]:
        """What this and other workers did, within 1 s.

        Starts with a Gap and the overrides of all organisations; yields a Gap after each reconnect and at least
        every 15 s.
        """
        ...
