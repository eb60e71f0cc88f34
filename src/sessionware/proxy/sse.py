"""The only place that looks into event streams: where an event ends, whether it can be resumed, and how one is ended.

Bytes are watched, never held back: whatever may be passed on is passed on as it comes.
"""

from __future__ import annotations

import re
from typing import Final

from sessionware.proxy.addresses import UpstreamAddress, own_place
from sessionware.proxy.mcp.answers import error_body
from sessionware.proxy.mcp.messages import RequestId

EVENT_MAX: Final = 4 << 20  # bytes of one event (PX-08)
ENDPOINT_MAX: Final = 16 << 10  # bytes up to the end of the `endpoint` event: a URL and little else
ENDPOINT: Final = "endpoint"
BOM: Final = b"\xef\xbb\xbf"
_TAIL: Final = 8  # bytes that are remembered: more than a line break and the name of a field
_ID_FIELD: Final = re.compile(rb"[\r\n](?:\xef\xbb\xbf)?id(?=[:\r\n])")
# A line break, and at once another: two characters tell, however CR and LF are mixed. `\r\n` alone is one break.
_ENDS: Final = (b"\n\n", b"\n\r", b"\r\r")
_EVENT: Final = re.compile(r"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")  # atomic: CR LF never counts as two
_EVENT_BYTES: Final = re.compile(_EVENT.pattern.encode())
_LINE: Final = re.compile(r"\r\n|\n|\r")


class SseScanner:
    """What has passed of one event stream. Told of every chunk, in order."""

    __slots__ = ("_is_cut", "_pending", "_tail", "event_max", "has_ids")

    def __init__(self, event_max: int = EVENT_MAX) -> None:
        self.event_max = event_max
        self.has_ids = False  # whether a field `id` was seen, so that the client can resume
        self._is_cut = False
        self._pending = 0
        self._tail = b"\n\n"  # a stream begins where an event may begin

    def fitting(self, chunk: bytes) -> bytes:
        """As much of it as comes before an event gets longer than `event_max`."""
        if self._pending + len(chunk) <= self.event_max:
            return chunk
        seen = self._tail + chunk
        begun = len(self._tail) - self._pending  # where the event has begun, seen from there
        ends = [found.end() for found in _EVENT_BYTES.finditer(seen) if found.end() > len(self._tail)]
        for end in [*ends, len(seen)]:
            if end - begun > self.event_max:
                self._is_cut = True
                return chunk[: max(0, begun + self.event_max - len(self._tail))]
            begun = end
        return chunk

    def feed(self, chunk: bytes) -> None:
        """Look at bytes that pass."""
        if not chunk:
            return
        seen = self._tail + chunk
        if not self.has_ids:
            self.has_ids = _ID_FIELD.search(seen) is not None
        at = max(map(seen.rfind, _ENDS))  # in the tail, too: then it is the one that was found before
        end = at + 2
        if at >= 0 and seen[end - 1 : end + 1] == b"\r\n":  # the second break is CR LF
            end += 1
        self._pending = len(seen) - end if at >= 0 else self._pending + len(chunk)
        self._tail = seen[-_TAIL:]

    @property
    def is_inside_event(self) -> bool:
        """Whether what came last is the beginning of an event that has not ended."""
        return self._pending > 0

    @property
    def is_inside_line(self) -> bool:
        return not self._tail.endswith((b"\n", b"\r"))

    @property
    def is_overlong(self) -> bool:
        """Whether an event is longer than anybody should have to keep."""
        return self._is_cut or self._pending > self.event_max


def final_event(scanner: SseScanner, status: int, message: str, *, request_id: RequestId) -> bytes:
    """The end of a stream whose upstream is gone: a JSON-RPC error for the request that waits, well framed.

    A blank line comes first, so that it is an event of its own. What was begun and will never be whole would
    become an event by that: it is given a type that every client passes over, on a line of its own.
    """
    body = error_body(status, message, request_id=request_id)
    start = b"\n" if scanner.is_inside_line or not scanner.is_inside_event else b""
    start += b"event: interrupted\n\n" if scanner.is_inside_event else b""
    return start + b"event: message\ndata: " + body + b"\n\n"


def endpoint_event(url: str) -> bytes:
    """The first event of a stream of 2024-11-05: where the client sends its messages."""
    return f"event: {ENDPOINT}\ndata: {url}\n\n".encode()


class EndpointFinder:
    """Finds the first `endpoint` event of a stream of 2024-11-05, so that another can stand in its place.

    Only an event is held back until it is known that it is another one, and only until the endpoint is found:
    `endpoint` is then what the upstream said, and `rest` are the bytes after that event.
    """

    __slots__ = ("_held", "endpoint", "rest")

    def __init__(self) -> None:
        self.endpoint: str | None = None
        self.rest = b""
        self._held = b""

    @property
    def is_overlong(self) -> bool:
        """Whether more is held back than an endpoint can be: the upstream does not speak this protocol."""
        return len(self._held) > ENDPOINT_MAX

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that may pass now: whole events before the endpoint, and everything once it is found."""
        if self.endpoint is not None:
            return chunk
        held = (self._held + chunk).decode("latin-1")  # one character for each byte
        passed = 0
        for found in _EVENT.finditer(held):
            fields = _fields(held[passed : found.start()])
            if fields.get("event") == ENDPOINT:
                self.endpoint = fields.get("data", "").encode("latin-1").decode("utf-8", "replace")
                self._held, self.rest = b"", held[found.end() :].encode("latin-1")
                return held[:passed].encode("latin-1")
            passed = found.end()
        self._held = held[passed:].encode("latin-1")
        return held[:passed].encode("latin-1")


def endpoint_target(endpoint: str, upstream: UpstreamAddress) -> bytes | None:
    """Where messages go, as a path and a query of the same upstream; None: to another place, or nowhere."""
    parts = own_place(upstream, endpoint, base=upstream.path or "/")
    if parts is None:
        return None
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return target.encode() if re.fullmatch(r"/(?!/)[!-~]*", target, re.ASCII) and "#" not in target else None


def _fields(event: str) -> dict[str, str]:
    """The fields of one event; lines of `data` are joined, of any other field the last one counts."""
    found: dict[str, str] = {}
    for line in _LINE.split(event.removeprefix(BOM.decode("latin-1"))):
        name, _, value = line.partition(":")
        if not name:
            continue
        value = value.removeprefix(" ")
        found[name] = f"{found[name]}\n{value}" if name == "data" and name in found else value
    return found
