"""The only place that subscribes: what other workers did, on a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

import hiredis

from sessionware.core.facts import Event, OrgLimitsNow, Revoked
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.broadcast import Broadcast, Watch
from sessionware.stores.codec import unpack_overrides
from sessionware.stores.redis import answers
from sessionware.stores.redis.asking import Keys
from sessionware.stores.redis.plain import ask, hang_up
from sessionware.stores.redis.repeating import KnownRevocations
from sessionware.stores.redis.servers import Servers
from sessionware.stores.redis.wire import Reply

RETRY_S: Final = 0.5  # between attempts to subscribe again: within the second that an event may take
PULSE_S: Final = 5.0  # a subscription that is silent is asked this often whether it still stands

log = logging.getLogger("sessionware.store")


class Subscription:
    """One subscription per store object, made when somebody first watches, remade when it breaks."""

    def __init__(self, servers: Servers, keys: Keys, known: KnownRevocations) -> None:
        self._servers = servers
        self._keys = keys
        self._known = known
        self._orgs: dict[bytes, OrgLimitsNow] = {}
        self._broadcast = Broadcast(lambda: tuple(self._orgs.values()))
        self._task: asyncio.Task[None] | None = None
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
        while True:
            with contextlib.suppress(StoreUnavailable, ConfigError):
                await self._listen()
            await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        """Subscribe, tell the watchers what they may have missed, and stay until the connection breaks."""
        wire = await self._servers.listen(self._hear)
        try:
            await ask(wire, "SUBSCRIBE", self._keys.events)
            await self._read_orgs()
            self._connected = True
            self._broadcast.resync()
            while not await wire.is_lost_within(PULSE_S):
                await ask(wire, "PING")
        finally:
            self._connected = False
            await hang_up(wire)

    async def _read_orgs(self) -> None:
        wire = await self._servers.wire_of(0)
        self._orgs = {}  # what is heard from here on is as new as what is read, or newer
        flat = await ask(wire, "HGETALL", f"{self._keys.base(0)}w")
        for name, limits in zip(flat[::2], flat[1::2], strict=True):
            try:
                org = bytes.fromhex(name.decode())
                self._orgs.setdefault(org, OrgLimitsNow(org, unpack_overrides(limits)))
            except answers.DAMAGED:
                self._warn("the overrides of an organisation cannot be read")

    def _hear(self, reply: Reply) -> None:
        if isinstance(reply, hiredis.ReplyError) or not isinstance(reply, list) or reply[0] != b"message":
            return
        try:
            event: Event | None = answers.event(reply[2])
        except answers.DAMAGED:
            self._warn("a message cannot be read")
            return
        if isinstance(event, OrgLimitsNow):
            self._orgs[event.org] = event
        if isinstance(event, Revoked):
            self._known.note(event.revocation)
        if event is not None:
            self._broadcast.publish(event)

    def _warn(self, what: str) -> None:
        """Once per store: whoever writes nonsense may write a lot of it."""
        if not self._warned:
            self._warned = True
            log.warning("%s: %s and is ignored: does something else write there?", self._keys.events, what)
