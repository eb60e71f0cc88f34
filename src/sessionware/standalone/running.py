"""The only place that starts `sessionware proxy` from its settings: alone, or as several processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from socket import socket
from typing import Final

from sessionware.assembly.proxying import assembled
from sessionware.config.load import Loaded
from sessionware.standalone.announcing import announce
from sessionware.standalone.listening import listen_for_admin, listen_for_clients, url_of
from sessionware.standalone.supervisor import Place, Supervisor
from sessionware.standalone.worker import Seat, log_as, work

log: Final = logging.getLogger("sessionware")


def run(loaded: Loaded, *, tell: Callable[[str], object] | None = None) -> int:
    """Serve until a signal says otherwise; the exit code. Raises ConfigError for what can never work.

    `tell` is given our URL once it is served, and says what else is to be said.
    """
    proxy = loaded.proxy
    assert proxy is not None, "the settings are those of the proxy"  # noqa: S101  # the command has read them so
    log_as(loaded)
    assembled(loaded, api="/")  # what is wrong with it is said once, before there are workers
    clients = listen_for_clients(loaded.settings)
    admin = listen_for_admin(proxy.admin_bind)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    started = _announcing(loaded, clients, admin) if tell is None else lambda: tell(url_of(clients))
    if loaded.settings.workers == 1:
        return work(loaded, Seat(clients=clients, admin=admin, started=started))

    def seated(place: Place) -> int:
        seat = Seat(clients=clients, admin=admin, started=place.started, lifeline=place.lifeline, folder=place.folder)
        return work(loaded, seat)

    drain_ms = proxy.drain_delay + proxy.drain_timeout
    sockets = [*clients, *admin]
    return Supervisor(seated, workers=loaded.settings.workers, drain_ms=drain_ms, sockets=sockets).run(started)


def _announcing(loaded: Loaded, clients: Sequence[socket], admin: Sequence[socket]) -> Callable[[], None]:
    return lambda: announce(loaded, clients, admin)
