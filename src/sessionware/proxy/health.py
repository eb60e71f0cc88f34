"""The only place that decides whether an upstream lives, whom it may serve, and what is said while it does not.

Pure: `now` is monotonic milliseconds, what happened to a connection is told, and every change is a new value.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.proxy.mcp.era import Era

PROBE_EVERY_MS: Final = 1_000
REFUSALS_MIN: Final = 3  # in a row: one refusal may be a full backlog
REFUSED_FOR_MS: Final = 2_000  # and over this long: a restart takes about a second
SILENT_FOR_MS: Final = 10_000  # an upstream that answers no probe for so long is dead, though nothing refuses
RETRY_MS: Final = 1_000  # what a client is told while an upstream may be restarting
CIRCUIT_FAILURES: Final = 5  # exchanges in a row that ended badly although the connection was made
CIRCUIT_OPEN_MS: Final = 1_000  # then one exchange in this time may try


class Life(StrEnum):
    """`SUSPECTED`: connections fail, though not for long enough."""

    UP = "up"
    SUSPECTED = "suspected"
    DEAD = "dead"


class Failure(StrEnum):
    """How a connection could not be made: `REFUSED` (or reset) tells that nobody listens, `SILENT` tells nothing."""

    REFUSED = "refused"
    SILENT = "silent"


class Health(Struct, frozen=True, kw_only=True):
    """What is known of one upstream. `failing_since` is the first failure after the last success, None: there is none.

    `refused_since` and `refusals` are those in a row. `is_draining`: it serves whom it has, and gets no more.
    """

    life: Life = Life.UP
    failing_since: int | None = None
    refused_since: int | None = None
    refusals: int = 0
    is_draining: bool = False


class Meanwhile(StrEnum):
    """What becomes of a request whose upstream is in some health."""

    FORWARD = "forward"
    WAIT = "wait"  # 503 + Retry-After: it may be back in a moment
    GONE = "gone"  # 404 with a JSON-RPC body: the client initialises again
    REBIND = "rebind"  # another upstream, at once


def connected(health: Health) -> Health:
    """A connection was made, by a probe or by a request: whatever was, it lives."""
    if health.failing_since is None:
        return health
    return Health(is_draining=health.is_draining)


def failed(health: Health, failure: Failure, now: int) -> Health:
    """A connection could not be made. Dead stays dead until one can."""
    since = now if health.failing_since is None else health.failing_since
    refused_since, refusals = None, 0
    if failure is Failure.REFUSED:
        refused_since = now if health.refused_since is None else health.refused_since
        refusals = health.refusals + 1
    is_refusing = refused_since is not None and refusals >= REFUSALS_MIN and now - refused_since >= REFUSED_FOR_MS
    is_dead = health.life is Life.DEAD or is_refusing or now - since >= SILENT_FOR_MS
    return Health(
        life=Life.DEAD if is_dead else Life.SUSPECTED,
        failing_since=since,
        refused_since=refused_since,
        refusals=refusals,
        is_draining=health.is_draining,
    )


def drained(health: Health) -> Health:
    """It takes no new sessions: somebody said so, or its address has left DNS, which is not dying."""
    return replace(health, is_draining=True)


def undrained(health: Health) -> Health:
    return replace(health, is_draining=False)


def takes_new_sessions(health: Health) -> bool:
    """Whether a session may be bound to it; one that is suspected only where no other is left."""
    return health.life is Life.UP and not health.is_draining


def before_connecting(health: Health, era: Era) -> Meanwhile:
    """What to do with a request that is bound to this upstream, before anything was tried."""
    if health.life is not Life.DEAD:
        return Meanwhile.FORWARD
    return Meanwhile.GONE if era is Era.LEGACY else Meanwhile.REBIND


def after_failing(health: Health, era: Era) -> Meanwhile:
    """The same when the connection was just refused; `health` knows of it already. Nothing was delivered.

    A legacy session lives in its upstream, which may be restarting; a modern one can go on elsewhere.
    """
    if era is Era.MODERN:
        return Meanwhile.REBIND
    return Meanwhile.GONE if health.life is Life.DEAD else Meanwhile.WAIT


class Circuit(Struct, frozen=True):
    """Whether an upstream that accepts connections also does its work: exchanges that failed in a row.

    While it is open, one exchange in CIRCUIT_OPEN_MS may try. What the upstream answers, a 500 too, is an answer.
    """

    failures: int = 0
    try_at: int | None = None  # None: closed

    @property
    def is_open(self) -> bool:
        return self.try_at is not None


CLOSED: Final = Circuit()


def may_exchange(circuit: Circuit, now: int) -> bool:
    """Whether an exchange may begin. While the circuit is open, call `tried` when it does."""
    return circuit.try_at is None or now >= circuit.try_at


def tried(circuit: Circuit, now: int) -> Circuit:
    """An exchange begins: while the circuit is open, the next one waits for what becomes of it."""
    return circuit if circuit.try_at is None else Circuit(circuit.failures, now + CIRCUIT_OPEN_MS)


def answered(circuit: Circuit) -> Circuit:
    return circuit if circuit == CLOSED else CLOSED


def unanswered(circuit: Circuit, now: int) -> Circuit:
    """An exchange ended without the head of an answer: a timeout, garbage, or a connection that was cut."""
    failures = circuit.failures + 1
    if failures < CIRCUIT_FAILURES:
        return Circuit(failures)
    return Circuit(failures, now + CIRCUIT_OPEN_MS)
