"""How a process hears what others did to the file: it polls the events table while somebody watches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from weakref import WeakSet

from sessionware.core.facts import Event, OrgLimitsNow
from sessionware.core.session import Override
from sessionware.errors import StoreUnavailable
from sessionware.stores.broadcast import Broadcast, Watch
from sessionware.stores.sqlite.reading import NEWS_MAX, News

_log = logging.getLogger(__name__)


class Watching:
    """The watchers of one store, and the loop that reads for them. `read(since, wants_orgs)` asks the file."""

    def __init__(self, read: Callable[[int, bool], Awaitable[News]], *, poll_ms: int) -> None:
        self._read = read
        self._poll_s = poll_ms / 1000
        self._broadcast = Broadcast(self._greeting)
        self._watches: WeakSet[Watch] = WeakSet()
        self._orgs: dict[bytes, dict[str, Override]] = {}
        self._heard = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, news: News) -> None:
        """Begin with what the file said when it was opened."""
        self._heard = news.number
        self._orgs = news.orgs or {}

    def watch(self) -> Watch:
        """A new watcher; it hears everything that this process does from now on, and others within a poll."""
        watch = self._broadcast.watch()
        self._watches.add(watch)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._poll(), name="sqlite store: watch")
        return watch

    def published(self, events: Sequence[tuple[int, Event]]) -> None:
        """Our own process has written events: read them now, or just remember them when nobody watches."""
        if self._task is not None and not self._task.done():
            self._wake.set()
            return
        self._heard = max(self._heard, events[-1][0])
        for _, event in events:
            if isinstance(event, OrgLimitsNow):
                self._remember(event)

    async def close(self) -> None:
        """End all watches and the loop."""
        self._broadcast.close()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _poll(self) -> None:
        is_first = True
        while self._watches:
            self._wake.clear()
            try:
                news = await self._read(self._heard, is_first)
            except StoreUnavailable as error:
                _log.warning("session store: watching goes on when it answers again: %s", error)
            else:
                self._tell(news, is_first=is_first)
                is_first = False
                if len(news.events) >= NEWS_MAX:
                    continue
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _tell(self, news: News, *, is_first: bool) -> None:
        """Publish what was read. A first reader has just been greeted with a Gap: it needs no other one."""
        self._heard = news.number
        told = {event.org for event in news.events if isinstance(event, OrgLimitsNow)}
        if news.has_missed and not is_first:
            self._orgs = news.orgs or {}
            self._broadcast.resync()
        elif news.orgs is not None:
            for org in {*news.orgs, *self._orgs} - told:
                limits = news.orgs.get(org, {})
                if limits != self._orgs.get(org, {}):
                    self._publish(OrgLimitsNow(org, limits))
        for event in news.events:
            self._publish(event)

    def _publish(self, event: Event) -> None:
        if isinstance(event, OrgLimitsNow):
            self._remember(event)
        self._broadcast.publish(event)

    def _remember(self, event: OrgLimitsNow) -> None:
        if event.limits:
            self._orgs[event.org] = event.limits
        else:
            self._orgs.pop(event.org, None)

    def _greeting(self) -> Sequence[Event]:
        return [OrgLimitsNow(org, dict(limits)) for org, limits in self._orgs.items()]
