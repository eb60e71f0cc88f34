"""What open event streams cost: memory of the proxy for each, and the time from the upstream's write to the client."""

from __future__ import annotations

import select
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from benchmarks import proxy_requests as requests
from benchmarks.measure import figure, table
from benchmarks.processes import Program
from benchmarks.proxy_standing import Standing, mcp_url

PER_USER: Final = 20  # sessions, under the cap of the standalone proxy
SILENCE_S: Final = 20.0  # an event that takes longer is lost
PAUSE_S: Final = 0.002  # between two events that are measured one by one


class Streams(Struct):
    """Of one run. Times are from the upstream's write of an event until the client has read it."""

    streams: int
    open_seconds: float
    bytes_per_stream: float  # of the proxy's resident memory
    events: int
    one_p50_ms: float  # an event now and then, while all the streams are open
    one_p99_ms: float
    all_p50_ms: float  # one event to each at once
    all_p99_ms: float


class Clients:
    """So many open streams, read by one epoll."""

    def __init__(self, port: int, openings: list[bytes]) -> None:
        self._poll = select.epoll()
        self._sockets = [_opened(port, opening) for opening in openings]
        self._by_number = {each.fileno(): each for each in self._sockets}
        for number in self._by_number:
            self._poll.register(number, select.EPOLLIN)

    def events(self, count: int) -> list[float]:
        """The milliseconds that each of the next events was under way. Raises RuntimeError when they do not come."""
        took: list[float] = []
        while len(took) < count:
            ready = self._poll.poll(SILENCE_S)
            if not ready:
                raise RuntimeError(f"{len(took)} of {count} events came, and no more for {SILENCE_S:g} s")
            for number, _ in ready:
                come = self._by_number[number].recv(65536)
                now = time.perf_counter_ns()
                if not come:
                    raise RuntimeError("a stream was closed")
                took += [(now - int(line[6:])) / 1e6 for line in come.splitlines() if line.startswith(b"data: ")]
        return took

    def close(self) -> None:
        self._poll.close()
        for each in self._sockets:
            each.close()


def _opened(port: int, opening: bytes) -> socket.socket:
    """A stream whose head has come."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=SILENCE_S)
    connection.sendall(opening)
    head = b""
    while b"\r\n\r\n" not in head:
        come = connection.recv(65536)
        if not come:
            raise RuntimeError(f"no stream was opened: {head[:500]!r}")
        head += come
    if head[9:12] != b"200":
        raise RuntimeError(f"no stream was opened: {head[:500]!r}")
    return connection


def openings(port: int, count: int) -> list[bytes]:
    """The requests that open so many streams, each of a session of its own that was begun for it."""
    found = []
    for number in range(0, count, PER_USER):
        bearer = f"Bearer {requests.token(f'reader-{number}')}"
        ids = [requests.begun(port, bearer) for _ in range(min(PER_USER, count - number))]
        found += [requests.stream(each, bearer) for each in ids]
    return found


@contextmanager
def opened(port: int, asked: list[bytes]) -> Iterator[Clients]:
    clients = Clients(port, asked)
    try:
        yield clients
    finally:
        clients.close()


def measured(*, streams: int, events: int) -> Streams:
    """Open so many streams, and let the upstream write to them."""
    with ExitStack() as stack:
        standing = Standing(stack, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        upstream = standing.own_upstream()
        ours = standing.ours(mcp_url(upstream))
        asked = openings(ours.port, streams)
        with opened(ours.port, openings(ours.port, PER_USER)):
            pass  # what the first streams cost once is no stream's own
        before, begun = ours.resident_bytes(), time.perf_counter()
        clients = stack.enter_context(opened(ours.port, asked))
        took = time.perf_counter() - begun
        each = (ours.resident_bytes() - before) / streams
        teller = Teller(stack, upstream)
        teller.tell("/all")
        clients.events(streams)
        one = [_now_and_then(teller, clients) for _ in range(events)]
        teller.tell("/all")
        burst = clients.events(streams)
    return Streams(streams, took, each, events, *_percentiles(one), *_percentiles(burst))


class Teller:
    """Makes the upstream write events, over a connection that passes no proxy."""

    def __init__(self, stack: ExitStack, upstream: Program) -> None:
        self._socket = stack.enter_context(socket.create_connection(("127.0.0.1", upstream.port), timeout=SILENCE_S))

    def tell(self, path: str) -> None:
        self._socket.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        self._socket.recv(65536)


def _now_and_then(teller: Teller, clients: Clients) -> float:
    teller.tell("/")
    (took,) = clients.events(1)
    time.sleep(PAUSE_S)
    return took


def _percentiles(took: list[float]) -> tuple[float, float]:
    took = sorted(took)
    return took[len(took) // 2], took[int(len(took) * 0.99)]


def shown(found: Streams) -> str:
    return table([
        [f"{found.streams:,} event streams", "", "p50 ms", "p99 ms"],
        [f"opened in {found.open_seconds:.1f} s", f"{found.bytes_per_stream / 1000:.1f} KB each", "", ""],
        [f"{found.events:,} events, one by one", "", f"{found.one_p50_ms:.2f}", f"{found.one_p99_ms:.2f}"],
        ["an event to each at once", "", f"{found.all_p50_ms:.1f}", f"{found.all_p99_ms:.1f}"],
    ])  # fmt: skip


def verdicts(found: Streams) -> list[list[str]]:
    """The figures to reach, in this run."""
    return [
        figure(
            f"memory of each of {found.streams:,} streams", found.bytes_per_stream / 1000, at_most=20, form="{:.1f} KB"
        ),
        figure("event through the proxy, p50", found.one_p50_ms, at_most=5, form="{:.2f} ms"),
        figure("event through the proxy, p99", found.one_p99_ms, at_most=5, form="{:.2f} ms"),
    ]
