"""The only place that keeps all pools at work, and finds out what has become of their upstreams: probes and DNS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

from sessionware.proxy.addresses import UpstreamAddress
from sessionware.proxy.health import PROBE_EVERY_MS, Life
from sessionware.proxy.members import Members
from sessionware.proxy.standing import Upstream
from sessionware.proxy.upstreams import Pool

PROBE_WITHIN_S: Final = 1.0  # a probe that takes longer is a silent one
RESOLVE_EVERY_S: Final = 5.0  # resolvers keep answers themselves; a new pod gets sessions this late at most
RESOLVE_WITHIN_S: Final = 3.0
log: Final = logging.getLogger("sessionware")

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Every address of a name. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(each[4][0]) for each in found})


class Fleet:
    """The upstreams of all pools. `begin` needs a running event loop; `resolve` asks DNS, each `every_s` seconds."""

    def __init__(self, pools: Iterable[Pool], *, resolve: Resolve = resolve, every_s: float = RESOLVE_EVERY_S) -> None:
        self.pools = {pool.name: Members(pool) for pool in pools}
        self._resolve = resolve
        self._every_s = every_s
        self._loops: list[asyncio.Task[None]] = []
        self._lives: dict[Upstream, Life] = {}
        self._failing: set[str] = set()  # names whose lookup failed last time

    def __iter__(self) -> Iterator[Upstream]:
        for members in self.pools.values():
            yield from members

    def each(self) -> Iterator[tuple[str, Upstream]]:
        """All of them, with the names of their pools."""
        for pool, members in self.pools.items():
            for upstream in members:
                yield pool, upstream

    def find(self, pool: str, name: str) -> Upstream | None:
        """One by its name; None: it is not configured any more."""
        members = self.pools.get(pool)
        return None if members is None else members.find(name)

    async def begin(self) -> None:
        """Resolve all names once, and look after everybody from now on. Does nothing when it has begun."""
        if self._loops:
            return
        loop = asyncio.get_running_loop()
        self._loops = [loop.create_task(self._probe_all(), name="sessionware-probes")]
        named = [(members, address) for members in self.pools.values() for address in members.names]
        if named:
            await asyncio.gather(*[self._look_up(members, address) for members, address in named])
            self._loops.append(loop.create_task(self._look_up_all(named), name="sessionware-names"))

    async def aclose(self) -> None:
        """Stop, and close every connection."""
        doomed, self._loops = self._loops, []
        for each in doomed:
            each.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        for upstream in self:
            await upstream.wire.aclose()

    # -------------------------------------------------------------- probes

    async def _probe_all(self) -> None:
        """Ask everybody each second who has not been heard of since."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            quiet = [each for each in self if began - each.heard_at >= PROBE_EVERY_MS / 1000]
            await asyncio.gather(*[each.probe(PROBE_WITHIN_S) for each in quiet])
            self._tell_changes()
            await pause(PROBE_EVERY_MS / 1000 - (loop.time() - began))

    def _tell_changes(self) -> None:
        """Say in the log who came and who went, once each time."""
        lives = {each: each.health.life for each in self}
        for upstream, life in lives.items():
            before = self._lives.get(upstream, Life.UP)
            if life is Life.DEAD and before is not Life.DEAD:
                log.warning("upstream %s is dead: it takes no connections", upstream.name)
            elif life is Life.UP and before is Life.DEAD:
                log.info("upstream %s is back", upstream.name)
        self._lives = lives

    # -------------------------------------------------------------- names

    async def _look_up_all(self, named: list[tuple[Members, UpstreamAddress]]) -> None:
        while True:
            await pause(self._every_s)
            await asyncio.gather(*[self._look_up(members, address) for members, address in named])

    async def _look_up(self, members: Members, address: UpstreamAddress) -> None:
        """Ask for one name; while DNS does not answer, all stays as it is."""
        try:
            async with asyncio.timeout(RESOLVE_WITHIN_S):
                ips = await self._resolve(address.host, address.port)
        except (OSError, TimeoutError) as error:
            if address.host not in self._failing:
                self._failing.add(address.host)
                log.warning("upstream %s cannot be resolved: %s", address.host, error or "no answer from DNS")
            return
        self._failing.discard(address.host)
        for gone in members.told(address, ips, now=asyncio.get_running_loop().time()):
            await gone.wire.aclose()


async def pause(seconds: float) -> None:
    """Wait; not at all long where it is late already."""
    if seconds <= 0:
        seconds = 0.01  # a round that took its whole second still lets others work
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
