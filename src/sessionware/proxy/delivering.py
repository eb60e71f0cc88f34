"""The only place that decides which upstream is asked, and who is asked next where nothing was delivered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from sessionware.asgi.passage import Passage
from sessionware.errors import SessionNotFound, StoreUnavailable
from sessionware.proxy.health import Meanwhile, before_connecting
from sessionware.proxy.mcp.era import Era
from sessionware.proxy.placing import Placing
from sessionware.proxy.standing import Upstream
from sessionware.proxy.wire import Deadlines, NotDelivered, Reason, Response, UpstreamRequest

ATTEMPTS_MAX: Final = 3  # each may wait for a connection: more would keep the client for too long
log: Final = logging.getLogger("sessionware")


class Delivery:
    """One request of a session that any upstream of the pool may serve; a session that is bound stays where it is.

    `request` makes the request for one upstream.
    """

    __slots__ = ("_bound", "_deadlines", "_made_at", "_passage", "_placing", "_pool", "_request", "_tried")

    def __init__(
        self,
        placing: Placing,
        passage: Passage,
        *,
        pool: str,
        request: Callable[[Upstream], UpstreamRequest],
        deadlines: Deadlines,
    ) -> None:
        self._placing = placing
        self._passage = passage
        self._pool = pool
        self._request = request
        self._deadlines = deadlines
        self._tried: set[str] = set()
        self._bound = self._binding()
        self._made_at: str | None = None

    async def run(self, *, made_at: str | None = None) -> tuple[Upstream, Response]:
        """Who has answered, and what. Only when nothing can have been delivered somebody else is asked.

        `made_at` is the upstream that has made the task which is asked for: it comes first, and the session stays
        where it is. Raises WireFault, and what the request's body raises.
        """
        self._made_at = None if made_at == self._bound else made_at
        upstream = await self._first()
        missed: NotDelivered | None = None
        while upstream is not None and len(self._tried) < ATTEMPTS_MAX:
            try:
                return upstream, await upstream.exchange(self._request(upstream), self._deadlines)
            except NotDelivered as fault:
                log.warning("%s", fault)
                if self._bound is not None and self._made_at is None and fault.reason is Reason.CIRCUIT_OPEN:
                    raise  # it may work in a moment, and has what the session left there
                missed = fault
                self._tried.add(upstream.name)
                is_elsewhere, self._made_at = self._made_at is not None, None
                upstream = await (self._first() if is_elsewhere else self._next())
        raise missed or NotDelivered(f"pool {self._pool}", Reason.NO_UPSTREAM, "no upstream is known")

    def _binding(self) -> str | None:
        """The upstream that its session is bound to in this pool."""
        session = self._passage.session
        return None if session is None else session.record.bindings.get(self._pool)

    async def _first(self) -> Upstream | None:
        if self._made_at is not None:
            maker = self._placing.fleet.find(self._pool, self._made_at)
            if maker is not None and before_connecting(maker.health, Era.MODERN) is Meanwhile.FORWARD:
                return maker
            self._made_at = None
        if self._bound is None:
            return self._placing.by_hash(self._pool, self._key(), without=self._tried)
        upstream = self._placing.fleet.find(self._pool, self._bound)
        if upstream is not None and before_connecting(upstream.health, Era.MODERN) is Meanwhile.FORWARD:
            return upstream
        return await self._next()

    async def _next(self) -> Upstream | None:
        if self._bound is None:
            return self._placing.by_hash(self._pool, self._key(), without=self._tried)
        chosen = self._placing.instead(self._pool, self._key(), without={*self._tried, self._bound})
        return None if chosen is None else await self._rebind(self._bound, chosen)

    async def _rebind(self, was: str, chosen: Upstream) -> Upstream:
        """Move the session; where another worker has moved it already, that holds."""
        session, runtime = self._passage.session, self._passage.engine.runtime
        assert session is not None, "it is bound"  # noqa: S101
        key = session.record.key
        try:
            standing = await runtime.store.rebind(key, pool=self._pool, was=was, to=chosen.name, now=runtime.now())
        except (StoreUnavailable, SessionNotFound) as error:
            log.warning("session %s: not moved from %s to %s: %s", session.ref, was, chosen.name, error)
            return chosen
        self._bound = standing
        log.info("session %s: moved from %s to %s", session.ref, was, standing)
        found = None if standing is None or standing in self._tried else self._placing.fleet.find(self._pool, standing)
        return found or chosen

    def _key(self) -> bytes:
        """What the choice hangs on: a session that is bound, else the owner and the client."""
        visit, session = self._passage.entered.visit, self._passage.session
        if session is not None and not visit.is_default:
            return session.record.key.hash
        owner = b"" if visit.identity is None else visit.identity.owner
        return owner + b"\0" + visit.client.encode()
