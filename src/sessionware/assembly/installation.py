"""One assembled installation: its store, its gate, its loops; started once, closed once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from threading import get_ident
from types import TracebackType
from typing import Any, Final, Self

from sessionware.asgi.doubt import Doubt
from sessionware.asgi.engine import Engine
from sessionware.asgi.work import Elsewhere, Work, nowhere_else
from sessionware.assembly.listening import Listener
from sessionware.assembly.overriding import overrides
from sessionware.assembly.parts import counted_apart, failure_of, options_of, renewal_of, terms_of
from sessionware.config.load import load
from sessionware.config.settings import Settings, without_password
from sessionware.core.policy import compile_policy
from sessionware.core.store import Store
from sessionware.credentials.resolver import Resolver
from sessionware.credentials.sources import Sources, read_sources
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.gate import Gate
from sessionware.integrations.documenting import document
from sessionware.reaper import Reaper
from sessionware.service.runtime import Runtime, operations
from sessionware.service.sessions import Sessions
from sessionware.stores.memory import MemoryStore
from sessionware.stores.open import open_store
from sessionware.telemetry import Endings, Observer, Observers, Telemetry
from sessionware.telemetry.audit import open_sink
from sessionware.telemetry.health import Health

log: Final = logging.getLogger("sessionware")


class Sessionware:
    """The assembled runtime. Making one does no I/O and binds nothing to an event loop."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        store: Store | None = None,
        observers: Sequence[Observer] = (),
        is_guest: bool = False,
    ) -> None:
        """Raises ConfigError for settings that cannot work.

        A guest comes for a moment to a store that others serve: the ends it brings about are told by them, too.
        """
        self.settings = settings or Settings()
        self._given = store
        self._store: Store | None = store or self._opened()
        self._sources = read_sources(self.settings)
        self._observing = tuple(observers)
        self._is_guest = is_guest
        self._audit = open_sink(self.settings.audit) if self.settings.audit else None
        self.at_work: Engine | None = None  # what the edge works with, once started
        self.elsewhere: Elsewhere = nowhere_else  # asks other workers what a session does there
        self._starting: asyncio.Task[Engine] | None = None
        self._is_missing = False  # the store was not there when it was last tried
        self._open = contextlib.AsyncExitStack()
        self._listener = Listener()

    @classmethod
    def from_env(cls, *, store: Store | str | None = None, observers: Sequence[Observer] = (), **given: Any) -> Self:
        """Configured by the environment and the file it names; keywords stand above both.

        `store` may be a URL or a ready store. Raises ConfigError.
        """
        keywords = {**given, "store": store} if isinstance(store, str) else given
        ready = None if isinstance(store, str) else store
        return cls(settings_from(keywords), store=ready, observers=observers)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def is_started(self) -> bool:
        return self.at_work is not None

    @property
    def engine(self) -> Engine:
        """What the edge works with. Raises StoreUnavailable before `start`."""
        if self.at_work is None:
            raise StoreUnavailable("sessionware is not started: `await sessionware.start()`")
        return self.at_work

    @property
    def sessions(self) -> Sessions:
        """The service: start, get, close, list, revoke, ... from outside a request."""
        return Sessions(self.engine.runtime)

    async def start(self, *, within: float | None = None) -> Engine:
        """Connect and begin; doing it again does nothing. Raises StoreUnavailable, and may then be tried again.

        With `within` it waits so many seconds at most, and goes on connecting behind the caller's back. An event loop
        that was closed under it (as test clients do) is left behind for the one that runs now.
        """
        loop = asyncio.get_running_loop()
        if self.at_work is not None:
            if self.at_work.loop is loop:
                return self.at_work
            self._leave(self.at_work.loop)
        if self._starting is None or self._starting.get_loop() is not loop:
            self._starting = loop.create_task(self._start())
            self._starting.add_done_callback(self._has_started)
        starting = self._starting
        if within is not None and self._is_missing:
            within = 0.0  # it was tried before: it is connected to in the background, and nobody waits for it
        await asyncio.wait([starting], timeout=within)
        if not starting.done():
            raise StoreUnavailable("the store is being connected to, and has not answered yet")
        return starting.result()

    def _has_started(self, starting: asyncio.Task[Engine]) -> None:
        """Say why a start has failed, once for everybody who waited for it."""
        self._starting = None
        self._is_missing = starting.cancelled() or starting.exception() is not None
        error = None if starting.cancelled() else starting.exception()
        if isinstance(error, StoreUnavailable) and not self._is_guest:  # who visits is told, and says so itself
            log.error("the store %s cannot be reached: %s", without_password(self.settings.store), error)

    def install(self, app: Any, *, api: str | None = None) -> None:
        """Put the middleware in front of a Starlette or FastAPI app; `api` as in `SessionMiddleware`.

        Any other ASGI app is wrapped: `SessionMiddleware(app, sessionware)`. Raises ConfigError for such an app.
        """
        from sessionware.assembly.middleware import SessionMiddleware  # noqa: PLC0415  # it imports this module

        add = getattr(app, "add_middleware", None)
        if add is None:
            raise ConfigError(
                f"install() wants an app with add_middleware, got {type(app).__name__}: "
                "wrap it, `app = SessionMiddleware(app, sessionware)`"
            )
        add(SessionMiddleware, sessionware=self, api=api)
        document(app, self.settings)

    async def aclose(self) -> None:
        """Tell what waits, stop the loops, leave the store. Does nothing when it is not started."""
        self.at_work = None
        starting = self._starting
        if starting is not None and starting.get_loop() is asyncio.get_running_loop():
            starting.cancel()
            await asyncio.wait([starting])
        await self._open.aclose()

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        if not loop.is_closed():
            raise RuntimeError("one Sessionware serves one event loop: make another for the other loop")
        self.at_work, self._open = None, contextlib.AsyncExitStack()
        if not isinstance(self._store, MemoryStore):
            self._store = self._given  # its connections died with the loop

    def _opened(self) -> Store:
        settings = self.settings
        return open_store(
            settings.store, keys=settings.secret_keys, timeout_ms=settings.store_timeout, source="SESSIONWARE_STORE",
            partition=settings.partition,
        )  # fmt: skip

    async def _start(self) -> Engine:
        changed = overrides()
        if changed is None:
            self._store = self._store or self._opened()
            return await self._assemble(self._store, self._sources)
        store = changed.store or self._given or self._opened()  # one of its own, so that it finds nothing of before
        engine = await self._assemble(store, changed.sources(self.settings, self._sources, store.clock))
        changed.started.push_async_callback(self.aclose)
        return engine

    async def _assemble(self, entered: Store, sources: Sources) -> Engine:
        """Make every part once, begin its loops; what has begun ends again if a later one fails."""
        settings = self.settings
        async with contextlib.AsyncExitStack() as opening:
            store = await opening.enter_async_context(entered)
            local = await opening.enter_async_context(MemoryStore(clock=store.clock))
            telemetry = Telemetry(audit=self._audit)
            observers = Observers(self._observing, telemetry=telemetry)
            opening.push_async_callback(observers.aclose)
            health = Health()
            endings = Endings(observers, telemetry=telemetry, health=health, acknowledges=not self._is_guest)
            reaper = Reaper(store, endings, telemetry=telemetry, interval_ms=settings.cleanup_interval)
            policy = compile_policy(settings.limits, addresses=store.addresses, creation=settings.create_limit)
            for line in counted_apart(settings, policy):
                log.info("%s", line)
            gate = Gate(
                store, local=local, failure=failure_of(settings), telemetry=telemetry,
                renew_every_ms=renewal_of(settings),
            )  # fmt: skip
            work = Work(store.clock, elsewhere=self.elsewhere)
            resolver = Resolver(settings, store.addresses, sources=sources)
            opening.push_async_callback(resolver.aclose)
            runtime = Runtime(
                store=store,
                policy=policy,
                terms=terms_of(settings),
                telemetry=telemetry,
                observers=observers,
                endings=endings,
                reaper=reaper,
                health=health,
                pending=work.pending,
                unlinked=observers.unlinked,
                org_limits=self._listener.limits_of,
                operation=operations(),
            )
            engine = _engine(settings, runtime, gate=gate, resolver=resolver, work=work)
            gate.start()
            opening.push_async_callback(gate.aclose)
            reaper.start()
            opening.push_async_callback(reaper.aclose)
            opening.push_async_callback(_stop, asyncio.create_task(self._listener.listen(engine)))
            self._open = opening.pop_all()
            self.at_work = engine
            return engine


