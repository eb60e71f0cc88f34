"""The only place that cuts into slices what would hold too many locks for too long: many facts, sweeps, revocations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sessionware.core.facts import Fact
from sessionware.stores.cursor import BEGINNING
from sessionware.stores.postgres import telling
from sessionware.stores.postgres.answers import HASH, MOMENT, NUMBER, TALLIES, Row
from sessionware.stores.postgres.asking import Question, question
from sessionware.stores.postgres.calls import OVERDUE, Calls
from sessionware.stores.postgres.faults import Refused

SLICE: Final = 50  # sessions that one call ends, each with the locks of its levels: 20 ms of the server
FACTS: Final = 100  # facts that one call books: thousands of streams renew their leases at once
IDLE_SCAN: Final = 1000  # sessions that one call looks at for idle ones
GARBAGE: Final = 1000  # rows of each kind that one call deletes
COLLECT_MAX: Final = 10  # such calls per reap
TOO_MUCH: Final = OVERDUE | {"53200"}  # out_of_memory, which the shared table of locks says, too


async def record(calls: Calls, facts: Sequence[Fact], now: int) -> list[bool]:
    """Book facts in their order, each by itself."""
    booked: list[bool] = []
    for start in range(0, len(facts), FACTS):
        rows = await calls.ask("record_facts", telling.facts(facts[start : start + FACTS], now))
        booked += [each == 1 for each in rows[0][TALLIES]]
    return booked


async def reap(calls: Calls, *, now: int, limit: int, idle_for: int | None) -> list[Row]:
    """End what has expired or is idle, claim ends that nobody acknowledged, and delete garbage."""
    rows = await _reap_due(calls, now, limit)
    if idle_for is not None:
        rows += await _reap_idle(calls, now, limit - len(rows), idle_for)
    if len(rows) < limit:
        rows += await calls.ask("claim_ends", question([], [], [now, limit - len(rows)]))
    for _ in range(COLLECT_MAX):
        answer = await calls.ask("collect", question([], [], [now, GARBAGE]))
        if answer[0][NUMBER] != 1:
            break
    return rows


async def revoke(calls: Calls, asked: Question) -> list[Row]:
    """Write a revocation and end all that it reaches; its last number says that it is the first call."""
    rows: list[Row] = []
    more = True
    while more:
        head, *ended = await _slice(calls, "revoke_access", asked, limit_at=-2)
        more = head[NUMBER] == 1
        rows += ended
        asked.numbers[-1] = 0
    return rows


async def _reap_due(calls: Calls, now: int, limit: int) -> list[Row]:
    rows: list[Row] = []
    more = True
    while more and len(rows) < limit:
        asked = question([], [], [now, min(limit - len(rows), SLICE)])
        head, *ended = await _slice(calls, "reap_due", asked, limit_at=1)
        more = head[NUMBER] == 1
        rows += ended
    return rows


async def _reap_idle(calls: Calls, now: int, limit: int, idle_for: int) -> list[Row]:
    """Walk through all sessions in order of creation."""
    rows: list[Row] = []
    created_at, hash_ = BEGINNING
    more = True
    while more and len(rows) < limit:
        asked = question([], [hash_], [now, min(limit - len(rows), SLICE), idle_for, created_at, IDLE_SCAN])
        head, *ended = await _slice(calls, "reap_idle", asked, limit_at=1)
        more, created_at, hash_ = head[NUMBER] == 1, head[MOMENT], head[HASH]
        rows += ended
    return rows


async def _slice(calls: Calls, function: str, asked: Question, *, limit_at: int) -> Sequence[Row]:
    """Ask for a slice; for a smaller one when the server had no time, or no locks left, for all of it."""
    while True:
        try:
            return await calls.ask(function, asked)
        except Refused as refused:
            limit = asked.numbers[limit_at] or 0
            if refused.sqlstate not in TOO_MUCH or limit <= 1:
                raise
            asked.numbers[limit_at] = limit // 2
