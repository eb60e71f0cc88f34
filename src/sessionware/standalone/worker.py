"""The only place that puts one process together: the proxy, its pages, its log, its doors, its signals."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop
from msgspec import Struct

from sessionware.asgi.messages import App
from sessionware.assembly import Sessionware
from sessionware.assembly.proxying import Assembled, assembled
from sessionware.config.load import Loaded
from sessionware.config.proxy_settings import ProxySettings
from sessionware.config.settings import Settings
from sessionware.config.shapes import is_loopback
from sessionware.core.ids import SessionKey
from sessionware.credentials.trusted_headers import read_proxies
from sessionware.proxy.pages import local_hosts
from sessionware.standalone.access_log import AccessLog
from sessionware.standalone.bounds import bounds_of_process
from sessionware.standalone.colleagues import Colleagues
from sessionware.standalone.counting import Counting
from sessionware.standalone.front import Front
from sessionware.standalone.leaving import Leaving
from sessionware.standalone.peers import Peers, is_of_this_machine
from sessionware.standalone.probes import PROBES, Probes, nowhere
from sessionware.standalone.readiness import readiness_of
from sessionware.standalone.server import Door, Drain, Server
from sessionware.standalone.traffic import Traffic
from sessionware.telemetry.logs import configure_logging

GARBAGE_AFTER: Final = 10_000  # objects made until circles are looked for: requests leave none, and each look costs
LOGGED: Final = frozenset({"debug", "info"})  # levels at which each request has its line


class Seat(Struct, frozen=True, kw_only=True):
    """What a process is given: where clients come in, and how it tells that it serves.

    `lifeline` is a file descriptor that ends when the supervisor does, `folder` is where its siblings are; None:
    there are neither.
    """

    clients: Sequence[socket.socket]
    admin: Sequence[socket.socket] = ()
    started: Callable[[], object] = lambda: None
    lifeline: int | None = None
    folder: Path | None = None


def work(loaded: Loaded, seat: Seat) -> int:
    """Serve until a signal says otherwise; the exit code. Raises ConfigError for settings that cannot work."""
    ready = assembled(loaded, api="/")
    gc.freeze()  # what is there now stays as long as the process: nobody needs to look through it again and again
    gc.set_threshold(GARBAGE_AFTER)
    return uvloop.run(_serve(loaded, ready, seat))


def log_as(loaded: Loaded) -> None:
    """What we log, and what everybody else in this process does, in one format."""
    settings = loaded.settings
    configure_logging(settings.log_format, settings.log_level)
    ours, theirs = logging.getLogger("sessionware"), logging.getLogger()
    theirs.handlers = ours.handlers
    theirs.setLevel(max(ours.level, logging.WARNING))  # starts and ends are told by us


async def _serve(loaded: Loaded, ready: Assembled, seat: Seat) -> int:
    proxy = loaded.proxy
    assert proxy is not None, "the settings are those of the proxy"  # noqa: S101  # assembled() has looked
    leaving = Leaving()
    leaving.obey_signals(is_worker=seat.lifeline is not None)
    if seat.lifeline is not None:
        leaving.end_with(seat.lifeline)
    access_log = _access_log(loaded.settings)
    traffic = Traffic(ready.app.pools)
    counting = Counting(ready, traffic, folder=seat.folder)
    doors = _doors(ready, seat, leaving=leaving, counting=counting, access_log=access_log)
    server = Server(
        doors, bounds=bounds_of_process(), drain=_drain(proxy), leaving=leaving, peers=_peers(loaded.settings)
    )
    await counting.open(server)
    colleagues = await _colleagues(ready.front.sessionware, seat.folder)
    try:
        return await server.run(seat.started)
    finally:
        counting.close()
        if colleagues is not None:
            colleagues.close()
        if access_log is not None:
            access_log.flush()


async def _colleagues(sessionware: Sessionware, folder: Path | None) -> Colleagues | None:
    """The other workers of this proxy, if there are any, asked what a session does there."""
    if folder is None:
        return None

    def here(key: SessionKey) -> Sequence[Mapping[str, Any]]:
        return () if sessionware.at_work is None else sessionware.at_work.work.here(key)

    colleagues = Colleagues(folder, here)
    await colleagues.open()
    sessionware.elsewhere = colleagues.of
    return colleagues


def _doors(
    ready: Assembled, seat: Seat, *, leaving: Leaving, counting: Counting, access_log: AccessLog | None
) -> list[Door]:
    """The clients' door, and the administrators' where ADMIN_BIND has opened one: then some pages are only there."""
    placing = ready.app.placing

    def door(sockets: Sequence[socket.socket], app: App, *, is_private: bool) -> Door:
        has_all = is_private or not seat.admin
        probes = Probes(
            ready.front.sessionware,
            readiness=lambda: readiness_of(placing, is_draining=leaving.is_asked, shows_names=is_private),
            metrics=counting.shown,
            hosts=_hosts(ready, seat, is_private=is_private),
            shows_names=is_private,
        )
        front = Front(
            app,
            own=probes.pages(with_metrics=has_all),
            traffic=counting.traffic,
            access_log=access_log,
            administration=ready.administration if has_all else None,
        )
        return Door(sockets, front)

    doors = [door(seat.clients, ready.front, is_private=False)]
    return [*doors, door(seat.admin, nowhere, is_private=True)] if seat.admin else doors


def _hosts(ready: Assembled, seat: Seat, *, is_private: bool) -> tuple[str, ...]:
    """The names that a door goes by. Scrapers know the administrators' by its address, unless only we can reach it."""
    if not is_private:
        return ready.front.sessionware.settings.allowed_hosts
    return local_hosts(None) if all(is_loopback(each.getsockname()[0]) for each in seat.admin) else ()


def _access_log(settings: Settings) -> AccessLog | None:
    """None where the level leaves out what is no warning. Pages that are asked for each second fill no log."""
    if settings.log_level not in LOGGED:
        return None
    return AccessLog(settings.log_format, quiet=frozenset() if settings.log_level == "debug" else PROBES)


def _peers(settings: Settings) -> Peers:
    """Who is no single client is not counted as one."""
    proxies = read_proxies(settings.trusted_proxies)
    return Peers(lambda address: is_of_this_machine(address) or proxies.trusts(address))


def _drain(proxy: ProxySettings) -> Drain:
    return Drain(proxy.drain_delay / 1000, proxy.drain_timeout / 1000)
