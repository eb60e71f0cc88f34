"""The only place that calls the application's observers: none of them can stop, slow or break anything of ours."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sessionware.core.decision import Refused
from sessionware.core.facts import Revocation
from sessionware.core.session import EndReason, Link, Session
from sessionware.errors import ConfigError
from sessionware.telemetry.counts import Action, Feature, Reason
from sessionware.telemetry.telemetry import Telemetry

DEADLINE_MS: Final = 5_000  # an observer that has not finished by then is left alone
BACKGROUND_MAX: Final = 1_000  # observer calls under way that nobody waits for; more are dropped and counted
THREADS: Final = 4  # for observers that are plain functions: they must not block the event loop


class Observer:
    """Derive from this and write the methods that you need, as `def` (called in a thread) or `async def`.

    A session's end is told at least once: after a crash another worker may tell it again. Treat a handle and
    `created_at` that you have seen as told.
    """

    def on_start(self, session: Session) -> Awaitable[None] | None:
        """A session was made."""

    def on_end(self, session: Session, reason: EndReason) -> Awaitable[None] | None:
        """A session is no more."""

    def on_unlinked(self, links: Sequence[Link]) -> Awaitable[None] | None:
        """These legacy MCP sessions are over although their session lives on, perhaps under another id."""

    def on_refused(self, refused: Refused) -> Awaitable[None] | None:
        """A request was refused."""

    def on_revoked(self, revocation: Revocation) -> Awaitable[None] | None:
        """A token, or everything of an owner before an instant, is refused from now on."""


_METHODS: Final = ("on_start", "on_end", "on_unlinked", "on_refused", "on_revoked")


class Observers:
    """All observers of an installation.

    Ends are awaited, because they are acknowledged when they were told; everything else is told in the
    background. Raises ConfigError for an object that lacks a method.
    """

    def __init__(
        self, observers: Sequence[Observer] = (), *, telemetry: Telemetry, deadline_ms: int = DEADLINE_MS
    ) -> None:
        self._hearing = {method: _hearing(observers, method) for method in _METHODS}
        self._telemetry = telemetry
        self._deadline_ms = deadline_ms
        self._threads: ThreadPoolExecutor | None = None
        self._background: set[asyncio.Task[None]] = set()

    def started(self, session: Session) -> None:
        self._tell_later("on_start", session)

    def unlinked(self, links: Sequence[Link]) -> None:
        if links:
            self._tell_later("on_unlinked", tuple(links))

    def refused(self, refused: Refused) -> None:
        self._tell_later("on_refused", refused)

    def revoked(self, revocation: Revocation) -> None:
        self._tell_later("on_revoked", revocation)

    async def ended(self, session: Session, reason: EndReason) -> None:
        """Returns when every observer has heard, failed, or run out of time."""
        await self._tell("on_end", session, reason)

    async def settled(self) -> None:
        """Wait until nothing is being told in the background."""
        while self._background:
            await asyncio.wait(list(self._background))

    async def aclose(self) -> None:
        """Stop telling; what is under way is cancelled."""
        doomed = list(self._background)
        for task in doomed:
            task.cancel()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
        await asyncio.gather(*doomed, return_exceptions=True)

    async def _tell(self, method: str, *told: Any) -> None:
        hearing = self._hearing[method]
        if hearing:
            await asyncio.gather(*[self._call(heard, told) for heard in hearing])

    def _tell_later(self, method: str, *told: Any) -> None:
        if not self._hearing[method]:
            return
        if len(self._background) >= BACKGROUND_MAX:
            self._telemetry.degraded(Feature.OBSERVERS, Reason.OVERFULL, Action.DROPPED)
            return
        task = asyncio.get_running_loop().create_task(self._tell(method, *told))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _call(self, heard: Callable[..., Any], told: tuple[Any, ...]) -> None:
        try:
            async with asyncio.timeout(self._deadline_ms / 1000):
                if inspect.iscoroutinefunction(heard):
                    await heard(*told)
                else:
                    answer = await self._in_a_thread(heard, told)
                    if inspect.isawaitable(answer):
                        await answer
        except TimeoutError:
            self._telemetry.degraded(Feature.OBSERVERS, Reason.SLOW, Action.SKIPPED)
        except Exception as error:  # noqa: BLE001  # the application's code: whatever it raises stops nothing
            self._telemetry.degraded(Feature.OBSERVERS, Reason.FAILED, Action.SKIPPED, error=error)

    async def _in_a_thread(self, heard: Callable[..., Any], told: tuple[Any, ...]) -> Any:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sessionware-observer")
        run = contextvars.copy_context().run
        return await asyncio.get_running_loop().run_in_executor(self._threads, run, heard, *told)


def _hearing(observers: Sequence[Observer], method: str) -> tuple[Callable[..., Any], ...]:
    """Who really listens: an observer that left the method as it is costs nothing."""
    for observer in observers:
        if not callable(getattr(observer, method, None)):
            raise ConfigError(
                f"observer {type(observer).__name__} has no method {method}: derive it from sessionware.Observer"
            )
    return tuple(
        [
            getattr(observer, method)
            for observer in observers
            if getattr(type(observer), method, None) is not getattr(Observer, method)
        ]
    )
