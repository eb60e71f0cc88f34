"""The only place that keeps what this worker has of one upstream: its connections, and how they went of late."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import Final

from sessionware.proxy.addresses import UpstreamAddress
from sessionware.proxy.health import (
    CLOSED,
    Failure,
    Health,
    Life,
    answered,
    connected,
    drained,
    failed,
    may_exchange,
    tried,
    unanswered,
    undrained,
)
from sessionware.proxy.wire import (
    Address,
    BadAnswer,
    Deadlines,
    MayBeDelivered,
    NotDelivered,
    Reason,
    Response,
    UpstreamRequest,
    Wire,
    WireFault,
    WireLimits,
)

_LIMITS: Final = WireLimits(connections=4_096)  # each open event stream holds one
WAIT_BOUNDS_MS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 1_000, 5_000, 30_000)  # the last bucket has none
# They tell nothing of the upstream: it was not asked.
_HARMLESS: Final = frozenset({Reason.NO_FREE_CONNECTION, Reason.WIRE_CLOSED, Reason.CIRCUIT_OPEN})


class Upstream:
    """One upstream at work. `in_flight` counts the exchanges that have not ended."""

    __slots__ = (
        "_loop", "address", "circuit", "health", "heard_at", "in_flight", "last_answer_at", "misses", "waited_s",
        "waits", "wire",
    )  # fmt: skip

    def __init__(self, address: UpstreamAddress) -> None:
        self.address = address
        self.wire = Wire(place_of(address), _LIMITS)
        self.health = Health()
        self.circuit = CLOSED
        self.in_flight = 0
        self.heard_at = 0.0  # when it last took a connection, or answered on one
        self.last_answer_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.waits = [0] * (len(WAIT_BOUNDS_MS) + 1)  # answers by how long their head was waited for
        self.waited_s = 0.0
        self.misses = 0  # connections that it did not take

    @property
    def name(self) -> str:
        return self.address.name

    def may_exchange(self) -> bool:
        """Whether its circuit lets a request through."""
        return may_exchange(self.circuit, self._now_ms())

    async def exchange(self, request: UpstreamRequest, deadlines: Deadlines) -> Response:
        """Send a request; say `finish` when its answer is over. Raises as `Wire.send`; an open circuit NotDelivered."""
        circuit = self.circuit
        if circuit is not CLOSED:
            now = self._now_ms()
            if not may_exchange(circuit, now):
                raise NotDelivered(self.wire.address, Reason.CIRCUIT_OPEN, "it has failed again and again")
            self.circuit = tried(circuit, now)
        began = self._time()
        self.in_flight += 1
        try:
            response = await self.wire.send(request, deadlines=deadlines)
        except BaseException as fault:
            self.in_flight -= 1
            if isinstance(fault, NotDelivered):
                self.missed(fault)
            elif isinstance(fault, MayBeDelivered | BadAnswer):
                self._unanswered(fault, began)
            raise
        self._heard()
        self.last_answer_at = self.heard_at
        self._answered_after(self.heard_at - began)
        if self.circuit is not CLOSED:
            self.circuit = answered(self.circuit)
        return response

    async def finish(self, response: Response) -> None:
        """The answer was passed on, or nobody wants the rest of it."""
        self.in_flight -= 1
        await response.aclose()

    async def probe(self, within: float) -> None:
        """Find out whether it takes connections at all."""
        try:
            await self.wire.probe(within)
        except NotDelivered as fault:
            self.missed(fault)
        else:
            self._heard()

    def _answered_after(self, waited_s: float) -> None:
        self.waits[bisect_left(WAIT_BOUNDS_MS, waited_s * 1000)] += 1
        self.waited_s += waited_s

    def missed(self, fault: NotDelivered) -> None:
        """It took no connection."""
        if fault.reason in _HARMLESS:
            return
        self.misses += 1
        how = Failure.REFUSED if fault.reason is Reason.CONNECT_REFUSED else Failure.SILENT
        self.health = failed(self.health, how, self._now_ms())

    def leave(self) -> None:
        """Its address is no longer among those that its name stands for."""
        self.health = drained(self.health)

    def come_back(self) -> None:
        self.health = undrained(self.health)

    def _heard(self) -> None:
        self.heard_at = self._time()
        if self.health.failing_since is not None or self.health.life is not Life.UP:
            self.health = connected(self.health)

    def _unanswered(self, fault: WireFault, began: float) -> None:
        """It took the connection, and gave no answer. A slow tool is no broken upstream while others are answered."""
        if fault.is_timeout and self.last_answer_at >= began:
            return
        self._heard()
        self.circuit = unanswered(self.circuit, self._now_ms())

    def _time(self) -> float:
        loop = self._loop
        if loop is None:  # asked for once: until Python 3.12 it asks the kernel for the process id
            loop = self._loop = asyncio.get_running_loop()
        return loop.time()

    def _now_ms(self) -> int:
        return int(self._time() * 1000)


def place_of(address: UpstreamAddress) -> Address:
    """Where its wire leads."""
    if address.scheme == "unix":
        return Address(unix_path=address.host)
    return Address(host=address.host, port=address.port, tls=address.is_tls, server_name=address.known_as)
