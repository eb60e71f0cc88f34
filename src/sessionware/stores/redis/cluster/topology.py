"""The only place that knows which slot a bucket lies in, and reads which node serves which slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

SLOTS: Final = 16_384
BUCKETS: Final = 256
META: Final = BUCKETS  # the place behind the buckets: the key that holds the salt
_POLYNOMIAL: Final = 0x1021  # CRC-16/XMODEM, as the cluster specification says

Place = tuple[str, int]  # host and port of a node


def slot_of(key: str) -> int:
    """The slot of a key: of its hash tag, if it has one that is not empty."""
    opening = key.find("{")
    if opening >= 0:
        closing = key.find("}", opening + 1)
        if closing > opening + 1:
            key = key[opening + 1 : closing]
    return _crc16(key.encode()) % SLOTS


class Layout(Struct, frozen=True):
    """Who serves each of our places (the buckets, and META), as one node sees it; None where nobody does."""

    owners: tuple[Place | None, ...]
    masters: frozenset[Place]
    others: frozenset[Place]  # replicas: they know the cluster too, when all masters that we know are gone


def read_slots(reply: Any, *, slots: Sequence[int], asked: Place) -> Layout:
    """Read CLUSTER SLOTS. A node that does not know its own name is the one that was `asked`.

    Raises ValueError when it is not such an answer.
    """
    owners: list[Place | None] = [None] * len(slots)
    masters: set[Place] = set()
    others: set[Place] = set()
    try:
        for first, last, master, *replicas in reply:
            place = _place(master, asked)
            masters.add(place)
            others |= {_place(replica, asked) for replica in replicas}
            for number, slot in enumerate(slots):
                if first <= slot <= last:
                    owners[number] = place
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        raise ValueError("this is no answer to CLUSTER SLOTS") from error
    return Layout(tuple(owners), frozenset(masters), frozenset(others - masters))


def read_moved(error: str, *, asked: Place) -> tuple[int, Place]:
    """Read `MOVED slot host:port` (or ASK). An empty host is the one that was `asked`. Raises ValueError."""
    _, slot, address = error.split(" ")[:3]
    host, _, port = address.rpartition(":")
    return int(slot), (host.strip("[]") or asked[0], int(port))


def _place(node: Any, asked: Place) -> Place:
    host = (node[0] or b"").decode()
    return (asked[0] if host in {"", "?"} else host), int(node[1])


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ _POLYNOMIAL if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc
