"""The only place that remembers, in memory, sessions that are no more: why, and who must still be told."""

from __future__ import annotations

from collections import OrderedDict

from sessionware.core.ids import SessionKey
from sessionware.core.rules import knows
from sessionware.core.session import Ended, EndReason, Proof, Session, tombstone_ms
from sessionware.core.store import CLAIM_MS, ENDED_KEEP_MS, ENDED_MAX


class Tombstones:
    """Why a key's session ended, for its owner, for a while."""

    def __init__(self) -> None:
        self._stones: OrderedDict[bytes, tuple[EndReason, bytes, Proof, int]] = OrderedDict()

    def set(self, session: Session, reason: EndReason, now: int) -> None:
        hash_, birth = session.birth.key.hash, session.birth
        self._stones.pop(hash_, None)
        self._stones[hash_] = (reason, birth.owner, birth.proof, now + tombstone_ms(session))

    def clear(self, key: SessionKey) -> None:
        self._stones.pop(key.hash, None)

    def reason(self, key: SessionKey, owner: bytes | None, now: int) -> EndReason | None:
        stone = self._stones.get(key.hash)
        if stone is None or stone[3] <= now or not knows(owner, of=stone[1], proof=stone[2]):
            return None
        return stone[0]

    def sweep(self, now: int) -> None:
        for hash_ in [hash_ for hash_, stone in self._stones.items() if stone[3] <= now]:
            del self._stones[hash_]


class EndedList:
    """Ended sessions that nobody has acknowledged, each claimed by the caller it was handed to."""

    def __init__(self) -> None:
        self._ends: OrderedDict[str, tuple[Ended, int]] = OrderedDict()
        self._serial = 0

    def add(self, session: Session, reason: EndReason, now: int) -> Ended:
        self._serial += 1
        ended = Ended(session, reason, now, str(self._serial))
        self._ends[ended.receipt] = (ended, now + CLAIM_MS)
        while len(self._ends) > ENDED_MAX:
            self._ends.popitem(last=False)
        return ended

    def acknowledge(self, receipt: str) -> bool:
        return self._ends.pop(receipt, None) is not None

    def claim_again(self, now: int, limit: int) -> list[Ended]:
        """Hand out ends whose claim ran out, and forget those that nobody ever acknowledged."""
        for receipt in [each for each, (ended, _) in self._ends.items() if ended.ended_at + ENDED_KEEP_MS <= now]:
            del self._ends[receipt]
        unclaimed = [ended for ended, until in self._ends.values() if until <= now][:limit]
        for ended in unclaimed:
            self._ends[ended.receipt] = (ended, now + CLAIM_MS)
        return unclaimed
