"""The only place that says how much and how slowly a client may send before its connection is closed."""

from __future__ import annotations

import resource
from typing import Final

from msgspec import Struct

CONNECTIONS_MAX: Final = 10_000  # of one process; fewer where it may open fewer files
RESERVE: Final = 64  # connections beyond that are told 503, and still get to /health
PEER_SHARE: Final = 4  # one address may hold a fourth of them
FILES_PER_CONNECTION: Final = 2  # the client's and the upstream's
FILES_OF_OURS: Final = 64  # the store, logs, listening sockets


class Bounds(Struct, frozen=True, kw_only=True):
    """Times are seconds, sizes bytes. Nobody is closed for reading slowly.

    `head_s` counts from the opening of a connection, or from the first byte of a later request. A body may not stall
    for `stall_s`, nor come at less than `body_rate` a second after the first `stall_s`. `framing` is what chunk
    headers and trailers may take beside the body, and `chunk_extra` more for each chunk.

    Over `connections` the next `reserve` are served nothing but probes; more are closed at once. The same holds for
    the connections of one address over `of_one_peer`: nobody alone keeps everybody out. Free of that are peers in
    TRUSTED_PROXIES, who stand for many, and those of this machine (loopback, Unix sockets).
    """

    head_s: float = 10.0
    head_bytes: int = 32 << 10
    head_fields: int = 100
    stall_s: float = 10.0
    body_rate: int = 500
    framing: int = 64 << 10
    chunk_extra: int = 32
    keep_alive_s: float = 75.0  # longer than the balancers in front keep theirs: 60 s
    connections: int = CONNECTIONS_MAX
    reserve: int = RESERVE

    @property
    def of_one_peer(self) -> int:
        return max(self.connections // PEER_SHARE, 1)


def bounds_of_process() -> Bounds:
    """The bounds that the number of open files allows; the process is given as many as it may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX * FILES_PER_CONNECTION + FILES_OF_OURS + RESERVE
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    connections = (allowed - FILES_OF_OURS - RESERVE) // FILES_PER_CONNECTION
    return Bounds(connections=max(min(connections, CONNECTIONS_MAX), 1))
