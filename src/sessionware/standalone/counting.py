"""The only place that answers `/metrics`: what all workers have counted, whichever of them is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sessionware.assembly.proxying import Assembled
from sessionware.standalone.collecting import of_door, of_store, of_worker
from sessionware.standalone.families import Family, families_of, merged, shown
from sessionware.standalone.server import Server
from sessionware.standalone.siblings import Siblings
from sessionware.standalone.traffic import Traffic
from sessionware.telemetry.prometheus import Collector


class Counting:
    """The counts of one worker, and its way to the others; without a `folder` it is alone."""

    def __init__(self, ready: Assembled, traffic: Traffic, *, folder: Path | None = None) -> None:
        self.traffic = traffic
        self._ready = ready
        self._server: Server | None = None
        self._siblings = None if folder is None else Siblings(folder, self.own)

    async def open(self, server: Server) -> None:
        """Count what comes to this server's doors too, and answer siblings from now on."""
        self._server = server
        if self._siblings is not None:
            await self._siblings.open()

    def close(self) -> None:
        """Leave a last word for the siblings."""
        if self._siblings is not None:
            self._siblings.close()

    def own(self) -> tuple[Family, ...]:
        """What this worker has counted."""
        return families_of(self._collected())

    async def shown(self) -> bytes:
        """As Prometheus reads it."""
        engine = self._ready.front.sessionware.at_work
        of_all = [] if engine is None else await of_store(engine.runtime)
        counted = [self.own()] if self._siblings is None else await self._siblings.gather()
        return shown(merged([*counted, families_of(of_all)]))

    def _collected(self) -> Iterator[Any]:
        engine = self._ready.front.sessionware.at_work
        if engine is not None:
            yield from Collector(engine.runtime.telemetry.counts).collect()
        if self._server is not None:
            yield from of_door(len(self._server.connections), self._server.turned_away)
        yield from of_worker(self.traffic, self._ready.app.placing)
