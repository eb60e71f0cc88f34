"""One assembled installation: its store, its gate, its loops; started once, closed once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from sessionware.asgi.ends import Ends
from sessionware.asgi.options import Engine
from sessionware.assembly.parts import failure_of, options_of, terms_of
from sessionware.config.settings import Settings
from sessionware.core.facts import Gap, OrgLimitsNow, Revoked, SessionGone
from sessionware.core.policy import compile_policy
from sessionware.core.session import Override
from sessionware.core.store import Store
from sessionware.credentials.resolver import Resolver
from sessionware.credentials.sources import read_sources
from sessionware.errors import PayloadUnreadable, StoreUnavailable
from sessionware.gate import Gate
from sessionware.reaper import Reaper
from sessionware.service.runtime import Runtime
from sessionware.service.sessions import Sessions
from sessionware.stores.memory import MemoryStore
from sessionware.stores.open import open_store
from sessionware.telemetry import Endings, Observer, Observers, Telemetry
from sessionware.telemetry.audit import open_sink
from sessionware.telemetry.health import Health


class Sessionware:
    """The assembled runtime. Making one does no I/O and binds nothing to an event loop."""

    def __init__(
        self, settings: Settings | None = None, *, store: Store | None = None, observers: Sequence[Observer] = ()
    ) -> None:
        """Raises ConfigError for settings that cannot work."""
        self.settings = settings or Settings()
        self._store = store or open_store(
            self.settings.store, keys=self.settings.secret_keys, timeout_ms=self.settings.store_timeout
        )
        self._sources = read_sources(self.settings)
        self._observing = tuple(observers)
        self._audit = open_sink(self.settings.audit) if self.settings.audit else None
        self._options = options_of(self.settings)
        self._engine: Engine | None = None
        self._starting: asyncio.Task[Engine] | None = None
        self._open = contextlib.AsyncExitStack()
        self._orgs: dict[bytes, Mapping[str, Override]] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def is_started(self) -> bool:
        return self._engine is not None

    @property
    def engine(self) -> Engine:
        """What the edge works with. Raises StoreUnavailable before `start`."""
        if self._engine is None:
            raise StoreUnavailable("sessionware is not started: `await sessionware.start()`")
        return self._engine

    @property
    def sessions(self) -> Sessions:
        """The service: start, get, close, list, revoke, ... from outside a request."""
        return Sessions(self.engine.runtime)

    async def start(self) -> Engine:
        """Connect and begin; doing it again does nothing. Raises StoreUnavailable, and may then be tried again."""
        if self._engine is not None:
            return self._engine
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
        starting = self._starting
        try:
            return await asyncio.shield(starting)
        finally:
            if starting.done():
                self._starting = None

    async def aclose(self) -> None:
        """Tell what waits, stop the loops, leave the store. Does nothing when it is not started."""
        self._engine = None
        await self._open.aclose()

    async def _start(self) -> Engine:
        settings = self.settings
        async with contextlib.AsyncExitStack() as opening:
            store = await opening.enter_async_context(self._store)
            local = await opening.enter_async_context(MemoryStore(clock=store.clock))
            telemetry = Telemetry(audit=self._audit)
            observers = Observers(self._observing, telemetry=telemetry)
            opening.push_async_callback(observers.aclose)
            health = Health()
            endings = Endings(observers, telemetry=telemetry, health=health)
            reaper = Reaper(store, endings, telemetry=telemetry, interval_ms=settings.cleanup_interval)
            policy = compile_policy(settings.limits, addresses=store.addresses, creation=settings.create_limit)
            gate = Gate(store, local=local, failure=failure_of(settings), telemetry=telemetry)
            resolver = Resolver(settings, store.addresses, sources=self._sources)
            opening.push_async_callback(resolver.aclose)
            engine = Engine(
                runtime=Runtime(
                    store=store,
                    policy=policy,
                    terms=terms_of(settings),
                    telemetry=telemetry,
                    observers=observers,
                    endings=endings,
                    reaper=reaper,
                    health=health,
                    org_limits=self._limits_of,
                ),
                gate=gate,
                resolver=resolver,
                options=self._options,
                ends=Ends(),
            )
            gate.start()
            opening.push_async_callback(gate.aclose)
            reaper.start()
            opening.push_async_callback(reaper.aclose)
            listening = asyncio.get_running_loop().create_task(self._listen(engine))
            opening.push_async_callback(_stop, listening)
            self._open = opening.pop_all()
            self._engine = engine
            return engine

    async def _listen(self, engine: Engine) -> None:
        """Hear what other workers did: forget tokens that were revoked, keep the limits of organisations."""
        async for event in engine.runtime.store.watch():
            await engine.gate.hear(event)
            if isinstance(event, Revoked | Gap):
                engine.resolver.flush()
                await self._look_again(engine)
            elif isinstance(event, SessionGone):
                engine.ends.ended(event.key)
            elif isinstance(event, OrgLimitsNow):
                self._orgs[event.org] = event.limits

    async def _look_again(self, engine: Engine) -> None:
        """Something may have been missed: close what belongs to sessions that are no more."""
        runtime = engine.runtime
        for key in engine.ends.waiting():
            try:
                if await runtime.store.get(key, now=runtime.now()) is None:
                    engine.ends.ended(key)
            except (StoreUnavailable, PayloadUnreadable):
                continue

    def _limits_of(self, org: bytes) -> Mapping[str, Override]:
        return self._orgs.get(org, {})


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