def settings_from(keywords: Mapping[str, Any]) -> Settings:
    """The settings, with what there is to warn about said once. Raises ConfigError."""
    loaded = load(keywords=keywords)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    return loaded.settings


def given_or_made(sessionware: Sessionware | None, keywords: Mapping[str, Any], *, by: str) -> Sessionware:
    """The installation that `by` was given, or one of its own from settings. Raises ConfigError for both at once."""
    if sessionware is not None and keywords:
        raise ConfigError(f"{by}: {', '.join(keywords)} belong to the Sessionware that is given")
    return sessionware or Sessionware(settings_from(keywords))


def _engine(settings: Settings, runtime: Runtime, *, gate: Gate, resolver: Resolver, work: Work) -> Engine:
    """What the edge works with, on the loop and the thread that run now."""
    options = options_of(settings)
    return Engine(
        runtime=runtime,
        gate=gate,
        resolver=resolver,
        options=options,
        loop=asyncio.get_running_loop(),
        thread=get_ident(),
        heard=options.names.heard,
        work=work,
        doubt=Doubt(is_settled=bool(settings.trusted_proxies)),
        asks_members=bool(settings.required_groups) or settings.require_org,
        asks_secrets=settings.session_token,
        goes_on_without=settings.on_store_down_sessions == "anonymous",
    )


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
