"""The only place that counts how many connections each peer of this process holds (PX-10)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from sessionware.core.request import client_group


class Peers:
    """Of an IPv6 address its /64 counts, which one host owns. `is_free`: whose connections are not counted."""

    def __init__(self, is_free: Callable[[str | None], bool]) -> None:
        self._is_free = is_free
        self._held: dict[str, int] = {}

    def came(self, address: str | None) -> int:
        """How many this peer holds now, with the one that was just opened; 0: it may hold any number."""
        if self._is_free(address):
            return 0
        group = client_group(address)
        held = self._held[group] = self._held.get(group, 0) + 1
        return held

    def went(self, address: str | None) -> None:
        """One that came has gone."""
        group = client_group(address)
        held = self._held.get(group, 0)
        if held > 1:
            self._held[group] = held - 1
        else:
            self._held.pop(group, None)


def is_of_this_machine(address: str | None) -> bool:
    """Whether the peer is a proxy, a tunnel or a user of this very machine: they stand for many, or need no attack."""
    if address is None:
        return True
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
