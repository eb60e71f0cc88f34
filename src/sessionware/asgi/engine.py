"""One running installation, as the edge sees it: everything that a request is served with."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from threading import get_ident

from msgspec import Struct, field

from sessionware.asgi.doubt import Doubt
from sessionware.asgi.ends import Ends
from sessionware.asgi.options import SAFE_METHODS, Options
from sessionware.asgi.visits import Visit, Visits
from sessionware.asgi.work import Work
from sessionware.credentials.resolver import Resolver
from sessionware.gate import Gate
from sessionware.service.runtime import Runtime


class Engine(Struct, frozen=True, kw_only=True):
    """What is there once an installation has started. `heard` are the headers that say who asks.

    `loop` and `thread` are where it runs.
    """

    runtime: Runtime
    gate: Gate
    resolver: Resolver
    options: Options
    loop: AbstractEventLoop
    thread: int
    heard: frozenset[bytes]
    work: Work
    ends: Ends = field(default_factory=Ends)
    visits: Visits = field(default_factory=Visits)
    doubt: Doubt = field(default_factory=Doubt)
    asks_members: bool = False  # of a session that its id alone proves, only the record tells whose it is
    asks_secrets: bool = False  # only the record tells which session token goes with it
    goes_on_without: bool = False  # with session None, while the store is away

    @property
    def is_here(self) -> bool:
        """Whether the event loop that runs right now is its own.

        As good as asyncio.get_running_loop(), which asks the kernel for the process id each time (until 3.12).
        """
        return self.thread == get_ident() and self.loop.is_running()

    def may_repeat(self, visit: Visit, method: str) -> bool:
        """Whether the same request of this caller may be asked again without finding out anything."""
        if visit.is_unsessioned or self.goes_on_without or self.asks_secrets:
            return False
        if visit.is_by_cookie and method not in SAFE_METHODS:
            return False  # who sent it must be looked at each time
        return visit.identity is not None or not self.asks_members
