"""The only place that tells of ended sessions: counted, audited, logged, and every observer called, once each."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from sessionware.core.facts import Acknowledged
from sessionware.core.ids import SessionKey
from sessionware.core.session import Ended
from sessionware.telemetry.health import Health
from sessionware.telemetry.observers import Observers
from sessionware.telemetry.telemetry import Telemetry

REMEMBERED_MAX: Final = 10_000  # ends that may come back because their acknowledgement was lost

_Life = tuple[SessionKey, int]  # a name may live again: its key and when it was made tell one life from another


class Endings:
    """Whoever gets an `Ended` from the store hands it here, and books the acknowledgements that come back.

        for fact in await endings.tell(answer.evicted):
            facts.add(fact)

    An end that the store hands out twice is counted and told once by this worker, and acknowledged twice. With
    `acknowledges` False it is not acknowledged at all: a worker that stays will be handed it, and tells its observers.
    """

    def __init__(
        self, observers: Observers, *, telemetry: Telemetry, health: Health | None = None, acknowledges: bool = True
    ) -> None:
        self._observers = observers
        self._acknowledges = acknowledges
        self._telemetry = telemetry
        self._health = health
        self._counted: OrderedDict[_Life, None] = OrderedDict()
        self._told: OrderedDict[_Life, None] = OrderedDict()

    async def tell(self, ends: Iterable[Ended]) -> list[Acknowledged]:
        """Returns when all observers were told of all ends; cancelled, it acknowledges nothing."""
        every = list(ends)
        for ended in every:
            if _first_time(self._counted, _life(ended)):
                self._telemetry.ended(ended)
                if self._health is not None:
                    self._health.ended(ended.session.key)
        await asyncio.gather(*[self._tell(ended) for ended in every])
        if not self._acknowledges:
            return []
        return [Acknowledged(ended.session.key.bucket, ended.receipt) for ended in every if ended.receipt]

    async def _tell(self, ended: Ended) -> None:
        if _life(ended) in self._told:
            return
        await self._observers.ended(ended.session, ended.reason)
        _first_time(self._told, _life(ended))


def _life(ended: Ended) -> _Life:
    return ended.session.key, ended.session.birth.created_at


def _first_time(seen: OrderedDict[_Life, None], life: _Life) -> bool:
    if life in seen:
        return False
    seen[life] = None
    if len(seen) > REMEMBERED_MAX:
        seen.popitem(last=False)
    return True
