"""The only place that keeps the map of a cluster: which node serves which bucket, learnt anew whenever it changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Final

from sessionware.clock import StoreClock
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.redis.address import ClusterAddress
from sessionware.stores.redis.asking import Keys
from sessionware.stores.redis.cluster.member import Member, NothingRan
from sessionware.stores.redis.cluster.topology import BUCKETS, Layout, Place, read_slots, slot_of
from sessionware.stores.redis.connecting import silent_for
from sessionware.stores.redis.plain import ask, hang_up
from sessionware.stores.redis.repeating import KnownRevocations
from sessionware.stores.redis.wire import Wire

LOOK_PAUSE_S: Final = 0.1  # the map is not asked for more often than this, however many calls miss
SEED_S: Final = 1.0  # how long one node may take to tell the map
LEAVE_FACTOR: Final = 2  # a node that left is closed after so many deadlines: calls may still wait for it

log = logging.getLogger("sessionware.store")


class ClusterMap:
    """The nodes by their places, and the owner of each bucket (and of META)."""

    def __init__(
        self,
        address: ClusterAddress,
        keys: Keys,
        *,
        timeout: float,
        calibrated: StoreClock | None,
        known: KnownRevocations | None = None,
    ) -> None:
        self.owners: list[Member | None] = [None] * (BUCKETS + 1)
        self.members: dict[Place, Member] = {}
        self.changed = asyncio.Event()  # set when a node came, left or got other buckets; the watcher clears it
        self.estranged = ""  # why this cluster is not ours any more, if it is not
        self.untold = ""  # why nobody told the map when it was last asked for, if nobody did
        self.address = address
        self.keys = keys
        self._timeout = timeout
        self._clock = calibrated
        self._known = known
        self._slots = [slot_of(keys.base(bucket)) for bucket in range(BUCKETS)] + [slot_of(f"{address.prefix}meta")]
        self._layout = Layout((), frozenset(), frozenset())
        self._look: asyncio.Task[None] | None = None
        self._looked_at = 0.0
        self._turn = 0
        self._leaving: dict[Member, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def look_soon(self) -> asyncio.Task[None] | None:
        """Ask for the map without waiting for it; None when it has just been asked for."""
        loop = asyncio.get_running_loop()
        if self._look is None and not self._closed and loop.time() - self._looked_at >= LOOK_PAUSE_S:
            self._look = loop.create_task(self._ask_around())
            self._look.add_done_callback(self._has_looked)
        return self._look

    async def look(self) -> None:
        """Ask for the map and wait until it is there. Raises NothingRan when nobody tells it, or ConfigError."""
        look = self.look_soon()
        if look is None:
            return
        await asyncio.wait([look])  # who is cancelled leaves it be
        if look.cancelled():
            raise NothingRan(f"the store {self.address!r} is closed")
        look.result()

    async def learn(self, slot: int, place: Place) -> None:
        """Believe a MOVED at once; the whole map follows. Raises StoreUnavailable when that node cannot be told."""
        if self.estranged or self._closed:
            return
        member = self._member(place)
        places = enumerate(self._slots)
        gained = [number for number, each in places if each == slot and self.owners[number] is not member]
        await self._say_again(member, gained)
        if self.estranged or self._closed:
            return
        for number in gained:
            self.owners[number] = member
            self.changed.set()

    def estrange(self, why: str) -> None:
        """From now on nothing is asked of this cluster: it holds another installation."""
        self.estranged = why
        self.owners[:] = [None] * len(self.owners)
        self.changed.set()

    def connect_anew(self, why: str) -> None:
        """Drop every connection: each node is told what it may have lost before it is asked anything else."""
        for member in self.members.values():
            if member.open_wire is not None:
                member.open_wire.close(why)

    async def close(self) -> None:
        self._closed = True
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)
        for timer in self._leaving.values():
            timer.cancel()
        await asyncio.gather(*[member.close() for member in (*self.members.values(), *self._leaving)])
        await asyncio.gather(*self._tasks)
        self.members.clear()
        self._leaving.clear()
        self.owners[:] = [None] * len(self.owners)

    def reopen(self) -> None:
        """A start that failed may be tried again."""
        self._closed = False
        self.changed = asyncio.Event()

    def _has_looked(self, look: asyncio.Task[None]) -> None:
        self._look = None
        self._looked_at = asyncio.get_running_loop().time()
        if not look.cancelled():
            look.exception()  # whoever waited has been told

    async def _ask_around(self) -> None:
        """Ask one node after the other until one tells the map."""
        why = "there is none"
        for member in self._sources():
            try:
                async with asyncio.timeout(SEED_S):
                    layout = await self._ask(member)
            except TimeoutError:
                why = f"{member!r}: {silent_for('in time', tls=member.address.tls)}"
            except (StoreUnavailable, ValueError) as error:
                why = str(error)
            except ConfigError as error:
                if not self.members:
                    raise
                why = str(error)
            else:
                await self._adopt(layout)
                return
        self.untold = f"no node of the cluster {self.address!r} tells its map: {why}"
        raise NothingRan(self.untold)

    def _sources(self) -> Iterator[Member]:
        """Connected nodes in turn, then all others that were ever told of, then those of the URL."""
        connected = [member for member in self.members.values() if member.open_wire is not None]
        self._turn += 1
        yield from connected[self._turn % len(connected) :] if connected else ()
        yield from connected[: self._turn % len(connected)] if connected else ()
        places = [place for place, member in self.members.items() if member not in connected]
        seeds = [(seed.host, seed.port) for seed in self.address.seeds]
        for place in dict.fromkeys([*places, *self._layout.others, *seeds]):
            yield self._stranger(place)

    async def _ask(self, member: Member) -> Layout:
        wire = member.open_wire
        if wire is not None:
            return read_slots(await ask(wire, "CLUSTER", "SLOTS"), slots=self._slots, asked=member.place)
        wire = await member.open()
        try:
            reply = await ask(wire, "CLUSTER", "SLOTS")
        except StoreUnavailable as error:
            if "cluster support disabled" in str(error):
                raise ConfigError(
                    f"store {member!r} is a single server (cluster_enabled:0): write redis:// instead of "
                    "redis+cluster://"
                ) from error
            if "unknown command" in str(error):
                raise ConfigError(
                    f"store {member!r} knows no cluster ({error}): write redis+sentinel://{member.address.place}/NAME "
                    "for a Sentinel"
                ) from error
            raise
        finally:
            await hang_up(wire)
        return read_slots(reply, slots=self._slots, asked=member.place)

    async def _adopt(self, layout: Layout) -> None:
        if self.estranged or self._closed:
            return
        self.untold = ""
        owners = [place and self._member(place) for place in layout.owners]
        await self._tell_heirs(owners)
        if self.estranged:
            return
        if owners != self.owners:
            self.owners[:] = owners
            self.changed.set()
        for bucket, owner in enumerate(owners[:BUCKETS]):
            if owner is not None:
                owner.owned = self.keys.base(bucket)
        for place in [place for place in self.members if place not in layout.masters]:
            self._leave(self.members.pop(place))
        self._layout = layout

    def _member(self, place: Place) -> Member:
        member = self.members.get(place)
        if member is None:
            member = self.members[place] = self._stranger(place)
            self.changed.set()
        return member

    def _stranger(self, place: Place) -> Member:
        address = self.address.seeds[0].at(*place)
        return Member(address, timeout=self._timeout, calibrated=self._clock, greet=self._greet)

    async def _tell_heirs(self, owners: list[Member | None]) -> None:
        """Nobody serves a bucket before it was told what it may have lost: who cannot be told does not get it yet."""
        gains: dict[Member, list[int]] = {}
        for number, owner in enumerate(owners):
            if owner is not None and owner is not self.owners[number]:
                gains.setdefault(owner, []).append(number)
        for member, gained in gains.items():
            try:
                await self._say_again(member, gained)
            except StoreUnavailable as error:
                log.debug("%r is not believed to serve %d places yet: %s", member, len(gained), error)
                for number in gained:
                    owners[number] = self.owners[number]

    async def _say_again(self, member: Member, gained: list[int]) -> None:
        """Say what a node may have lost in the places that it gets while we are connected to it already."""
        wire, buckets = member.open_wire, [number for number in gained if number < BUCKETS]
        if wire is not None and buckets and self._known is not None:
            await self._known.repeat(wire, buckets)

    async def _greet(self, member: Member, wire: Wire) -> None:
        """Say again what a node may have lost that was a replica until now, or came back empty."""
        told = set[int]()
        while owned := {bucket for bucket in range(BUCKETS) if self.owners[bucket] is member} - told:
            if self._known is not None:
                await self._known.repeat(wire, owned)
            told |= owned

    def _leave(self, member: Member) -> None:
        """Close a node that serves nothing any more, when the calls that wait for it have had their time."""
        self.changed.set()

        def close() -> None:
            del self._leaving[member]
            task = asyncio.get_running_loop().create_task(member.close())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._leaving[member] = asyncio.get_running_loop().call_later(self._timeout * LEAVE_FACTOR, close)


async def connect_all(members: list[Member], *, within: float) -> None:
    """Open every connection that is not open. Raises ConfigError; who is away now is asked again later."""

    async def connect(member: Member) -> None:
        with contextlib.suppress(StoreUnavailable):
            await member.wire(within=within)

    await asyncio.gather(*[connect(member) for member in members])
