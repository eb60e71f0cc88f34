"""What is told to the store after the fact, and what the store tells its watchers."""

from __future__ import annotations

from msgspec import Struct

from sessionware.core.ids import SessionKey
from sessionware.core.ledger import Lease, Spend
from sessionware.core.session import EndReason, Override
from sessionware.core.windows import NEVER

# ------------------------------------------------------------------ facts


class Touched(Struct, frozen=True, gc=False):
    """A session was active at `at`, `hits` more times."""

    key: SessionKey
    at: int
    hits: int = 0


class Settled(Struct, frozen=True, gc=False):
    """What an operation really took: charged or given back without asking, once per `operation`.

    Each spend's `window` names the window in which it was (or is) charged.
    """

    bucket: int
    owner: bytes
    operation: bytes
    session: SessionKey | None
    spends: tuple[Spend, ...]


class Renewed(Struct, frozen=True, gc=False):
    """A running request or stream is still running; its session is open and its leases hold until `until`."""

    bucket: int
    operation: bytes
    session: SessionKey | None
    leases: tuple[Lease, ...]
    until: int


class Released(Struct, frozen=True, gc=False):
    """A running request or stream has finished, however it finished."""

    bucket: int
    operation: bytes
    session: SessionKey | None
    leases: tuple[Lease, ...]


class Acknowledged(Struct, frozen=True, gc=False):
    """The observers of an ended session were told."""

    bucket: int
    receipt: str


class SessionLimits(Struct, frozen=True, gc=False):
    """Other allowances for one session; None takes an override back."""

    key: SessionKey
    limits: dict[str, int | None]
    until: int = NEVER


class UserLimits(Struct, frozen=True, gc=False):
    """Other allowances for one owner; None takes an override back."""

    bucket: int
    owner: bytes
    limits: dict[str, int | None]
    until: int = NEVER


class OrgLimits(Struct, frozen=True, gc=False):
    """Other allowances for one organisation, copied to every worker through `watch`; None takes one back."""

    org: bytes
    limits: dict[str, int | None]
    until: int = NEVER


class Interrupted(Struct, frozen=True, gc=False):
    """Stop what this session was doing at `at`, wherever it runs; 0: whatever it does. Also an event."""

    key: SessionKey
    at: int = 0


Fact = Touched | Settled | Renewed | Released | Acknowledged | SessionLimits | UserLimits | OrgLimits | Interrupted

# ------------------------------------------------------------------ revocations


class TokenRevocation(Struct, frozen=True, gc=False):
    """One token is refused from now on; sessions that it started end. Forgotten after `until`."""

    token: bytes
    until: int


class OwnerRevocation(Struct, frozen=True, gc=False):
    """Every token issued and every session made at or before `before` is refused, for one owner."""

    bucket: int
    owner: bytes
    before: int


Revocation = TokenRevocation | OwnerRevocation

# ------------------------------------------------------------------ events


class SessionGone(Struct, frozen=True, gc=False):
    """A session ended somewhere; streams that belong to it must close."""

    key: SessionKey
    reason: EndReason


class Revoked(Struct, frozen=True, gc=False):
    """A revocation was written; verified-token caches must forget."""

    revocation: Revocation


class OrgLimitsNow(Struct, frozen=True, gc=False):
    """The overrides of one organisation as they stand now."""

    org: bytes
    limits: dict[str, Override]


class Gap(Struct, frozen=True, gc=False):
    """Something may have been missed, or nothing was said for a while: re-check what you hold."""


Event = SessionGone | Revoked | OrgLimitsNow | Interrupted | Gap
