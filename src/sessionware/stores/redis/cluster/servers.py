"""The only place that follows the answers of a cluster: moved, on the move, down, unknown script."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis

from sessionware.clock import SAMPLES, StoreClock, monotonic_ms
from sessionware.core.ids import Addresses
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.redis.address import ClusterAddress
from sessionware.stores.redis.asking import Keys
from sessionware.stores.redis.cluster.mapping import ClusterMap, connect_all
from sessionware.stores.redis.cluster.member import Member, NothingRan
from sessionware.stores.redis.cluster.topology import BUCKETS, META, read_moved
from sessionware.stores.redis.node import START_S
from sessionware.stores.redis.refusals import NOTHING_WRITTEN, says
from sessionware.stores.redis.repeating import KnownRevocations
from sessionware.stores.redis.scripts import Script
from sessionware.stores.redis.welcome import AnotherInstallation, agree_on_salt
from sessionware.stores.redis.wire import Reply, Wire

HOPS_MAX: Final = 3  # to other nodes for one call; a map that changes faster is no map
MOVING_PAUSE_S: Final = 0.01  # between attempts at a bucket that is on the move
START_PAUSE_S: Final = 0.1
TICK_S: Final = 1.0  # how often the map, the salt and the clock are looked at

log = logging.getLogger("sessionware.store")


def cluster_servers(
    address: ClusterAddress,
) -> Callable[[Keys, float, StoreClock | None, bytes | None, KnownRevocations], ClusterServers]:
    """How `Calls` makes the servers of a cluster."""

    def serve(
        keys: Keys, timeout: float, calibrated: StoreClock | None, salt: bytes | None, known: KnownRevocations
    ) -> ClusterServers:
        cluster = ClusterMap(address, keys, timeout=timeout, calibrated=calibrated, known=known)
        return ClusterServers(cluster, timeout=timeout, calibrated=calibrated, salt=salt)

    return serve


class ClusterServers:
    """All buckets on the masters of a cluster. `seen` counts the answers that sent a call elsewhere."""

    def __init__(
        self,
        cluster: ClusterMap,
        *,
        timeout: float,
        calibrated: StoreClock | None,
        salt: bytes | None,
    ) -> None:
        self.map = cluster
        self.seen: Counter[str] = Counter()
        self._address = cluster.address
        self._keys = cluster.keys
        self._timeout = timeout
        self._clock = calibrated
        self._salt = salt
        self._addresses: Addresses | None = None
        self._keeper: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return repr(self._address)

    @property
    def addresses(self) -> Addresses:
        if self._addresses is None:
            raise StoreUnavailable(f"the store {self!r} was not entered: use `async with`")
        return self._addresses

    async def start(self) -> None:
        self.map.reopen()
        give_up_at = asyncio.get_running_loop().time() + START_S
        while True:
            try:
                await self.map.look()
                await connect_all(list(self.map.members.values()), within=START_S)
                await self._agree()
                await self._calibrate(SAMPLES)
            except StoreUnavailable:
                if asyncio.get_running_loop().time() + START_PAUSE_S >= give_up_at:
                    raise
                await asyncio.sleep(START_PAUSE_S)  # noqa: TID251  # bounded by START_S
            else:
                break
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self.map.close()

    async def evaluate(self, script: Script, bucket: int, now: int, skew: int, asked: Sequence[Any]) -> Reply:
        owner = self.map.owners[bucket]
        wire = owner.open_wire if owner is not None else None
        call = ("EVALSHA", script.sha, 1, self._keys.base(bucket), now, skew, *asked)
        if wire is None:
            return await self._call(bucket, call, script.text)
        try:
            raw = await wire.call(*call)  # the usual path: nothing else is awaited
        except StoreUnavailable:
            self.map.look_soon()
            raise
        if isinstance(raw, hiredis.ReplyError):
            return await self._call(bucket, call, script.text, refusal=str(raw), by=owner)
        return raw

    async def on(self, place: int, *command: Any) -> Reply:
        """One plain command about a key of a bucket, or of META, whoever serves it."""
        return await self._call(place, command)

    async def each(self, commands: Sequence[tuple[int, tuple[Any, ...]]]) -> list[Reply]:
        """Many plain commands at once, each about a key of a place: all for one node leave in one write."""
        futures = []
        for place, command in commands:
            owner = self.map.owners[place]
            wire = owner.open_wire if owner is not None else None
            futures.append(wire.call(*command) if wire is not None else asyncio.ensure_future(self.on(place, *command)))
        replies = await asyncio.gather(*futures, return_exceptions=True)
        for number, ((place, command), reply) in enumerate(zip(commands, replies, strict=True)):
            if isinstance(reply, hiredis.ReplyError):
                replies[number] = await self._call(place, command, refusal=str(reply), by=self.map.owners[place])
            elif isinstance(reply, BaseException):
                self.map.look_soon()
                raise reply
        return replies

    async def command(self, *command: Any) -> Reply:
        """PING asks every master, and an owner of every bucket must be known; anything else goes to one of them."""
        if command != ("PING",):
            return await self._call(0, command)
        missing = [bucket for bucket in range(BUCKETS) if self.map.owners[bucket] is None]
        if missing:
            raise StoreUnavailable(self.map.estranged or f"no node of {self!r} serves {len(missing)} of 256 buckets")
        owners = dict.fromkeys([owner for owner in self.map.owners if owner is not None])
        replies = await asyncio.gather(*[self._ping(owner) for owner in owners])
        return replies[0]

    def believe(self, store_now: int) -> None:
        if self._clock is not None:
            at = monotonic_ms()
            self._clock.calibrate([(at, store_now, at)])

    async def wire_of(self, bucket: int) -> Wire:
        return await (await self._reach(bucket)).wire()

    async def listen(self, on_push: Callable[[Reply], None]) -> Wire:
        return await (await self._reach(0)).open(on_push)

    async def _call(
        self, place: int, call: tuple[Any, ...], text: str = "", *, refusal: str | None = None, by: Member | None = None
    ) -> Reply:
        """Ask who serves the place, and follow what is answered instead (`refusal`, `by` a node that was asked)."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._insist(place, call, text, refusal=refusal, by=by)
        except TimeoutError:
            self.map.look_soon()
            raise StoreUnavailable(f"{self!r} did not answer within {self._timeout * 1000:.0f} ms") from None
        except StoreUnavailable:
            self.map.look_soon()
            raise

    async def _insist(
        self, place: int, call: tuple[Any, ...], text: str, *, refusal: str | None, by: Member | None
    ) -> Reply:
        # A little before the deadline: who waits for a move must be told that nothing ran.
        give_up_at = asyncio.get_running_loop().time() + self._timeout * 0.9
        hops = 0
        while True:
            if refusal is not None and by is not None:
                word = refusal.partition(" ")[0]
                self.seen[word] += 1
                if word == "NOSCRIPT":
                    call = ("EVAL", text, *call[2:])
                elif word in {"ASK", "TRYAGAIN"}:
                    await self._wait_for_the_move(place, give_up_at)
                else:
                    hops += 1
                    await self._heed(word, refusal, by, hops)
            by = await self._reach(place)
            raw = await (by.open_wire or await by.wire()).call(*call)
            if not isinstance(raw, hiredis.ReplyError):
                return raw
            refusal = str(raw)

    async def _wait_for_the_move(self, place: int, give_up_at: float) -> None:
        """A bucket on the move is half here and half there: a script would find half of it. So nobody is asked now.

        The old node answers ASK to every script until the move is complete, because a bucket's declared key is
        never there; then it answers MOVED.
        """
        if asyncio.get_running_loop().time() + MOVING_PAUSE_S >= give_up_at:
            raise NothingRan(f"bucket {place:02x} of {self!r} is being moved from one node to another: try again")
        await asyncio.sleep(MOVING_PAUSE_S)  # noqa: TID251  # bounded by the call's deadline

    async def _heed(self, word: str, refusal: str, by: Member, hops: int) -> None:
        """Go where a refusal that proves that nothing ran points to; any other one is the answer."""
        if word == "MOVED" and hops <= HOPS_MAX:
            try:
                await self.map.learn(*read_moved(refusal, asked=by.place))
            except (ValueError, StoreUnavailable) as error:
                raise NothingRan(f"Redis at {by!r} said {refusal[:100]!r}: {error}") from error
            self.map.look_soon()
        elif word == "READONLY" and hops <= 1:
            await self.map.look()
        elif word in {"MOVED", "CLUSTERDOWN", "LOADING", "MASTERDOWN"} or says(refusal, *NOTHING_WRITTEN):
            raise NothingRan(f"Redis at {by!r} refused: {refusal}")
        else:
            raise StoreUnavailable(f"Redis at {by!r} refused: {refusal}")

    async def _reach(self, place: int) -> Member:
        """A connected owner of the place. Raises NothingRan."""
        for is_last in (False, True):
            owner = self.map.owners[place]
            try:
                return await self._connected(owner, place)
            except NothingRan:
                if is_last:
                    raise
                await self._look_again()
                if self.map.owners[place] in {owner, None}:
                    raise
        raise AssertionError("the second attempt answers or raises")

    async def _connected(self, owner: Member | None, place: int) -> Member:
        if owner is None:
            what = f"bucket {place:02x}" if place < BUCKETS else "the key of the salt"
            raise NothingRan(self.map.estranged or self.map.untold or f"no node of {self!r} serves {what}")
        try:
            await owner.wire()
        except ConfigError as error:
            if self._addresses is None:
                raise
            raise NothingRan(str(error)) from error  # the cluster has served us before: not the moment to give up
        return owner

    async def _look_again(self) -> None:
        with contextlib.suppress(StoreUnavailable, ConfigError, TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self.map.look()

    async def _ping(self, member: Member) -> Reply:
        raw = await (await member.wire()).call("PING")
        if isinstance(raw, hiredis.ReplyError):
            raise StoreUnavailable(f"Redis at {member!r} refused PING: {raw}")
        return raw

    async def _keep(self) -> None:
        """Every second: the map, connections before they are needed, the salt, the clock."""
        while True:
            await asyncio.sleep(TICK_S)  # noqa: TID251  # a loop with nothing to wait for but time
            with contextlib.suppress(StoreUnavailable, ConfigError):
                await self.map.look()
            try:
                await connect_all(list(self.map.members.values()), within=TICK_S)
                await self._check_salt()
                if self._clock is not None and self._clock.wants_calibration():
                    await self._calibrate(1)
            except (StoreUnavailable, ConfigError) as error:
                log.debug("the cluster %r: %s", self, error)

    async def _calibrate(self, samples: int) -> None:
        await (await self._reach(META)).calibrate(samples)

    async def _check_salt(self) -> None:
        """A failover may lose the salt, and FLUSHALL does: the next worker would found an installation."""
        salt = await self.on(META, "HGET", f"{self._address.prefix}meta", "salt")
        if salt == self.addresses.salt:
            return
        try:
            await self._agree()
        except AnotherInstallation as error:
            log.error("%s", error)  # noqa: TRY400  # no traceback: it is said once and it is all that is to say
            self.map.estrange(str(error))
            raise
        self.map.connect_anew("the installation's salt was gone from the cluster: connecting anew")

    async def _agree(self) -> None:
        owner = await self._reach(META)
        self._addresses = await agree_on_salt(
            await owner.wire(), owner.address, buckets=BUCKETS, known=self._addresses, salt=self._salt
        )
