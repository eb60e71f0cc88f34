"""The only place that listens: what other workers did, on a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

from sessionware.core.facts import Event, OrgLimitsNow
from sessionware.core.ids import OWNER_BYTES
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.broadcast import Broadcast, Watch
from sessionware.stores.postgres import answers, faults
from sessionware.stores.postgres.server import Server

RETRY_S: Final = 0.5  # between attempts to listen again: within the second that an event may take
PULSE_S: Final = 5.0  # a subscription that is silent is asked this often whether it still stands
ANSWER_S: Final = 2.0  # how long the server may take to answer then
_ORGS: Final = "SELECT org, limit_names, limit_values FROM orgs"
_THESE: Final = f"{_ORGS} WHERE org = ANY($1::bytea[])"
_ORG_CHANGED: Final = "W"  # the one event that says only where to look: a payload holds 8000 bytes at most

log = logging.getLogger("sessionware.store")


class Subscription:
    """One subscription per store object, made when somebody first watches, remade when it breaks."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._orgs: dict[bytes, OrgLimitsNow] = {}
        self._broadcast = Broadcast(lambda: tuple(self._orgs.values()))
        self._task: asyncio.Task[None] | None = None
        self._changed: set[bytes] = set()  # organisations whose overrides are to be read anew
        self._held: list[Event] | None = None  # what was told after that: watchers hear it in this order
        self._wake = asyncio.Event()
        self._is_connected = False
        self._has_warned = False

    def watch(self) -> Watch:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep_listening())
        return self._broadcast.watch(connected=self._is_connected)

    async def close(self) -> None:
        self._broadcast.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _keep_listening(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable, ConfigError, *faults.ANY):
                await self._listen()
            await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        """Listen, tell the watchers what they may have missed, and stay until the connection breaks."""
        connection = await self._server.open()
        self._changed, self._held = set(), None
        try:
            connection.add_termination_listener(lambda _: self._wake.set())
            async with asyncio.timeout(ANSWER_S):
                await connection.add_listener(self._server.address.channel, self._hear)
                self._orgs = self._read(await connection.fetch(_ORGS))
            self._is_connected = True
            self._broadcast.resync()
            while not connection.is_closed():
                await self._wait()
                if self._changed:
                    await self._tell_changed(connection)
                else:
                    await connection.execute("SELECT", timeout=ANSWER_S)
        finally:
            self._is_connected = False
            connection.terminate()

    async def _wait(self) -> None:
        """Until an organisation changed, the connection broke, or it is time to ask whether it stands."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PULSE_S):
                await self._wake.wait()
        self._wake.clear()

    async def _tell_changed(self, connection: Any) -> None:
        changed, self._changed = self._changed, set()
        found = self._read(await connection.fetch(_THESE, list(changed), timeout=ANSWER_S))
        for org in changed:
            event = self._orgs[org] = found.get(org, OrgLimitsNow(org, {}))
            self._broadcast.publish(event)
        if not self._changed:
            held, self._held = self._held or [], None
            for each in held:
                self._broadcast.publish(each)

    def _read(self, rows: Any) -> dict[bytes, OrgLimitsNow]:
        read = {}
        for org, names, values in rows:
            try:
                read[org] = OrgLimitsNow(org, answers.overrides(names, values))
            except answers.DAMAGED:
                self._warn("the overrides of an organisation cannot be read")
        return read

    def _hear(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        try:
            if payload.startswith(_ORG_CHANGED):
                self._changed.add(_org(payload))
                self._held = self._held or []
                self._wake.set()
                return
            event: Event | None = answers.event(payload)
        except answers.DAMAGED:
            self._warn("a message cannot be read")
            return
        if event is not None and self._held is not None:
            self._held.append(event)
        elif event is not None:
            self._broadcast.publish(event)

    def _warn(self, what: str) -> None:
        """Once per store: whoever writes nonsense may write a lot of it."""
        if not self._has_warned:
            self._has_warned = True
            log.warning("%s: %s and is ignored: does something else write there?", self._server.address.channel, what)


def _org(payload: str) -> bytes:
    """The organisation that a message is about. Raises ValueError."""
    org = bytes.fromhex(payload[1:])
    if len(org) != OWNER_BYTES:
        raise ValueError("not the hash of an organisation")
    return org
