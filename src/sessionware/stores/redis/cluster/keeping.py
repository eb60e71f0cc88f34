"""The only place that knows how an answer that spans buckets is kept for a repeat: beside the partition's own part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from sessionware.core.admission import Admission
from sessionware.core.ledger import LeaseTally, Tally
from sessionware.stores.redis.cluster.charging import Part, after
from sessionware.stores.redis.cluster.placing import Wide

FIRST_ANSWER: Final = 18  # the length of an answer that was kept from the first time: the last is what is kept here


class Elsewheres(Struct, frozen=True, array_like=True):
    """What other buckets said to a question, by the places in it, and the keys that were charged there."""

    spends: dict[int, Tally | None]
    leases: dict[int, LeaseTally]
    spend_count: int
    lease_count: int
    keys: frozenset[bytes]

    def tallies(self, narrow: Sequence[Tally | None]) -> tuple[Tally | None, ...]:
        """All tallies in the order of the question, `narrow` being those of the partition."""
        own = iter(narrow)
        return tuple([self.spends[at] if at in self.spends else next(own) for at in range(self.spend_count)])

    def running(self, narrow: Sequence[LeaseTally]) -> tuple[LeaseTally, ...]:
        own = iter(narrow)
        return tuple([self.leases[at] if at in self.leases else next(own) for at in range(self.lease_count)])


_DECODER: Final = msgspec.msgpack.Decoder(Elsewheres)


def said(ask: Admission, wide: Wide, parts: Sequence[Part], *, is_taken: bool) -> Elsewheres:
    """What the parts say of the counters, as they stand with the taking or without it."""
    spends: dict[int, Tally | None] = dict.fromkeys((*wide.always, *wide.created))
    leases: dict[int, LeaseTally] = {}
    for part in parts:
        if is_taken:
            spent, held = after(part)
            spends |= spent
            leases |= held
        else:
            spends |= zip(part.spends, part.tallies, strict=True)
            leases |= {at: lease for at, (lease, _) in zip(part.leases, part.running, strict=True)}
    keys = frozenset([key for part in parts for key in _keys_of(part)])
    return Elsewheres(spends, leases, len(ask.spends), len(ask.leases), keys)


def packed(kept: Elsewheres) -> bytes:
    return msgspec.msgpack.encode(kept)


def first_said(raw: Any) -> Elsewheres | None:
    """What was said the first time, if this is an answer that was kept from then. Raises one of DAMAGED."""
    return _DECODER.decode(raw[FIRST_ANSWER - 1]) if len(raw) == FIRST_ANSWER else None


def strangers(parts: Sequence[Part], first: Elsewheres) -> list[Part]:
    """What was charged for a repeat that asks something else than the first time, and got the first answer."""
    return [part for part in parts if first.keys.isdisjoint(_keys_of(part))]


def _keys_of(part: Part) -> Iterator[bytes]:
    ask = part.question.ask
    yield from [ask.spends[at].key for at in part.spends]
    yield from [ask.leases[at].key for at in part.leases]
