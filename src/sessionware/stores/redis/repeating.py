"""The only place that remembers revocations, to say them again to a server that has lost them.

A replica that takes over may lack the last writes, a server without persistence comes back empty: what this worker
revoked, or heard that others revoked, is compared and repeated before the worker asks such a server anything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import hiredis

from sessionware.core.facts import OwnerRevocation, Revocation, TokenRevocation
from sessionware.core.store import Clock
from sessionware.errors import StoreUnavailable
from sessionware.stores.redis import telling
from sessionware.stores.redis.asking import Keys
from sessionware.stores.redis.plain import ask
from sessionware.stores.redis.scripts import Script
from sessionware.stores.redis.wire import Wire

REMEMBERED_MAX: Final = 10_000  # tokens, and as many owners: a megabyte or two; the oldest are forgotten first
AT_ONCE: Final = 500  # compared or repeated in one write: a few milliseconds of the server's time

Asked = tuple[int, Sequence[Revocation]]  # a bucket, and what should be refused there

log = logging.getLogger("sessionware.store")


class KnownRevocations:
    """Revocations that this worker knows and that are still in force."""

    def __init__(self, keys: Keys, script: Script, clock: Clock) -> None:
        self._keys = keys
        self._script = script
        self._clock = clock
        self._tokens: dict[bytes, int] = {}  # until when each is refused
        self._owners: dict[bytes, tuple[int, int]] = {}  # before when each is refused, and where: a bit per bucket

    def note(self, revocation: Revocation) -> None:
        """Remember it; an earlier instant takes nothing back."""
        match revocation:
            case TokenRevocation(token, until):
                self._tokens[token] = max(until, self._tokens.pop(token, until))
                _forget_oldest(self._tokens)
            case OwnerRevocation(bucket, owner, before):
                known, places = self._owners.pop(owner, (before, 0))
                self._owners[owner] = max(before, known), places | 1 << bucket
                _forget_oldest(self._owners)

    async def repeat(self, wire: Wire, buckets: Collection[int] = (0,)) -> int:
        """Say again what this server, which holds these buckets, does not know; answers how much that was.

        Raises StoreUnavailable. Sessions that end by it are handed out by `reap`, as if the worker had died.
        """
        lost = 0
        for batch in _batches(self._in_force(buckets)):
            stands = await asyncio.gather(*[self._stand(wire, *each) for each in batch])
            missing = [
                (bucket, each)
                for (bucket, asked), known in zip(batch, stands, strict=True)
                for each, is_known in zip(asked, known, strict=True)
                if not is_known
            ]
            await asyncio.gather(*[self._say(wire, *each) for each in missing])
            lost += len(missing)
        if lost:
            log.warning("the server had lost %d revocations: a failover, or a restart without its data", lost)
        return lost

    def _in_force(self, buckets: Collection[int]) -> Iterator[Asked]:
        """What is refused in each of these buckets: a token in all of them, an owner in one."""
        now = self._clock.now()
        self._tokens = {token: until for token, until in self._tokens.items() if until > now}
        tokens = [TokenRevocation(token, until) for token, until in self._tokens.items()]
        here = sum([1 << bucket for bucket in buckets])
        for owner, (before, places) in list(self._owners.items()):
            for bucket in buckets if places & here else ():
                if places >> bucket & 1:
                    yield bucket, [OwnerRevocation(bucket, owner, before)]
        for bucket in buckets:
            for start in range(0, len(tokens), AT_ONCE):
                yield bucket, tokens[start : start + AT_ONCE]

    async def _stand(self, wire: Wire, bucket: int, asked: Sequence[Revocation]) -> Sequence[bool]:
        """Which of these the bucket knows: one owner, or many tokens at once."""
        match asked[0]:
            case OwnerRevocation(_, owner, before):
                known = await ask(wire, "HGET", f"{self._keys.base(bucket)}o:{owner.hex()}", "nb")
                return [_reaches(known, before)]
            case TokenRevocation():
                tokens = [each for each in asked if isinstance(each, TokenRevocation)]
                names = [each.token.hex() for each in tokens]
                known = await ask(wire, "ZMSCORE", f"{self._keys.base(bucket)}t", *names)
                return [_reaches(score, each.until) for each, score in zip(tokens, known, strict=True)]

    async def _say(self, wire: Wire, bucket: int, revocation: Revocation) -> None:
        asked = [1, self._keys.base(bucket), self._clock.now(), 0, *telling.revocation(revocation)]
        more = 1
        while more:
            raw = await wire.call("EVALSHA", self._script.sha, *asked)
            if isinstance(raw, hiredis.ReplyError) and str(raw).startswith("NOSCRIPT"):
                raw = await wire.call("EVAL", self._script.text, *asked)
            if isinstance(raw, hiredis.ReplyError):
                raise StoreUnavailable(f"Redis refused a revocation that it had lost: {raw}")
            _, more = raw


def _batches(asked: Iterator[Asked]) -> Iterator[list[Asked]]:
    """As many questions in one write as ask for AT_ONCE revocations."""
    batch: list[Asked] = []
    for each in asked:
        batch.append(each)
        if sum(len(revocations) for _, revocations in batch) >= AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _reaches(known: bytes | None, instant: int) -> bool:
    try:
        return known is not None and float(known) >= instant
    except ValueError:
        return False


def _forget_oldest(remembered: dict[bytes, Any]) -> None:
    if len(remembered) > REMEMBERED_MAX:
        del remembered[next(iter(remembered))]
