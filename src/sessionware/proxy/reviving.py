"""The only place that begins a lost legacy session anew elsewhere: ON_UPSTREAM_LOST=reinitialize.

What its upstream remembered is lost all the same; its client only need not shake hands again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from sessionware.asgi.passage import Passage
from sessionware.core.session import Link
from sessionware.errors import PayloadUnreadable, SessionNotFound, StoreUnavailable
from sessionware.proxy.answer_headers import upstream_session_id
from sessionware.proxy.closing import TALKING, tell_upstream
from sessionware.proxy.delivering import Delivery
from sessionware.proxy.hop_by_hop import Header
from sessionware.proxy.placing import Placing
from sessionware.proxy.standing import Upstream
from sessionware.proxy.wire import Deadlines, Response, UpstreamRequest

HANDSHAKE_MAX: Final = 16 << 10  # bytes of an `initialize` that are kept; a longer one is not replayed
WELCOME_MAX: Final = 256 << 10  # bytes of an answer to it that are read
REVIVED: Final = (b"x-sessionware-reinitialized", b"1")
_INITIALIZED: Final = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
# What the request that found the session lost says of itself, and of a version that is not agreed on yet.
_OF_REQUEST: Final = frozenset({b"content-type", b"content-encoding", b"accept", b"last-event-id"})
_VERSION: Final = b"mcp-protocol-version"
log: Final = logging.getLogger("sessionware")


class Reviving:
    """One request whose legacy session is lost. `headers` are its own, for an upstream and that one's session id."""

    def __init__(
        self,
        placing: Placing,
        passage: Passage,
        headers: Callable[[Upstream, str | None], list[Header]],
        *,
        deadlines: Deadlines,
        max_links: int,
    ) -> None:
        self._placing = placing
        self._passage = passage
        self._headers = headers
        self._deadlines = deadlines
        self._max_links = max_links

    async def run(self, lost: Link) -> Link | None:
        """The session as it stands now; None where it cannot be begun anew.

        Of many requests of this worker that find it lost, one begins it and the others wait. Raises StoreUnavailable,
        and WireFault where no upstream answers.
        """
        locks = self._passage.engine.runtime.locks
        lock = locks.get(lost.key)
        if lock is None:
            lock = locks[lost.key] = asyncio.Lock()
        async with lock:
            standing = await self._standing(lost)
            if standing is None or not standing.handshake:
                return None
            if (standing.upstream, standing.upstream_id) != (lost.upstream, lost.upstream_id):
                return standing  # somebody else was quicker
            return await self._begin(standing)

    async def _standing(self, lost: Link) -> Link | None:
        """The link with its handshake, as the store has it."""
        runtime = self._passage.engine.runtime
        try:
            session = await runtime.store.get(lost.session, now=runtime.now())
        except PayloadUnreadable as error:
            log.warning("a session cannot be begun anew: %s", error)
            return None
        links = () if session is None else session.links
        return next((link for link in links if link.key == lost.key), None)

    async def _begin(self, lost: Link) -> Link | None:
        def hello(upstream: Upstream) -> UpstreamRequest:
            headers = [pair for pair in self._talk(upstream, None) if pair[0] != _VERSION]
            return UpstreamRequest("POST", upstream.address.path.encode(), headers, lost.handshake)

        delivery = Delivery(self._placing, self._passage, pool=lost.pool, request=hello, deadlines=self._deadlines)
        upstream, response = await delivery.run()
        try:
            named = upstream_session_id(response.headers)
            is_welcome = await _is_welcome(response, within=self._deadlines.head)
        finally:
            await upstream.finish(response)
        if named is None or not is_welcome:
            log.warning("upstream %s: does not begin a lost session anew", upstream.name)
            return None
        return await self._keep(lost, upstream, named)

    async def _keep(self, lost: Link, upstream: Upstream, named: bytes) -> Link:
        """Finish the handshake, and let the store know before anything else is sent there."""
        headers = self._talk(upstream, named.decode("ascii"))
        done = UpstreamRequest("POST", upstream.address.path.encode(), headers, _INITIALIZED)
        await upstream.finish(await upstream.exchange(done, self._deadlines))
        runtime = self._passage.engine.runtime
        now = runtime.now()
        link = replace(lost, upstream=upstream.name, upstream_id=named.decode("ascii"), seen_at=now)
        try:
            linked = await runtime.store.link(link, operation=runtime.operation(), now=now, at_most=self._max_links)
        except (StoreUnavailable, SessionNotFound):
            await tell_upstream(upstream, UpstreamRequest("DELETE", upstream.address.path.encode(), headers))
            raise
        runtime.unlinked(linked.unlinked)
        session = self._passage.session
        if session is not None:
            runtime.telemetry.reinitialized(session.record, lost.pool, upstream.name)
        return link

    def _talk(self, upstream: Upstream, session_id: str | None) -> list[Header]:
        own = self._headers(upstream, session_id)
        return [*[pair for pair in own if pair[0] not in _OF_REQUEST], *TALKING]


async def _is_welcome(response: Response, *, within: float) -> bool:
    """Whether an answer to `initialize` holds a result: as JSON, or as an event, told within so many seconds."""
    if not 200 <= response.status < 300:  # noqa: PLR2004  # HTTP's own classes
        return False
    body = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):  # a stream that only pings never ends by itself
            async for part in response:
                body += part
                if any(_holds_result(text) for text in (body, *body.splitlines())):
                    return True
                if len(body) > WELCOME_MAX:
                    break
    return False


def _holds_result(text: bytes) -> bool:
    try:
        told: Any = msgspec.json.decode(text.removeprefix(b"data:"))
    except msgspec.DecodeError:
        return False
    return isinstance(told, dict) and "result" in told
