"""The only place that subscribes to a cluster: every event from the master that serves its bucket.

A message reaches all nodes over the cluster's bus, and every subscriber of each. So each master has a subscription of
its own, and an event counts where it comes from the master that serves its bucket, which is where the script that
told it ran: a broken bus loses nothing, and nothing is heard twice. When the map changes, watchers hear a Gap.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

import hiredis

from sessionware.core.facts import Event, Interrupted, OrgLimitsNow, Revoked, SessionGone
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.broadcast import Broadcast, Watch
from sessionware.stores.codec import unpack_overrides
from sessionware.stores.redis import answers
from sessionware.stores.redis.asking import Keys
from sessionware.stores.redis.cluster.mapping import ClusterMap
from sessionware.stores.redis.cluster.member import Member
from sessionware.stores.redis.cluster.servers import ClusterServers
from sessionware.stores.redis.plain import ask, hang_up
from sessionware.stores.redis.repeating import KnownRevocations
from sessionware.stores.redis.watching import PULSE_S
from sessionware.stores.redis.wire import Reply

CALM_S: Final = 0.2  # between two looks at a map that keeps changing
RETRY_S: Final = 0.2  # between attempts to subscribe again: within the second that an event may take

log = logging.getLogger("sessionware.store")


class ClusterSubscription:
    """The subscriptions of one store object, made when somebody first watches."""

    def __init__(self, servers: ClusterServers, keys: Keys, known: KnownRevocations) -> None:
        self._servers = servers
        self._map: ClusterMap = servers.map
        self._keys = keys
        self._known = known
        self._orgs: dict[bytes, OrgLimitsNow] = {}
        self._broadcast = Broadcast(lambda: tuple(self._orgs.values()))
        self._task: asyncio.Task[None] | None = None
        self._ears: dict[Member, asyncio.Task[None]] = {}
        self._subscribed: set[Member] = set()
        self._connected = False
        self._warned = False

    def watch(self) -> Watch:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep_subscribed())
        return self._broadcast.watch(connected=self._connected)

    async def close(self) -> None:
        self._broadcast.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _keep_subscribed(self) -> None:
        """One subscription for each master of the map, whatever becomes of it."""
        try:
            while True:
                self._map.changed.clear()
                owners = {owner for owner in self._map.owners if owner is not None}
                await _end([self._ears.pop(member) for member in self._ears.keys() - owners])
                for member in owners - self._ears.keys():
                    self._ears[member] = asyncio.get_running_loop().create_task(self._stay(member))
                await self._resync()
                await asyncio.sleep(CALM_S)  # noqa: TID251  # many buckets that move make one Gap
                await self._map.changed.wait()
        finally:
            await _end(list(self._ears.values()))

    async def _stay(self, member: Member) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable, ConfigError):
                await self._listen(member)
            await asyncio.sleep(RETRY_S)  # noqa: TID251  # between two attempts; the wait for events has a pulse

    async def _listen(self, member: Member) -> None:
        wire = await member.open(lambda reply: self._hear(member, reply))
        try:
            await ask(wire, "SUBSCRIBE", self._keys.events)
            self._subscribed.add(member)
            await self._resync()
            while not await wire.is_lost_within(PULSE_S):
                await ask(wire, "PING")
        finally:
            self._subscribed.discard(member)
            self._connected = False
            await hang_up(wire)
            self._map.look_soon()

    async def _resync(self) -> None:
        """When every master is listened to: tell the watchers that they may have missed something."""
        owners = {owner for owner in self._map.owners if owner is not None}
        if not owners or not owners <= self._subscribed:
            self._connected = False
            return
        with contextlib.suppress(StoreUnavailable):
            await self._read_orgs()
            self._connected = True
            self._broadcast.resync()

    async def _read_orgs(self) -> None:
        self._orgs = {}  # what is heard from here on is as new as what is read, or newer
        flat = await self._servers.on(0, "HGETALL", f"{self._keys.base(0)}w")
        for name, limits in zip(flat[::2], flat[1::2], strict=True):
            try:
                org = bytes.fromhex(name.decode())
                self._orgs.setdefault(org, OrgLimitsNow(org, unpack_overrides(limits)))
            except answers.DAMAGED:
                self._warn("the overrides of an organisation cannot be read")

    def _hear(self, member: Member, reply: Reply) -> None:
        if isinstance(reply, hiredis.ReplyError) or not isinstance(reply, list) or reply[0] != b"message":
            return
        try:
            event: Event | None = answers.event(reply[2])
        except answers.DAMAGED:
            self._warn("a message cannot be read")
            return
        if event is None or self._map.owners[_home_of(event)] is not member:
            return  # a copy that came over the bus
        if isinstance(event, OrgLimitsNow):
            self._orgs[event.org] = event
        elif isinstance(event, Revoked):
            self._known.note(event.revocation)
        self._broadcast.publish(event)

    def _warn(self, what: str) -> None:
        """Once per store: whoever writes nonsense may write a lot of it."""
        if not self._warned:
            self._warned = True
            log.warning("%s: %s and is ignored: does something else write there?", self._keys.events, what)


async def _end(ears: Sequence[asyncio.Task[None]]) -> None:
    for task in ears:
        task.cancel()
    await asyncio.gather(*ears, return_exceptions=True)


def _home_of(event: Event) -> int:
    """The bucket whose script or worker told of it."""
    match event:
        case SessionGone(key=key) | Interrupted(key=key):
            return key.bucket
        case _:
            return 0  # ClusterServers.command
