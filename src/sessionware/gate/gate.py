"""The only place that asks the store to admit a request, and answers in its stead when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, assert_never
from zlib import crc32

from msgspec import Struct

from sessionware.clock import MS_NS, SYSTEM_NS, Nanoseconds
from sessionware.core.admission import Admission, Admitted, Outcome
from sessionware.core.decision import Allowed, Decision, judge
from sessionware.core.facts import Event, Released, Revoked
from sessionware.core.policy import Policy
from sessionware.core.store import Store
from sessionware.errors import StoreUnavailable
from sessionware.gate.breaker import Breaker
from sessionware.gate.facts import FactQueue
from sessionware.gate.failure import FailurePolicy, local_share, only_credential, unavailable
from sessionware.gate.leases import RENEW_EVERY_MS, LeaseKeeper, Running
from sessionware.telemetry import Action, Feature, Reason, Telemetry

RETRY_MIN_MS: Final = 1_000  # what a client is told to wait for a store that is down
RETRY_MAX_MS: Final = 5_000


class _Why(Struct, frozen=True):
    """Why a request is decided without the store, and what the store's engine had to say about it."""

    reason: Reason
    error: StoreUnavailable | None = None


_NOT_ASKED: Final = _Why(Reason.BREAKER_OPEN)


class Gate:
    """plan -> `decide` -> run -> `leases.release`; what is known after the fact goes to `facts`.

    `local` is a store of this process, asked for its share while the real one is down. Both stores are entered
    and left by whoever made them. Leases that an admission took are registered here and renewed until
    `leases.release(ask.operation)`.
    """

    def __init__(  # noqa: PLR0913  # each is a part that the assembly hands over
        self,
        store: Store,
        *,
        local: Store,
        failure: FailurePolicy,
        telemetry: Telemetry,
        nanoseconds: Nanoseconds = SYSTEM_NS,
        renew_every_ms: int = RENEW_EVERY_MS,
    ) -> None:
        self.facts = FactQueue(store, telemetry=telemetry)
        self.leases = LeaseKeeper(self.facts, clock=store.clock, every_ms=renew_every_ms)
        self._local_facts = FactQueue(local, telemetry=telemetry)
        self._store = store
        self._admit = self._admit_in_time if failure.deadline_ms else store.admit
        self._local = local
        self._failure = failure
        self._telemetry = telemetry
        self._nanoseconds = nanoseconds
        self._breaker = Breaker()
        self._down_since: int | None = None

    @property
    def is_store_down(self) -> bool:
        """Whether the store has failed lately and is only probed."""
        return self._breaker.is_open

    def start(self) -> None:
        """Begin to tell facts and renew leases. Does nothing when it has begun; needs a running event loop."""
        self.facts.start()
        self._local_facts.start()
        self.leases.start()

    async def aclose(self) -> None:
        """Release what runs, tell what waits, stop. Does nothing when it was never started."""
        await self.leases.aclose()
        await self._local_facts.aclose()
        await self.facts.aclose()

    async def decide(
        self,
        ask: Admission,
        policy: Policy,
        *,
        about_session: bool,
        sessionless: Callable[[], Admission] | None = None,
        named: bool = False,
    ) -> Decision:
        """Ask the store once, and judge its answer; without an answer, decide as the failure policy says.

        `about_session`: the request uses or makes a session. `sessionless` asks for the same request without
        it, planned anew so that its client counts; it is called only when the store is down and the request may
        go on like that. `named`: the caller chose the costs. A request that wants nothing of the store goes on
        without it. Raises what the store raises, except that StoreUnavailable is a decision.
        """
        if not (about_session or ask.spends or ask.token is not None or ask.leases or ask.opens):
            return _go_on(ask, policy)
        began = self._nanoseconds() // MS_NS
        entry = self._breaker.enter(began)
        why = _NOT_ASKED
        if entry is not None:
            try:
                answer = await self._admit(ask)
            except StoreUnavailable as error:
                why = self._failed(ask, entry, error)
            except asyncio.CancelledError:
                self._let_go(ask)
                raise
            else:
                now = self._nanoseconds() // MS_NS
                self._down_since = None
                if self._breaker.succeeded(entry, now):
                    self._telemetry.recovered()
                self._telemetry.admitted(answer.outcome, now - began)
                if (ask.leases or ask.opens) and answer.outcome is Outcome.ADMITTED:
                    self.leases.register(ask.operation, Running.of(ask))
                return judge(ask, answer, policy, named=named)
        self._telemetry.unavailable()
        if about_session:
            if self._failure.sessions == "closed" or sessionless is None:
                return self._closed(Feature.SESSIONS, why, ask)
            self._telemetry.degraded(Feature.SESSIONS, why.reason, Action.ANONYMOUS, error=why.error)
            ask = sessionless()
        return await self._decide_alone(ask, policy, why=why, named=named)

    async def hear(self, event: Event) -> None:
        """What the store's `watch` told: what was revoked before the store went down stays refused."""
        if isinstance(event, Revoked):
            now = self._store.clock.now()
            await self._local.revoke(event.revocation, now=now)
            await self._local.reap(now=now, limit=1)  # it forgets what is over

    # -------------------------------------------------------------- the store

    async def _admit_in_time(self, ask: Admission) -> Admitted:
        deadline_ms = self._failure.deadline_ms
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                return await self._store.admit(ask)
        except TimeoutError as error:
            raise StoreUnavailable(f"the store did not answer an admission within {deadline_ms} ms") from error

    def _failed(self, ask: Admission, entry: int, error: StoreUnavailable) -> _Why:
        """Note the failure, give back what may have been taken; answers why there is no answer."""
        now = self._nanoseconds() // MS_NS
        if self._down_since is None:
            self._down_since = now
        self._breaker.failed(entry, now)
        self._let_go(ask)
        return _Why(Reason.STORE_SLOW if isinstance(error.__cause__, TimeoutError) else Reason.STORE_DOWN, error)

    def _let_go(self, ask: Admission) -> None:
        """Nobody knows whether it was applied: give back the slots that it may have taken."""
        if ask.leases or ask.opens:
            self.facts.add(Released(ask.bucket, ask.operation, ask.key, ask.leases))

    # -------------------------------------------------------------- without it

    async def _decide_alone(self, ask: Admission, policy: Policy, *, why: _Why, named: bool) -> Decision:
        """Decide a request that needs no session."""
        if ask.token is not None and self._is_stale():
            return self._closed(Feature.REVOCATION, why, ask)
        if not (ask.spends or ask.leases or ask.token):
            return _go_on(ask, policy)
        match self._failure.limits:
            case "closed":
                return self._closed(Feature.LIMITS, why, ask)
            case "open":
                self._telemetry.degraded(Feature.LIMITS, why.reason, Action.OPEN, error=why.error)
                return await self._decide_unlimited(ask, policy)
            case "local":
                return await self._decide_locally(ask, policy, why=why, named=named)
            case _:
                assert_never(self._failure.limits)

    async def _decide_locally(self, ask: Admission, policy: Policy, *, why: _Why, named: bool) -> Decision:
        share = local_share(ask, policy, workers=self._failure.workers_hint)
        if share is None:
            return self._closed(Feature.LIMITS, why, ask)
        self._telemetry.degraded(Feature.LIMITS, why.reason, Action.LOCAL, error=why.error)
        answer = await self._local.admit(share)
        if share.leases and answer.outcome is Outcome.ADMITTED:
            self.leases.register(share.operation, Running.of(share), facts=self._local_facts)
        return judge(share, answer, policy, named=named)

    async def _decide_unlimited(self, ask: Admission, policy: Policy) -> Decision:
        """Limits may be open; what was revoked, as far as this worker has heard, is refused all the same."""
        if ask.token is None:
            return _go_on(ask, policy)
        bare = only_credential(ask)
        return judge(bare, await self._local.admit(bare), policy)

    def _is_stale(self) -> bool:
        """Whether the store was silent for so long that a revocation may have been missed."""
        since = self._down_since
        return since is not None and self._nanoseconds() // MS_NS - since >= self._failure.revocation_stale_ms

    def _closed(self, feature: Feature, why: _Why, ask: Admission) -> Decision:
        self._telemetry.degraded(feature, why.reason, Action.CLOSED, error=why.error)
        return unavailable(ask, wait_ms=_wait_ms(ask.operation))


def _wait_ms(operation: bytes) -> int:
    """Somewhere between 1 and 5 s, as good as random by operation, so that clients do not come back together."""
    return RETRY_MIN_MS + crc32(operation) % (RETRY_MAX_MS - RETRY_MIN_MS + 1)


def _go_on(ask: Admission, policy: Policy) -> Allowed:
    """Nothing was asked and nothing taken."""
    return Allowed(Admitted(Outcome.ADMITTED, ask.now), ask, policy)
