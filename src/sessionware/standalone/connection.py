"""The only place that bounds what a client sends: uvicorn's HTTP/1.1 protocol with deadlines and sizes.

Nothing here sets a timer: the watch asks every connection twice a second whether its time is up.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from sessionware.proxy.mcp.answers import error_body
from sessionware.standalone.gathering import Gathering
from sessionware.standalone.watch import Watch

BAD_REQUEST: Final = 400
TIMEOUT: Final = 408
TOO_LARGE: Final = 431
UNAVAILABLE: Final = 503
UNMET: Final = 417
_VERSIONS: Final = frozenset({"1.0", "1.1"})
_LOOKED_AT: Final = frozenset({b"expect", b"transfer-encoding"})


class Receiving(Enum):
    """What of a request is on its way."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


class BadFraming(Exception):
    """Raised through the parser: it stops at once."""


class Connection(HttpToolsProtocol):
    """One client's connection. `watch` keeps what all of a process have in common.

    It inherits because uvicorn offers no other way to bound what it reads.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        watch: Watch,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._watch = watch
        self._bounds = watch.bounds
        self._receiving = Receiving.HEAD
        self._since = watch.now
        self._head = self._latest = 0  # bytes of the head so far, and of what was read last
        self._wire = self._seen = self._chunks = 0  # of the body: bytes read, bytes of content, chunks
        self._waited = self._quiet = 0.0  # seconds that we have waited for the body, and for its next byte
        self._wire_before = 0
        self._fault: tuple[int, str] | None = None

    # ------------------------------------------------------------------ the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(cast("asyncio.Transport", Gathering(transport, self.loop)))
        self._peer = self.client[0] if self.client else None
        excess, why = self._watch.came(self._peer)
        if excess > self._bounds.reserve:
            self._refuse(UNAVAILABLE, why, extra=b"retry-after: 1\r\n")
        elif excess > 0:
            self.app = self._watch.overloaded(self.app, why)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._watch.lost(self._peer)

    def data_received(self, data: bytes) -> None:
        self._latest = len(data)
        if self._receiving is Receiving.NOTHING:
            self._receiving, self._since, self._head = Receiving.HEAD, self._watch.now, 0
        if self._receiving is Receiving.HEAD:
            self._head += self._latest
        else:
            self._wire += self._latest
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False  # what follows is no HTTP that we know: RFC 9110 7.8 lets us ignore it
        except httptools.HttpParserError:
            self._refuse(*(self._fault or (BAD_REQUEST, "Invalid request")))
        else:
            if self._receiving is not Receiving.NOTHING:
                self._look_at_what_is_missing()

    def _look_at_what_is_missing(self) -> None:
        """The request goes on: refuse it when what came of it is out of bounds."""
        bounds = self._bounds
        if self._receiving is Receiving.HEAD:
            if self._head > bounds.head_bytes:
                self._refuse(*self._too_large())
        elif self._wire - self._seen > bounds.framing + bounds.chunk_extra * self._chunks:
            self._refuse(BAD_REQUEST, "Invalid request: too much between the chunks of its body")

    # ------------------------------------------------------------------ what the parser finds

    def on_message_begin(self) -> None:
        self._receiving, self._head = Receiving.HEAD, self._latest  # of a pipelined one: at most that
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._receiving is not Receiving.HEAD:  # RFC 9110 6.5.1: a trailer must not become a header
            return
        name = name.lower()
        if name in _LOOKED_AT:
            self._look_at_field(name, value.strip(b" \t").lower())
        self.headers.append((name, value))

    def _look_at_field(self, name: bytes, value: bytes) -> None:
        """Fields that say how the request is to be read."""
        if name == b"expect":
            if value != b"100-continue":  # RFC 9110 10.1.1
                self._fault = UNMET, "Expectation failed: only 100-continue is known"
                raise BadFraming
            self.expect_100_continue = True
        elif value != b"chunked":
            self._fault = BAD_REQUEST, "Invalid request: of transfer codings only chunked is served"
            raise BadFraming

    def on_headers_complete(self) -> None:
        bounds, headers = self._bounds, self.headers
        if len(headers) > bounds.head_fields or (
            self._head > bounds.head_bytes
            and len(self.url) + sum(len(name) + len(value) + 4 for name, value in headers) > bounds.head_bytes
        ):
            self._fault = self._too_large()
            raise BadFraming
        self._look_at_line()
        self._receiving = Receiving.BODY
        self._wire, self._seen, self._chunks = self._latest, 0, 0
        self._waited = self._quiet = 0.0
        self._wire_before = 0
        super().on_headers_complete()
        if self._watch.is_leaving:
            self.cycle.keep_alive = False

    def _look_at_line(self) -> None:
        """PX-01: whose URL is whole takes us for a forward proxy, and another Host than the header's would count."""
        if not self.url.startswith(b"/") and self.url != b"*":
            self._fault = (
                BAD_REQUEST,
                "Invalid request: its target is a path, not a whole URL: this is no forward proxy",
            )
            raise BadFraming
        if self.parser.get_http_version() not in _VERSIONS:
            self._fault = BAD_REQUEST, "Invalid request: HTTP/1.1 is spoken here"
            raise BadFraming

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        self._seen += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._receiving, self._since = Receiving.NOTHING, self._watch.now
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.more_body = False
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        """As uvicorn's, without its timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._receiving is Receiving.NOTHING:
            self._since = self._watch.now
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._watch.is_leaving and self._receiving is Receiving.NOTHING:
            self.transport.close()

    # ------------------------------------------------------------------ time

    @property
    def is_answering(self) -> bool:
        """Whether a request was read whose answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def look_at_the_clock(self, passed: float) -> None:
        """Close the connection when its time is up; `passed` seconds after the last look."""
        bounds, waited = self._bounds, self._watch.now - self._since
        if self._receiving is Receiving.BODY:
            self._look_at_the_body(passed)
        elif self.is_answering:
            return
        elif self._receiving is Receiving.NOTHING:
            if waited >= bounds.keep_alive_s:
                self.transport.close()
        elif waited >= bounds.head_s:
            self._refuse(TIMEOUT, "The head of the request did not come in time")

    def _look_at_the_body(self, passed: float) -> None:
        """Only while we wait for it: a client whom nobody reads from cannot send."""
        bounds = self._bounds
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._quiet = 0.0
            return
        self._waited += passed
        self._quiet = 0.0 if self._wire > self._wire_before else self._quiet + passed
        self._wire_before = self._wire
        is_slow = self._wire < bounds.body_rate * (self._waited - bounds.stall_s)
        if self._quiet >= bounds.stall_s or is_slow:
            self._refuse(TIMEOUT, "The body of the request did not come in time")

    def shutdown(self) -> None:
        """No more requests: idle connections close at once, the others after the answer that they wait for."""
        if self.is_answering:
            self.cycle.keep_alive = False
        elif self._receiving is Receiving.NOTHING:
            self.transport.close()

    # ------------------------------------------------------------------ refusing

    def _too_large(self) -> tuple[int, str]:
        bounds = self._bounds
        limit = f"at most {bounds.head_fields} fields and {bounds.head_bytes} bytes"
        return TOO_LARGE, f"Request header fields too large: {limit}"

    def _refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        """Say why, where no answer has begun, and close. A body of JSON-RPC keeps MCP clients in their era."""
        if self.transport.is_closing():
            return
        self._watch.turned_away[status] += 1
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_refusal(status, message, extra))
        self.transport.close()


def _refusal(status: int, message: str, extra: bytes) -> bytes:
    body = error_body(status, message)
    return (
        STATUS_LINE[status]
        + b"content-type: application/json\r\ncache-control: no-store\r\ncontent-length: %d\r\n" % len(body)
        + extra
        + b"connection: close\r\n\r\n"
        + body
    )
