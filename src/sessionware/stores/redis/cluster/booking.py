"""The only place that books a fact in all the buckets of a cluster that it touches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sessionware.core.facts import Fact, Released, Settled
from sessionware.stores.redis import telling
from sessionware.stores.redis.calls import Calls
from sessionware.stores.redis.cluster.placing import Placing
from sessionware.stores.redis.cluster.servers import ClusterServers


class Booking:
    """`record`: the facts in their order, each with its parts."""

    def __init__(self, calls: Calls[ClusterServers], placing: Placing) -> None:
        self._calls = calls
        self._placing = placing

    async def record(self, facts: Sequence[Fact], *, now: int) -> list[bool]:
        """Tell all buckets at once, in order. Of a settlement the partition is told first, and says what follows."""
        scattered = [self._placing.scattered(fact) for fact in facts]
        told = [_at_first(parts) for parts in scattered]
        replies = await asyncio.gather(*[self._tell(part, now, *kept) for each in told for part, *kept in each])
        booked, late, at = [], list[Fact](), 0
        for fact, parts, each in zip(facts, scattered, told, strict=True):
            answers, at = replies[at : at + len(each)], at + len(each)
            took = [reply == 1 for reply in answers]
            booked.append(any(took) if isinstance(fact, Released) else took[0])
            if isinstance(fact, Settled):
                late += _follows(parts[1:], answers[0])
        await asyncio.gather(*[self._tell(part, now) for part in late])
        return booked

    async def _tell(self, fact: Fact, now: int, *kept: bytes) -> Any:
        bucket, asked = telling.fact(fact, now)
        return await self._calls.run("record", bucket, now, [*asked, *kept])


def _at_first(parts: Sequence[Fact]) -> list[tuple[Any, ...]]:
    """What is told at once; of a settlement in several buckets the partition's part, which keeps the others' keys."""
    if len(parts) > 1 and isinstance(parts[0], Settled):
        return [(parts[0], b"".join(map(_keys_of, parts[1:])))]
    return [(part,) for part in parts]


def _follows(parts: Sequence[Fact], reply: Any) -> list[Fact]:
    """The other parts of a settlement: all the first time; a repeat makes up for what the first did not reach."""
    if reply == 1:
        return list(parts)
    first = reply[1] if isinstance(reply, list) else b""
    return [part for part in parts if isinstance(part, Settled) and all(each.key in first for each in part.spends)]


def _keys_of(part: Fact) -> bytes:
    return b"".join([spend.key for spend in part.spends]) if isinstance(part, Settled) else b""
