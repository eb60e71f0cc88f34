"""The only place where an upstream of the suite answers with bytes that no decent server would send."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from msgspec import Struct

IDLE_S = 10.0


class Canned(Struct):
    """Where it stands, and the heads that it was sent."""

    url: str
    heard: list[bytes]


@contextlib.contextmanager
def canned(answer: bytes, *, path: str = "/mcp") -> Iterator[Canned]:
    """Answers every request with these bytes and closes; connections on which nothing is said are let go."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = Canned(f"http://127.0.0.1:{listening.getsockname()[1]}{path}", [])
        thread = threading.Thread(target=_serve, args=(listening, answer, found.heard))
        thread.start()
        try:
            yield found
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(IDLE_S)
            assert not thread.is_alive()


def _serve(listening: socket.socket, answer: bytes, heard: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # it was shut down
        while True:
            connection, _ = listening.accept()
            connection.settimeout(IDLE_S)
            with connection, contextlib.suppress(OSError):
                head = _head(connection)
                if head:
                    heard.append(head)
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass


def _head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(65536)
        if not more:
            return b""
        head += more
    return head
