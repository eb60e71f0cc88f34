"""A front that gives a server TLS, for a redis-server that was built without; who speaks plainly is let through."""

import socket
import ssl
from contextlib import suppress
from threading import Thread
from typing import Final, Self

HANDSHAKE: Final = b"\x16"  # the first byte of whoever begins with TLS


class TlsFront:
    """Listens on a port of its own. `hellos` counts who came with TLS and believed the certificate."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._behind = port
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.hellos = 0

    def __enter__(self) -> Self:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                Thread(target=self._serve, args=(self._listening.accept()[0],), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with suppress(OSError), caller, socket.create_connection(("127.0.0.1", self._behind)) as behind:
            if caller.recv(1, socket.MSG_PEEK) != HANDSHAKE:
                self._couple(caller, behind)
                return
            with self._context.wrap_socket(caller, server_side=True) as secured:
                self.hellos += 1
                self._couple(secured, behind)

    def _couple(self, one: socket.socket, other: socket.socket) -> None:
        back = Thread(target=_pump, args=(other, one), daemon=True)
        back.start()
        _pump(one, other)
        back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Forward until either end hangs up; then nothing goes either way."""
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
