"""The only place that charges wide limits on a cluster, and gives back what was charged for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from struct import Struct as Layout
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import Admission
from sessionware.core.ledger import Counter, Lease, LeaseTally, Spend, Tally, charged
from sessionware.errors import StoreUnavailable
from sessionware.stores.redis.asking import Argument, ttl
from sessionware.stores.redis.calls import Calls
from sessionware.stores.redis.cluster.member import NothingRan
from sessionware.stores.redis.cluster.placing import bucket_of
from sessionware.stores.redis.cluster.servers import ClusterServers

_TALLY: Final = Layout(">QQQQB")
_COUNTER: Final = Layout(">QQQ")
_LEASE: Final = Layout(">QQBB")
_TAKE, _ONCE, _SURE = 1, 2, 4

Numbered = tuple[int, Spend] | tuple[int, Lease]


class Skewed(NothingRan):
    """A bucket found our clock skewed, and nothing is charged: windows must be placed anew at the server's time."""

    def __init__(self, store_now: int) -> None:
        super().__init__("the clock of the cluster moves too fast to agree on a time")
        self.store_now = store_now


class Question(Struct, frozen=True):
    """Wide spends and leases of an admission by their places in it, to be taken or only looked at.

    `part` keeps apart the operations of what is asked in several steps. What is forced is taken whether it fits or not,
    and for good.
    """

    ask: Admission
    spends: tuple[int, ...]
    leases: tuple[int, ...] = ()
    allowances: Mapping[tuple[str, int], int] = {}
    part: str = ""
    is_forced: bool = False

    def spend(self, at: int) -> Spend:
        spend = self.ask.spends[at]
        allowance = self.allowances.get(("spend", at), spend.allowance)
        return replace(spend, allowance=allowance, binding=spend.binding and not self.is_forced)

    def lease(self, at: int) -> Lease:
        lease = self.ask.leases[at]
        allowance = self.allowances.get(("lease", at), lease.allowance)
        return replace(lease, allowance=allowance, binding=lease.binding and not self.is_forced)

    @property
    def operation(self) -> str:
        ask = self.ask
        ids = [each.hash.hex() if each is not None else "" for each in (ask.key, ask.link)]
        return f"{ask.operation.hex()}{ids[0]}{ids[1]}{self.part}"


class Part(Struct, frozen=True):
    """What one bucket answered. Tallies are of before the taking, `found` are the counters as they lay there."""

    bucket: int
    question: Question
    spends: tuple[int, ...]
    leases: tuple[int, ...]
    is_first: bool
    is_taken: bool
    tallies: tuple[Tally, ...]
    found: tuple[bytes, ...]
    running: tuple[tuple[LeaseTally, bool], ...]

    @property
    def fits(self) -> bool:
        """Whether nothing in it refuses."""
        question = self.question
        return all(
            tally.fits or not question.spend(at).binding for at, tally in zip(self.spends, self.tallies, strict=True)
        ) and all(
            lease.fits or not question.lease(at).binding
            for at, (lease, _) in zip(self.leases, self.running, strict=True)
        )


async def charge(calls: Calls[ClusterServers], question: Question, *, take: bool = True) -> list[Part]:
    """Ask all buckets at once; each takes all of its part or nothing.

    Raises StoreUnavailable, and what was surely taken is given back; Skewed when that is all that went wrong.
    """
    groups: dict[int, tuple[list[int], list[int]]] = {}
    for at in question.spends:
        groups.setdefault(bucket_of(question.ask.spends[at]), ([], []))[0].append(at)
    for at in question.leases:
        groups.setdefault(bucket_of(question.ask.leases[at]), ([], []))[1].append(at)
    answers = await asyncio.gather(
        *[_ask(calls, question, bucket, places, take=take) for bucket, places in groups.items()],
        return_exceptions=True,
    )
    parts = [answer for answer in answers if isinstance(answer, Part)]
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    if errors:
        await give_back(calls, parts)
        raise min(errors, key=lambda error: isinstance(error, Skewed))
    return parts


