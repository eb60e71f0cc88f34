"""What sessions weigh in the proxy: its memory with few, many and very many users, one bound session each (E17)."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path
from typing import Final

from msgspec import Struct

from benchmarks import proxy_requests as requests
from benchmarks.measure import figure, table
from benchmarks.proxy_load import ANSWER_WITHIN_S
from benchmarks.proxy_standing import Standing, mcp_url

OK: Final = 200
KB: Final = 1_000
MB: Final = 1_000_000
EACH_MAX_KB: Final = 3  # the store's record, its place among its user's, its two counters


class Sessions(Struct):
    """Resident bytes of the proxy by the number of live sessions in its memory."""

    live: list[int]
    resident: list[int]

    @property
    def each(self) -> float:
        """Bytes of one more. The first thousands also fill what is remembered of the latest callers: it is bounded."""
        return (self.resident[-1] - self.resident[-2]) / (self.live[-1] - self.live[-2])


def measured(*, live: Sequence[int]) -> Sessions:
    """Each user calls a tool once, which makes the session, binds it and counts in two limits."""
    with ExitStack() as stack:
        standing = Standing(stack, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        ours = standing.ours(mcp_url(standing.own_upstream()))
        asked = requests.named(live[-1])
        resident, made = [], 0
        for number in live:
            _ask(ours.port, asked[made:number])
            made = number
            resident.append(ours.resident_bytes())
    return Sessions(list(live), resident)


def _ask(port: int, asked: Iterable[bytes]) -> None:
    """One after the other, on one connection. Raises RuntimeError for an answer that is no 200."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WITHIN_S) as connection:
        for request in asked:
            connection.sendall(request)
            answer = HTTPResponse(connection)
            answer.begin()
            said = answer.read()
            if answer.status != OK:
                raise RuntimeError(f"not a good answer: {answer.status} {said[:200]!r}")


def shown(found: Sessions) -> str:
    rows = [
        [f"{live:,}", f"{resident / MB:.1f}"] for live, resident in zip(found.live, found.resident, strict=True)
    ]  # fmt: skip
    return table([["live sessions", "resident MB"], *rows])


def verdicts(found: Sessions) -> list[list[str]]:
    return [figure("memory of each session", found.each / KB, at_most=EACH_MAX_KB, form="{:.1f} KB")]
