"""The only place that makes load: connections that each send one request again and again, in a process of its own.

The wish comes as JSON on standard input, what was found goes to standard output. Nothing but the standard library and
one epoll: what a request costs here is a few microseconds, or the load itself would be what is measured.
"""

from __future__ import annotations

import json
import re
import select
import socket
import subprocess
import sys
import time
from typing import Any, Final

ANSWER_WITHIN_S: Final = 20.0  # a server that is silent for so long has failed
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


def load(port: int, requests: list[bytes], *, seconds: float = 3600.0, count: int = 10**9) -> dict[str, Any]:
    """One connection for each of the requests, until time is up or so many answers came.

    Answers `answers`, `seconds`, `per_second`, `p50_us`, `p99_us` and `busy`: how much of a core the load itself took
    (at 1.0 it is what was measured). Raises when an answer is not a 2xx.
    """
    wish = {"port": port, "seconds": seconds, "count": count, "requests": [each.decode("latin-1") for each in requests]}
    command = [sys.executable, "-m", "benchmarks.proxy_load"]
    done = subprocess.run(command, input=json.dumps(wish), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class _Line:
    """One connection, its request, and what has come of the answer."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WITHIN_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = request
        self.come = b""
        self.sent_at = 0

    def send(self) -> None:
        self.sent_at = time.perf_counter_ns()
        self.socket.sendall(self.request)

    def is_answered(self) -> bool:
        """Take what is there. Raises ValueError when it is not the answer that was hoped for."""
        come = self.socket.recv(65536)
        if not come:
            raise ValueError(f"the connection was closed after {self.come[:200]!r}")
        self.come = come = self.come + come if self.come else come
        head = come.find(b"\r\n\r\n")
        if head < 0:
            return False
        if come[9:10] != b"2":
            raise ValueError(f"not a good answer: {come[:600]!r}")
        length = _LENGTH.search(come, 0, head)
        if length is None:
            is_whole = _CHUNKED.search(come, 0, head) is not None and come.endswith(b"\r\n0\r\n\r\n")
        else:
            is_whole = len(come) >= head + 4 + int(length[1])
        if is_whole:
            self.come = b""
        return is_whole


def _drive(port: int, requests: list[bytes], seconds: float, count: int) -> dict[str, Any]:
    lines = [_Line(port, request) for request in requests]
    by_number = {line.socket.fileno(): line for line in lines}
    took: list[int] = []
    with select.epoll() as polled:
        for number, line in by_number.items():
            polled.register(number, select.EPOLLIN)
            line.send()
        begun, cpu = time.perf_counter(), time.process_time()
        until = begun + seconds
        while time.perf_counter() < until and len(took) < count:
            ready = polled.poll(ANSWER_WITHIN_S)
            if not ready:
                raise ValueError(f"no answer for {ANSWER_WITHIN_S:g} s")
            for number, _ in ready:
                line = by_number[number]
                if line.is_answered():
                    took.append(time.perf_counter_ns() - line.sent_at)
                    line.send()
        passed, cpu = time.perf_counter() - begun, time.process_time() - cpu
    took.sort()
    return {
        "answers": len(took),
        "seconds": passed,
        "per_second": len(took) / passed,
        "busy": cpu / passed,
        "p50_us": took[len(took) // 2] / 1000,
        "p99_us": took[int(len(took) * 0.99)] / 1000,
    }


if __name__ == "__main__":
    given = json.load(sys.stdin)
    asked = [each.encode("latin-1") for each in given["requests"]]
    try:
        print(json.dumps(_drive(given["port"], asked, given["seconds"], given["count"])))
    except (OSError, ValueError) as failed:
        sys.exit(str(failed))