async def give_back(calls: Calls[ClusterServers], parts: Sequence[Part]) -> list[Part]:
    """Undo what was taken now; the same parts, none of them taken any more.

    What cannot be reached stays charged: too much is refused, never too much let in.
    """
    taken = [part for part in parts if part.is_taken and part.is_first]
    if taken:
        await asyncio.gather(*[_give(calls, part) for part in taken])
    return [replace(part, is_taken=False) for part in parts]


def after(part: Part) -> tuple[list[tuple[int, Tally]], list[tuple[int, LeaseTally]]]:
    """How the counters stand once the taking counts, by the places in the admission."""
    question, tallies, leases = part.question, [], []
    for at, tally in zip(part.spends, part.tallies, strict=True):
        tallies.append((at, replace(tally, counter=charged(tally.counter, question.ask.spends[at].cost))))
    for at, (lease, is_mine) in zip(part.leases, part.running, strict=True):
        leases.append((at, replace(lease, running=lease.running + (not is_mine))))
    return tallies, leases


async def _ask(
    calls: Calls[ClusterServers], question: Question, bucket: int, places: tuple[list[int], list[int]], *, take: bool
) -> Part:
    ask, (spends, leases) = question.ask, places
    asked: list[Argument] = [
        ask.owner.hex() if ask.owner is not None else "", question.operation,
        _TAKE * take + _ONCE * ask.once + _SURE * question.is_forced,
        ask.operation.hex(), ask.now + ask.lease_ms, len(spends), len(leases), 0,
    ]  # fmt: skip
    for spend in map(question.spend, spends):
        asked += (
            spend.key.hex(), spend.window, spend.carry, spend.cost, spend.allowance, int(spend.binding),
            ttl(spend, ask.now),
        )  # fmt: skip
    for lease in map(question.lease, leases):
        asked += (lease.key.hex(), lease.allowance, int(lease.binding))
    raw = await calls.servers.evaluate(calls.scripts["wide"], bucket, ask.now, calls.skew, asked)
    if raw[0] == b"SKEW":
        raise Skewed(raw[1])
    return _read(raw, bucket, question, tuple(spends), tuple(leases))


def _read(raw: Any, bucket: int, question: Question, spends: tuple[int, ...], leases: tuple[int, ...]) -> Part:
    tallies = [
        Tally(Counter(window, used, before), allowance, fits == 1)
        for window, used, before, allowance, fits in _TALLY.iter_unpack(raw[2])
    ]
    running = [
        (LeaseTally(count, allowance, fits == 1), mine == 1)
        for count, allowance, fits, mine in _LEASE.iter_unpack(raw[3])
    ]
    is_first, is_taken = raw[0] == b"first", raw[1] == 1
    return Part(bucket, question, spends, leases, is_first, is_taken, tuple(tallies), tuple(raw[4]), tuple(running))


async def _give(calls: Calls[ClusterServers], part: Part) -> None:
    question, ask = part.question, part.question.ask
    leases = [ask.leases[at] for at, (_, is_mine) in zip(part.leases, part.running, strict=True) if not is_mine]
    spends = [each for each in zip(part.spends, part.tallies, part.found, strict=True) if ask.spends[each[0]].cost]
    asked: list[Argument] = [
        ask.owner.hex() if ask.owner is not None else "", question.operation if ask.once else "",
        ask.operation.hex(), len(spends), len(leases),
    ]  # fmt: skip
    for at, tally, found in spends:
        spend, counter = ask.spends[at], tally.counter
        then = charged(counter, spend.cost)
        written = _COUNTER.pack(then.window, then.used, then.before)
        asked += (spend.key.hex(), counter.window, then.used - counter.used, ttl(spend, ask.now), found, written)
    asked += [lease.key.hex() for lease in leases]
    try:
        await calls.run("giving", part.bucket, ask.now, asked)
    except StoreUnavailable:
        return  # it stays charged
