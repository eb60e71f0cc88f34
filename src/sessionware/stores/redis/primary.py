"""Scripts on the primary of a group that Sentinel watches: whoever that is now."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis

from sessionware.clock import StoreClock
from sessionware.core.ids import Addresses
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.redis.address import RedisAddress, SentinelAddress
from sessionware.stores.redis.asking import Keys
from sessionware.stores.redis.confirming import Confirmation
from sessionware.stores.redis.node import Node
from sessionware.stores.redis.refusals import says
from sessionware.stores.redis.repeating import KnownRevocations
from sessionware.stores.redis.scripts import Script
from sessionware.stores.redis.sentinels import Sentinels, Told
from sessionware.stores.redis.wire import Reply, Wire

LOOK_EVERY_S: Final = 0.5  # how soon a primary is left that was replaced but still accepts our connection
BACKOFF_S: Final = (0.05, 0.1, 0.2)  # a failover takes a second or two: not much of it may be slept through
_NOT_LEADING: Final = ("READONLY", "MASTERDOWN", "LOADING")  # none of these has written anything


def primary(
    address: SentinelAddress,
) -> Callable[[Keys, float, StoreClock | None, bytes | None, KnownRevocations], Primary]:
    """How `Calls` makes the servers of a group that Sentinel watches."""

    def serve(
        keys: Keys, timeout: float, calibrated: StoreClock | None, salt: bytes | None, known: KnownRevocations
    ) -> Primary:
        sentinels = Sentinels(address)
        return Primary(sentinels, keys, timeout=timeout, calibrated=calibrated, salt=salt, known=known)

    return serve


class Primary:
    """All buckets on one server, which is another one after a failover."""

    def __init__(  # noqa: PLR0913  # what a store is opened with, whatever serves it
        self,
        sentinels: Sentinels,
        keys: Keys,
        *,
        timeout: float,
        calibrated: StoreClock | None,
        salt: bytes | None,
        known: KnownRevocations,
    ) -> None:
        address = sentinels.address
        self._sentinels = sentinels
        self._keys = keys
        self._timeout = timeout
        self._told: Told | None = None
        self._node = Node(
            address.data, timeout=timeout, calibrated=calibrated, salt=salt,
            find=self._find, known_as=sentinels, greet=known.repeat, backoff=BACKOFF_S,
        )  # fmt: skip
        self.confirmation = Confirmation(
            self._node.open, replicas=address.wait_replicas, mark=f"{address.prefix}confirmed"
        )
        self._looking: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return repr(self._sentinels.address)

    @property
    def addresses(self) -> Addresses:
        if self._node.addresses is None:
            raise StoreUnavailable(f"the store {self!r} was not entered: use `async with`")
        return self._node.addresses

    async def start(self) -> None:
        await self._node.start()
        self._looking = asyncio.get_running_loop().create_task(self._keep_looking())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.confirmation.close()
        await self._node.close()
        await self._sentinels.close()

    async def evaluate(self, script: Script, bucket: int, now: int, skew: int, asked: Sequence[Any]) -> Reply:
        wire, base = self._node.open_wire or await self._node.wire(), self._keys.base(bucket)
        raw = await wire.call("EVALSHA", script.sha, 1, base, now, skew, *asked)
        if isinstance(raw, hiredis.ReplyError):
            raw = await self._second_try(raw, wire, script, [1, base, now, skew, *asked])
        if script.is_lasting and raw:
            await self._confirm()
        return raw

    async def _confirm(self) -> None:
        """What another primary confirms says nothing of what this one wrote."""
        wrote_on = self._node.open_wire
        await self.confirmation.confirm()
        if wrote_on is None or self._node.open_wire is not wrote_on:
            self.confirmation.warn("the primary was lost meanwhile")

    async def command(self, *command: Any) -> Reply:
        wire = self._node.open_wire or await self._node.wire()
        raw = await wire.call(*command)
        if isinstance(raw, hiredis.ReplyError):
            raise self._refused(wire, raw)
        return raw

    def believe(self, store_now: int) -> None:
        self._node.calibrate_with(store_now)

    async def wire_of(self, bucket: int) -> Wire:  # noqa: ARG002  # here all buckets are the same
        return await self._node.wire()

    async def listen(self, on_push: Callable[[Reply], None]) -> Wire:
        return await self._node.open(on_push)

    async def _second_try(self, raw: hiredis.ReplyError, wire: Wire, script: Script, asked: Sequence[Any]) -> Reply:
        """NOSCRIPT and READONLY prove that nothing has run: each is answered once, within the deadline."""
        try:
            async with asyncio.timeout(self._timeout):
                if says(raw, "READONLY"):
                    self._leave(wire, raw)
                    wire = await self._node.wire()
                    raw = await wire.call("EVALSHA", script.sha, *asked)
                if isinstance(raw, hiredis.ReplyError) and says(raw, "NOSCRIPT"):
                    raw = await wire.call("EVAL", script.text, *asked)
        except TimeoutError:  # of the second try, which may have run: the first refusal says nothing of its server
            raise StoreUnavailable(f"{self!r} did not answer within {self._timeout * 1000:.0f} ms") from None
        if isinstance(raw, hiredis.ReplyError):
            raise self._refused(wire, raw)
        return raw

    def _refused(self, wire: Wire, raw: hiredis.ReplyError) -> StoreUnavailable:
        if says(raw, *_NOT_LEADING):
            self._leave(wire, raw)
        return StoreUnavailable(f"Redis at {self._node.address!r} refused: {raw}")

    def _leave(self, wire: Wire, raw: hiredis.ReplyError) -> None:
        """Once per connection: many calls may be refused on it."""
        if wire is self._node.open_wire:
            self._node.leave(f"{self._node.address!r} is no primary now ({raw})")

    async def _find(self) -> RedisAddress:
        told = await self._sentinels.find()
        if self._told is None or told.epoch >= self._told.epoch or self._node.open_wire is None:
            self._told = told
        return self._told.primary  # an older election moves nobody away from a primary that serves

    async def _keep_looking(self) -> None:
        """Leave a primary that was replaced: one that was cut off with us goes on answering, or hangs."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await asyncio.Event().wait()
            with contextlib.suppress(StoreUnavailable, ConfigError):
                told = await self._sentinels.find()
                if self._told is not None and told.primary != self._told.primary and told.epoch >= self._told.epoch:
                    self._node.leave(f"the primary is {told.primary!r} now")
                    await self._node.wire()
