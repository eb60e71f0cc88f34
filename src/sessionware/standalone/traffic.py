"""The only place that counts what has come and gone at the door of this process; every label is fixed by settings."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

NO_POOL: Final = "-"  # the session API, probes, and paths that lead nowhere


class Outcome(StrEnum):
    """How a request ended."""

    SERVED = "served"  # 1xx to 3xx
    REFUSED = "refused"  # 4xx
    LIMITED = "limited"  # 429
    FAILED = "failed"  # 5xx
    GONE = "gone"  # the client left before an answer began


_BY_CLASS: Final = (Outcome.GONE, *[Outcome.SERVED] * 3, Outcome.REFUSED, Outcome.FAILED)
LIMITED: Final = 429


class Traffic:
    """Plain integers, read when somebody asks for them."""

    def __init__(self, pools: Iterable[str]) -> None:
        self.requests = {pool: dict.fromkeys(Outcome, 0) for pool in (*pools, NO_POOL)}
        self.running = 0
        self.streams = 0  # answers that have begun and are not over

    def ended(self, pool: str, status: int) -> None:
        """`status` 0: no answer has begun."""
        by_outcome = self.requests.get(pool)
        if by_outcome is None:
            by_outcome = self.requests[NO_POOL]
        by_outcome[Outcome.LIMITED if status == LIMITED else _BY_CLASS[status // 100]] += 1
