"""The only place that keeps what this worker has of each upstream: its connections, and how they went of late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from sessionware.proxy.addresses import UpstreamAddress
from sessionware.proxy.health import Failure, Health, connected, failed
from sessionware.proxy.upstreams import Pool
from sessionware.proxy.wire import Address, NotDelivered, Reason, Wire, WireLimits

_LIMITS: Final = WireLimits(connections=4_096)  # each open event stream holds one
_HARMLESS: Final = frozenset({Reason.NO_FREE_CONNECTION, Reason.WIRE_CLOSED})  # they tell nothing of the upstream


class Upstream:
    """One upstream at work."""

    def __init__(self, address: UpstreamAddress) -> None:
        self.address = address
        self.wire = Wire(_place(address), _LIMITS)
        self.health = Health()

    @property
    def name(self) -> str:
        return self.address.name

    def heard(self) -> None:
        """It took a connection."""
        self.health = connected(self.health)

    def missed(self, fault: NotDelivered) -> None:
        """It took none."""
        if fault.reason in _HARMLESS:
            return
        how = Failure.REFUSED if fault.reason is Reason.CONNECT_REFUSED else Failure.SILENT
        self.health = failed(self.health, how, int(asyncio.get_running_loop().time() * 1000))


class Upstreams:
    """Those of all pools."""

    def __init__(self, pools: Iterable[Pool]) -> None:
        self._pools = {pool.name: {each.name: Upstream(each) for each in pool.upstreams} for pool in pools}

    def find(self, pool: str, name: str) -> Upstream | None:
        """One by its name; None: it is not configured any more."""
        return self._pools.get(pool, {}).get(name)

    def of(self, pool: str) -> Iterable[Upstream]:
        """All of one pool."""
        return self._pools.get(pool, {}).values()

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            for upstream in pool.values():
                await upstream.wire.aclose()


def _place(address: UpstreamAddress) -> Address:
    if address.scheme == "unix":
        return Address(unix_path=address.host)
    return Address(host=address.host, port=address.port, tls=address.is_tls, server_name=address.known_as)
