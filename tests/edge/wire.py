"""The only place that writes requests byte by byte, and reads what came back."""

import contextlib
import io
import json
import socket
from collections.abc import Iterable, Sequence
from http.client import HTTPException, HTTPResponse
from typing import Any, Final

Header = tuple[str, str | bytes]

CHUNK: Final = 65_536


class Answer:
    """One response as it came: `raw` is every byte until the server hung up."""

    def __init__(self, raw: bytes, *, method: str = "GET") -> None:
        self.raw = raw
        response = HTTPResponse(_Bytes(raw), method=method)  # type: ignore[arg-type]  # it wants `makefile` and nothing else
        response.begin()
        self.status = response.status
        self.headers = [(name.lower(), value) for name, value in response.getheaders()]
        self.body = response.read()

    def __repr__(self) -> str:
        return f"<{self.status} {self.headers} {self.body[:400]!r}>"

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The stable code of a refusal of ours; None for everything else."""
        found = self.json.get("code") if self.header("content-type") == "application/problem+json" else None
        assert found is None or isinstance(found, str)
        return found

    @property
    def heads(self) -> int:
        """How many responses were begun on the connection."""
        return self.raw.count(b"HTTP/1.1 ")

    def header(self, name: str) -> str | None:
        """The value of a header that is there at most once."""
        values = self.all(name)
        assert len(values) < 2, f"{name} is there twice: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each == name]


def request(
    method: str = "GET", target: str | bytes = "/", headers: Iterable[Header] = (), body: bytes = b"", *,
    host: str | bytes | None = "app.test",
) -> bytes:  # fmt: skip
    """The bytes of a request whose answer ends the connection. Values are sent as they are, however wrong."""
    lines = [method.encode() + b" " + _bytes(target) + b" HTTP/1.1", b"Connection: close"]
    if host is not None:
        lines.append(b"Host: " + _bytes(host))
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    lines += [name.encode() + b": " + _bytes(value) for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def exchange(connection: socket.socket, sent: bytes) -> Answer | None:
    """Send bytes and read to the end; None when the server hung up without an answer."""
    with connection, contextlib.suppress(ConnectionError):
        connection.sendall(sent)
        # A server may answer and close before it has read everything.
        received = read_all(connection)
        return answer_of(received, method=sent.partition(b" ")[0].decode("latin-1"))
    return None


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes its side."""
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(CHUNK):
            received += chunk
    return bytes(received)


def answer_of(received: bytes, *, method: str = "GET") -> Answer | None:
    """The answer to a request of that method, None when there is none."""
    try:
        return Answer(received, method=method) if received else None
    except HTTPException:
        return None


def all_of(answers: Sequence[Answer | None]) -> list[Answer]:
    """The answers, none of which is missing."""
    found = [answer for answer in answers if answer is not None]
    assert len(found) == len(answers)
    return found


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


class _Bytes:
    """Bytes that were received already, where a socket is expected."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)
