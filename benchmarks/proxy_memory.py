"""Whether the proxy's memory stays: over many requests, and over streams that were opened and dropped."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from benchmarks import proxy_requests as requests
from benchmarks.measure import figure, table
from benchmarks.processes import Program
from benchmarks.proxy_load import load
from benchmarks.proxy_standing import Standing, mcp_url
from benchmarks.proxy_streams import opened, openings

CONNECTIONS: Final = 32
AT_MOST_S: Final = 40.0  # a slow machine makes fewer requests, and says how many
AT_ONCE: Final = 200  # streams that are open together
MB: Final = 1_000_000
WARM_UPS: Final = 3  # the allocator keeps what the first thousands of streams took
QUIET_S: Final = 0.5  # dropped streams are noticed by then


class Memory(Struct):
    """Resident bytes of the proxy, and by how much they grew."""

    warm: int
    requests: int
    grown_by_requests: int
    streams: int
    grown_by_streams: int


def measured(*, requests_to_make: int, streams: int) -> Memory:
    """Warm up with a fifth of the requests, and with the streams some times; what is taken after that is growth."""
    with ExitStack() as stack:
        standing = Standing(stack, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        ours = standing.ours(mcp_url(standing.own_upstream()))
        asked = requests.named(CONNECTIONS)
        load(ours.port, asked, count=requests_to_make // 5, seconds=AT_MOST_S / 5)
        warm = ours.resident_bytes()
        made = load(ours.port, asked, count=requests_to_make, seconds=AT_MOST_S)["answers"]
        after_requests = ours.resident_bytes()
        wanted = openings(ours.port, AT_ONCE)
        for _ in range(WARM_UPS):
            _open_and_drop(ours, wanted, streams)
        settled = ours.resident_bytes()
        _open_and_drop(ours, wanted, streams)
        return Memory(warm, made, after_requests - warm, streams, ours.resident_bytes() - settled)


def _open_and_drop(ours: Program, asked: list[bytes], streams: int) -> None:
    for _ in range(0, streams, len(asked)):
        with opened(ours.port, asked):
            pass
    time.sleep(QUIET_S)


def shown(found: Memory) -> str:
    return table([
        ["the proxy's resident memory", "MB"],
        ["warm", f"{found.warm / MB:.1f}"],
        [f"grown over {found.requests:,} requests", f"{found.grown_by_requests / MB:+.2f}"],
        [f"grown over {found.streams:,} opened and dropped streams", f"{found.grown_by_streams / MB:+.2f}"],
    ])  # fmt: skip


def verdicts(found: Memory) -> list[list[str]]:
    """Flat: what one sampling of the allocator's pages may differ by, and no more."""
    return [
        figure(f"growth over {found.requests:,} requests", found.grown_by_requests / MB, at_most=1, form="{:.2f} MB"),
        figure(f"growth over {found.streams:,} streams", found.grown_by_streams / MB, at_most=1, form="{:.2f} MB"),
    ]
