"""The only place that opens the sockets that clients come to, and says what is in the way."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from sessionware.config.proxy_rows import host_and_port
from sessionware.config.settings import Settings
from sessionware.errors import ConfigError
from sessionware.standalone.server import BACKLOG


def listen(host: str, port: int, *, named: str) -> list[socket.socket]:
    """Sockets on every address of the host; port 0 is any free one, the same on each. Raises ConfigError.

    `named` is how the user called the port.
    """
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"the host {host!r} is not known here: {error.strerror or error}") from error
    sockets: list[socket.socket] = []
    for family, address in dict.fromkeys((each[0], each[4][0]) for each in found):
        try:
            sockets.append(_bound(family, str(address), port))
        except OSError as error:
            for each in sockets:
                each.close()
            raise ConfigError(_what_is_wrong(error, host, port, named)) from error
        port = port or sockets[0].getsockname()[1]
    return sockets


def listen_for_admin(bind: str | None) -> list[socket.socket]:
    """Where ADMIN_BIND says; nowhere without it. Raises ConfigError."""
    if bind is None:
        return []
    host, port = host_and_port(bind)
    return listen(host, port, named="ADMIN_BIND")


def listen_for_clients(settings: Settings) -> list[socket.socket]:
    """Where HOST and PORT say. Raises ConfigError."""
    return listen(settings.host, settings.port, named="PORT")


def url_of(listening: Sequence[socket.socket]) -> str:
    """The URL of the first socket, by a name that this machine knows itself by."""
    host, port = listening[0].getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104  # that is what is asked about
        return f"http://127.0.0.1:{port} (on every address)"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bound(family: int, address: str, port: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        bound.bind((address, port))
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _what_is_wrong(error: OSError, host: str, port: int, named: str) -> str:
    way_out = f"choose another (--{named.lower().replace('_', '-')}, SESSIONWARE_{named})"
    any_free = "--port 0" if named == "PORT" else f"--admin-bind {host}:0"
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} on {host} is taken: stop what listens there, or {way_out}; {any_free} takes a free one"
        case errno.EACCES:
            return f"port {port} on {host} is not for this user: ports below 1024 want privileges; {way_out}"
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine: write 127.0.0.1, 0.0.0.0 or one of its own"
        case _:
            return f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}"
