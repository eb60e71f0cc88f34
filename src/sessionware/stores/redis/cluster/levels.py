"""The only place that counts, on a cluster, how many sessions live under a level (MAX_SESSIONS and the like).

A level is a set in a bucket of its own. Each session that holds it is a member by a random name, its hold, which its
record knows: so taking and giving back can be repeated, and a member whose session was never made, or whose worker
died before it gave back, is found out when the level is full and it is looked after.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import VICTIMS_MAX, Level, NewSession
from sessionware.core.session import Ended
from sessionware.errors import StoreUnavailable
from sessionware.stores.redis import answers
from sessionware.stores.redis.asking import HEX, Argument
from sessionware.stores.redis.calls import Calls
from sessionware.stores.redis.cluster.placing import bucket_of
from sessionware.stores.redis.cluster.servers import ClusterServers
from sessionware.stores.sealing import Sealer

LOOK_AFTER_MS: Final = 60_000  # a new member may be looked after: by now its session has been made, or never will be
LOOK_AGAIN_MS: Final = 86_400_000  # and one whose session never expires, this often
MORE_THAN_GO: Final = 1000  # holders of a level that one making never pushes out
_TAKE: Final = 1

log = logging.getLogger("sessionware.store")


class Held(Struct, frozen=True):
    """What one level answered: whether the place was taken, how many holders must go beside, who must be looked after.

    A level is taken beyond its allowance when the session may push out others of its owner that hold it, too.
    """

    level: Level
    member: str
    is_taken: bool
    excess: int
    due: tuple[bytes, ...]


class Levels:
    """Takes and gives back the levels of sessions."""

    def __init__(self, calls: Calls[ClusterServers], sealer: Sealer) -> None:
        self._calls = calls
        self._sealer = sealer

    async def take(self, new: NewSession, *, now: int) -> tuple[str, list[Held]]:
        """Take a place in every level of a session that may be made, before it is: the hold, and what they said."""
        session, hold = new.session, secrets.token_hex(8)
        member = f"{hold}{HEX[session.key.bucket]}"
        # An anonymous session pushes nobody out; any other one its owner's oldest, and the last of its own name.
        slack = VICTIMS_MAX + 1 if new.caps.per_owner or session.birth.name is not None else 0
        due_at = min(session.expires_at, now + LOOK_AFTER_MS)

        async def one(level: Level) -> Held:
            asked: list[Argument] = ["", "", _TAKE, "", 0, 0, 0, 1, level.key.hex(), level.allowance, slack, member]
            raw = await self._calls.run("wide", bucket_of(level), now, [*asked, due_at])
            is_taken = raw[1] == 1
            excess = max(raw[6] - level.allowance + 1, 0) if is_taken else MORE_THAN_GO
            return Held(level, member, is_taken, excess, tuple(raw[7]))

        asking = await asyncio.gather(*[one(level) for level in new.caps.levels], return_exceptions=True)
        answered = [each for each in asking if isinstance(each, Held)]
        for each in asking:
            if isinstance(each, BaseException):
                await self.give_back(answered)
                raise each
        return hold, answered

    async def make_room(self, full: str, held: Sequence[Held], *, now: int) -> list[Ended] | None:
        """End the expired that hold a full level, strike out who holds it for nobody. None when that frees no place."""
        ended: list[Ended] = []
        is_freed = False
        for each in held:
            if each.level.name == full and each.due:
                with contextlib.suppress(StoreUnavailable):  # who cannot be looked after now keeps the place
                    is_freed |= await self._look_after(each.level, each.due, ended, now)
        return ended if is_freed else None

    async def give_back(self, held: Sequence[Held]) -> None:
        """The session was not made after all."""
        await asyncio.gather(*[self._remove(each.level.key, each.member) for each in held if each.is_taken])

    async def release(self, ends: Sequence[Ended]) -> None:
        """Sessions have ended: their places are free. Doing it again changes nothing."""
        places = []
        for ended in ends:
            hold, birth = ended.receipt.partition("-")[2], ended.session.birth
            if hold:
                places += [(level, f"{hold}{HEX[birth.key.bucket]}") for level in birth.holds]
        if places:
            await asyncio.gather(*[self._remove(level, member) for level, member in places])

    async def _look_after(self, level: Level, members: Sequence[bytes], ended: list[Ended], now: int) -> bool:
        """Whether one of the members gave up its place; who ended by that is added to `ended`."""
        found = await asyncio.gather(*[self._fate_of(member.decode(), now) for member in members])
        bucket = bucket_of(level)
        key, gone = f"{self._calls.keys.base(bucket)}v:{level.key.hex()}", []
        later: list[Argument] = []
        for member, (fate, what) in zip(members, found, strict=True):
            if fate == b"lives":
                later += (min(what, now + LOOK_AGAIN_MS), member)
                continue
            gone.append(member)
            ended += what if fate == b"ended" else ()
        if later:
            await self._calls.servers.on(bucket, "ZADD", key, "XX", *later)
        if gone:
            await self._calls.servers.on(bucket, "ZREM", key, *gone)
        await self.release(ended)
        return bool(gone)

    async def _fate_of(self, member: str, now: int) -> tuple[bytes, Any]:
        hold, bucket = member[:-2], int(member[-2:], 16)
        raw = await self._calls.run("holder", bucket, now, [hold])
        if raw[0] == b"ended":
            return raw[0], answers.ends([raw[1]], bucket, self._sealer)
        return raw[0], raw[1] if len(raw) > 1 else 0

    async def _remove(self, level: bytes, member: str) -> None:
        bucket = level[0]
        key = f"{self._calls.keys.base(bucket)}v:{level.hex()}"
        try:
            await self._calls.servers.on(bucket, "ZREM", key, member)
        except StoreUnavailable as error:
            log.info("a place in a level is given back later, when it is full: %s", error)


def within(new: NewSession, held: Sequence[Held]) -> NewSession:
    """The session with levels as making.lua reads them on a cluster: allowances count from the excess down.

    There the level itself lies elsewhere and counts nothing; so many of those that go must hold it.
    """
    levels = tuple([replace(each.level, allowance=1 - each.excess) for each in held])
    return replace(new, caps=replace(new.caps, levels=levels))
