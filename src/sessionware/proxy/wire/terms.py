"""The only place for how long and how much: the deadlines of a request and the bounds of a wire."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

# Bytes read at once, and bytes waiting unread at which reading stops: together at most 64 KiB for one stream.
READ_SIZE: Final = 32 * 1024
UNREAD_MAX: Final = 32 * 1024
WRITE_SIZE: Final = 64 * 1024  # bytes of a body given to the socket at once


class Deadlines(Struct, frozen=True):
    """Seconds an upstream may take: to a usable connection, from the request's end to the head, between two parts.

    `idle` also bounds how long the upstream may leave our body unread. Time that the client takes is never counted.
    """

    connect: float = 3.0
    head: float = 120.0
    idle: float = 300.0


class WireLimits(Struct, frozen=True):
    """Connections to one address, all and idle, and the seconds an idle one is kept."""

    connections: int = 256
    idle_connections: int = 64
    idle_seconds: float = 30.0
