"""The only place that walks all buckets of a cluster: listing, counting, sweeping, and what is in force everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from sessionware.core.facts import TokenRevocation
from sessionware.core.ids import SessionKey
from sessionware.core.session import Ended, Session
from sessionware.core.store import PAGE_MAX, REAP_MAX, Page, Query
from sessionware.errors import StoreUnavailable
from sessionware.stores.cursor import read_cursor, write_cursor
from sessionware.stores.redis import telling
from sessionware.stores.redis.asking import HEX
from sessionware.stores.redis.calls import Calls
from sessionware.stores.redis.cluster.servers import ClusterServers
from sessionware.stores.redis.cluster.topology import BUCKETS
from sessionware.stores.redis.store import RedisStore

REVOKE_WITHIN_S: Final = (
    1.0  # for the parts that failed: long enough for a connection that broke, or a bucket that moves
)
REVOKE_PAUSE_S: Final = 0.05
AT_ONCE: Final = 64  # buckets in one step of a walk: all of them would hold up other requests for some milliseconds
_NO_WORK: Final = (0, 0, 0)
_SHARES: Final = [range(start, start + AT_ONCE) for start in range(0, BUCKETS, AT_ONCE)]


class Walking:
    """What concerns every bucket. The calls of one step go to each node in one write."""

    def __init__(self, calls: Calls[ClusterServers], narrow: RedisStore) -> None:
        self._calls = calls
        self._narrow = narrow
        self._next = 0  # the bucket where the next sweep begins, so that none is always last

    async def page(self, query: Query, *, now: int) -> Page:
        """One page over all buckets, oldest first within each: the cursor is a bucket and its own cursor."""
        first, inner = _read_place(query.cursor)
        limit = max(min(query.limit, PAGE_MAX), 0)
        if limit == 0:
            return await self._counts()
        sizes = await self._everywhere("ZCARD", "a")
        total, shown = sum(sizes), list[Session]()
        waiting = [bucket for bucket in range(first, BUCKETS) if sizes[bucket]]
        while waiting and len(shown) < limit:
            count = _enough(waiting, sizes, limit - len(shown))
            chunk, waiting = waiting[:count], waiting[count:]
            part = Query(None, 0, "", limit - len(shown))
            pages = await asyncio.gather(*[
                self._narrow.list(replace(part, bucket=each, cursor=inner if each == first else ""), now=now)
                for each in chunk
            ])  # fmt: skip
            for bucket, page in zip(chunk, pages, strict=True):
                room = limit - len(shown)
                shown += page.sessions[:room]
                if page.cursor or len(page.sessions) > room:
                    cursor = page.cursor if len(page.sessions) <= room else _behind(page.sessions[:room])
                    return Page(tuple(shown), total, f"{bucket:02x}{cursor}")
                if len(shown) == limit:
                    rest = [each for each in (*chunk, *waiting) if each > bucket]
                    return Page(tuple(shown), total, f"{rest[0]:02x}" if rest else "")
        return Page(tuple(shown), total)

    async def reap(self, *, now: int, limit: int, idle_for: int | None) -> Sequence[Ended]:
        """Sweep bucket by bucket, beginning where the last sweep ended; a look first says which have work.

        A node that is away keeps its own sessions only. Raises StoreUnavailable when that is all there is to say.
        """
        counts, error = await self._due(now)
        left, ended = min(limit, REAP_MAX), list[Ended]()
        order = [*range(self._next, BUCKETS), *range(self._next)]
        work = {bucket: ends + (due if idle_for is None else total) for bucket, (due, ends, total) in enumerate(counts)}
        waiting = [bucket for bucket in order if work[bucket]]
        while waiting and left > 0:
            shares, chunk = left, list[tuple[int, int]]()
            while waiting and shares > 0:
                share = min(work[waiting[0]], shares)
                chunk.append((waiting.pop(0), share))
                shares -= share
            swept = await asyncio.gather(*[
                self._narrow.reap_bucket(bucket, now=now, limit=share, idle_for=idle_for) for bucket, share in chunk
            ], return_exceptions=True)  # fmt: skip
            for ends in swept:
                if isinstance(ends, BaseException):
                    error = _unavailable(ends)
                    continue
                ended += ends
                left -= len(ends)
            self._next = (chunk[-1][0] + (chunk[-1][1] == work[chunk[-1][0]])) % BUCKETS
        if error is not None and not ended:
            raise error
        return ended

    async def revoke_token(self, revocation: TokenRevocation, *, now: int) -> Sequence[Ended]:
        """Refuse a token in every bucket. Raises StoreUnavailable when it is not in force everywhere."""
        self._calls.known.note(revocation)  # before it is written: a failover may come between
        missing, ended, error = list(range(BUCKETS)), list[Ended](), None
        give_up_at = asyncio.get_running_loop().time() + REVOKE_WITHIN_S
        while True:
            answers = await asyncio.gather(
                *[self._narrow.revoke_in(bucket, revocation, now=now) for bucket in missing], return_exceptions=True
            )
            for answer in answers:
                if isinstance(answer, StoreUnavailable):
                    error = answer
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    ended += answer
            missing = [each for each, answer in zip(missing, answers, strict=True) if isinstance(answer, Exception)]
            if not missing or asyncio.get_running_loop().time() > give_up_at:
                break
            await asyncio.sleep(REVOKE_PAUSE_S)  # noqa: TID251  # bounded by REVOKE_WITHIN_S
        if missing:
            raise StoreUnavailable(
                f"the token is not refused everywhere yet: {len(missing)} of {BUCKETS} buckets cannot be reached "
                f"({error}): revoke it again"
            )
        await self._calls.servers.command("PUBLISH", self._calls.keys.events, telling.revoked(revocation))
        return ended

    async def _counts(self) -> Page:
        sizes, bound = await self._everywhere("ZCARD", "a"), await self._everywhere("HGETALL", "u")
        upstreams: dict[tuple[str, str], int] = {}
        for flat in bound:
            for place, count in telling.upstream_counts(flat).items():
                upstreams[place] = upstreams.get(place, 0) + count
        return Page((), sum(sizes), "", upstreams)

    async def _due(self, now: int) -> tuple[list[Sequence[int]], StoreUnavailable | None]:
        """Of each bucket how much there is to sweep; nothing where nobody answers, and why."""
        counts, error = list[Sequence[int]](), None
        for buckets in _SHARES:
            answers = await asyncio.gather(
                *[self._calls.run("due", bucket, now, []) for bucket in buckets], return_exceptions=True
            )
            for answer in answers:
                if isinstance(answer, BaseException):
                    error = _unavailable(answer)
                counts.append(_NO_WORK if isinstance(answer, BaseException) else answer)
        return counts, error

    async def _everywhere(self, command: str, kind: str) -> list[Any]:
        """One plain command about one key of each bucket."""
        base, found = self._calls.keys.base, list[Any]()
        for buckets in _SHARES:
            asked = [(bucket, (command, f"{base(bucket)}{kind}")) for bucket in buckets]
            found += await self._calls.servers.each(asked)
        return found


def _unavailable(error: BaseException) -> StoreUnavailable:
    """One bucket's failure. Raises whatever else went wrong."""
    if not isinstance(error, StoreUnavailable):
        raise error
    return error


def _enough(waiting: Sequence[int], sizes: Sequence[int], wanted: int) -> int:
    """How many of the next buckets hold as many sessions as are wanted."""
    for count, bucket in enumerate(waiting, start=1):
        wanted -= sizes[bucket]
        if wanted <= 0:
            return count
    return len(waiting)


def _behind(shown: Sequence[Session]) -> str:
    key: SessionKey = shown[-1].key
    return write_cursor(shown[-1].birth.created_at, key.hash)


def _read_place(cursor: str) -> tuple[int, str]:
    """The bucket and its own cursor. Raises ValueError for what no listing returned."""
    if not cursor:
        return 0, ""
    bucket, inner = cursor[:2], cursor[2:]
    read_cursor(inner)
    if bucket not in HEX:
        raise ValueError("the cursor is not one that a listing returned: begin again without it")
    return int(bucket, 16), inner
