"""The only place that reads what a client sends over HTTP/1.1, and bounds it with deadlines and sizes.

Nothing here sets a timer: the watch asks every connection twice a second whether its time is up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from sessionware.asgi.messages import App
from sessionware.standalone.answering import Answering
from sessionware.standalone.refusing import BAD_REQUEST, TIMEOUT, UNAVAILABLE, UNMET, refusal, too_large
from sessionware.standalone.request_line import line_fault, scope_of
from sessionware.standalone.watch import Watch

_LOOKED_AT: Final = frozenset({b"expect", b"transfer-encoding"})


class Receiving(Enum):
    """What of a request is on its way."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


class BadFraming(Exception):
    """Raised through the parser: it stops at once."""


class Connection(asyncio.Protocol):
    """One client's connection. `watch` keeps what all of a process have in common.

    In place of uvicorn's own protocol, which has no bounds.
    """

    __slots__ = (
        "_app", "_awaits_go", "_bounds", "_chunks", "_client", "_fault", "_head", "_headers", "_is_paused", "_latest",
        "_parser", "_peer", "_quiet", "_receiving", "_seen", "_server", "_since", "_state", "_unanswered", "_url",
        "_waited", "_watch", "_wire", "_wire_before", "_writable", "answering", "is_behind", "loop", "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, app: App, state: Mapping[str, Any], *, watch: Watch) -> None:
        """Needs a running event loop. `state` is what the app's lifespan has left for its requests."""
        self.loop = asyncio.get_running_loop()
        self._app = app
        self._state = state
        self._watch = watch
        self._bounds = watch.bounds
        self._parser = httptools.HttpRequestParser(self)
        # What follows `Connection: close` is nobody's: the answer to what came before it must leave all the same.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._awaits_go = False
        self.answering: Answering | None = None  # of the request that was read last
        self._unanswered: list[Answering] = []  # in the order that they came; the first is at work
        self.is_behind = self._is_paused = False
        self._writable: asyncio.Event | None = None
        self._receiving = Receiving.HEAD
        self._since = watch.now
        self._head = self._latest = 0  # bytes of the head so far, and of what was read last
        self._wire = self._seen = self._chunks = 0  # of the body: bytes read, bytes of content, chunks
        self._waited = self._quiet = 0.0  # seconds that we have waited for the body, and for its next byte
        self._wire_before = 0
        self._fault: tuple[int, str] | None = None

    # ------------------------------------------------------------------ the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._server, self._client = get_local_addr(self.transport), get_remote_addr(self.transport)
        self._watch.connections.add(self)
        self._peer = self._client[0] if self._client else None
        excess, why = self._watch.came(self._peer)
        if excess > self._bounds.reserve:
            self._refuse(UNAVAILABLE, why, extra=b"retry-after: 1\r\n")
        elif excess > 0:
            self._app = self._watch.overloaded(self._app, why)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._watch.connections.discard(self)
        unanswered, self._unanswered, self.answering = self._unanswered, [], None
        for each in unanswered:
            each.leave()
        self.resume_writing()
        del self._parser  # it knows us, as they do: only the garbage collector would free us all
        self._watch.lost(self._peer)

    def pause_writing(self) -> None:
        self.is_behind = True

    def resume_writing(self) -> None:
        self.is_behind = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    async def until_writable(self) -> None:
        if self._writable is None:
            self._writable = asyncio.Event()
        await self._writable.wait()

    def pause_reading(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        """What was written leaves first."""
        if self.answering is not None:
            self.answering.flush()
        self.transport.close()

    @property
    def said_always(self) -> Sequence[tuple[bytes, bytes]]:
        return self._watch.said_always

    def data_received(self, data: bytes) -> None:
        self._latest = len(data)
        if self._receiving is Receiving.NOTHING:
            self._receiving, self._since, self._head = Receiving.HEAD, self._watch.now, 0
        if self._receiving is Receiving.HEAD:
            self._head += self._latest
        else:
            self._wire += self._latest
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._unanswered[
                -1
            ].keeps_alive = False  # what follows is no HTTP that we know: RFC 9110 7.8 lets us ignore it
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
                self._refuse(*too_large(bounds))
        elif self._wire - self._seen > bounds.framing + bounds.chunk_extra * self._chunks:
            self._refuse(BAD_REQUEST, "Invalid request: too much between the chunks of its body")

    # ------------------------------------------------------------------ what the parser finds

    def on_message_begin(self) -> None:
        self._receiving, self._head = Receiving.HEAD, self._latest  # of a pipelined one: at most that
        self._url, self._headers, self._awaits_go = b"", [], False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._receiving is not Receiving.HEAD:  # RFC 9110 6.5.1: a trailer must not become a header
            return
        name = name.lower()
        if name in _LOOKED_AT:
            self._look_at_field(name, value.strip(b" \t").lower())
        self._headers.append((name, value))

    def _look_at_field(self, name: bytes, value: bytes) -> None:
        """Fields that say how the request is to be read."""
        if name == b"expect":
            if value != b"100-continue":  # RFC 9110 10.1.1
                self._fault = UNMET, "Expectation failed: only 100-continue is known"
                raise BadFraming
            self._awaits_go = True
        elif value != b"chunked":
            self._fault = BAD_REQUEST, "Invalid request: of transfer codings only chunked is served"
            raise BadFraming

    def on_headers_complete(self) -> None:
        bounds, headers = self._bounds, self._headers
        if len(headers) > bounds.head_fields or (
            self._head > bounds.head_bytes
            and len(self._url) + sum(len(name) + len(value) + 4 for name, value in headers) > bounds.head_bytes
        ):
            self._fault = too_large(bounds)
            raise BadFraming
        fault = line_fault(self._url, self._parser.get_http_version())
        if fault is not None:
            self._fault = BAD_REQUEST, fault
            raise BadFraming
        self._receiving = Receiving.BODY
        self._wire, self._seen, self._chunks = self._latest, 0, 0
        self._waited = self._quiet = 0.0
        self._wire_before = 0
        scope, keeps_alive = self._scope(), not self._watch.is_leaving and self._parser.should_keep_alive()
        self.answering = Answering(self, scope, keeps_alive=keeps_alive, awaits_go=self._awaits_go)
        self._unanswered.append(self.answering)
        if len(self._unanswered) == 1:
            self._run(self.answering)
        else:
            self.pause_reading()

    def _scope(self) -> dict[str, Any]:
        scope = scope_of(self._parser, self._url)
        scope["server"], scope["client"] = self._server, self._client
        scope["headers"], scope["state"] = self._headers, {**self._state}
        return scope

    def _run(self, answering: Answering) -> None:
        task = self.loop.create_task(answering.run(self._app))
        self._watch.tasks.add(task)
        task.add_done_callback(self._watch.tasks.discard)

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        self._seen += len(body)
        if self.answering is not None and not self.answering.is_complete:
            self.answering.take(body)

    def on_message_complete(self) -> None:
        self._receiving, self._since = Receiving.NOTHING, self._watch.now
        if self.answering is not None and not self.answering.is_complete:
            self.answering.end_body()

    def answered(self) -> None:
        """The answer to the first request is complete: the next may run, if it was read already."""
        del self._unanswered[0]
        if self.transport.is_closing():
            return
        if self._receiving is Receiving.NOTHING:
            self._since = self._watch.now
        self.resume_reading()
        if self._unanswered:
            self._run(self._unanswered[0])
        elif self._watch.is_leaving and self._receiving is Receiving.NOTHING:
            self.transport.close()

    # ------------------------------------------------------------------ time

    @property
    def is_answering(self) -> bool:
        """Whether a request was read whose answer is not complete."""
        return self.answering is not None and not self.answering.is_complete

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
        if self._is_paused or (self.answering is not None and self.answering.awaits_go):
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
        if self.answering is not None and not self.answering.is_complete:
            self.answering.keeps_alive = False
        elif self._receiving is Receiving.NOTHING:
            self.transport.close()

    # ------------------------------------------------------------------ refusing

    def _refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        """Say why, where no answer has begun, and close. A body of JSON-RPC keeps MCP clients in their era."""
        if self.transport.is_closing():
            return
        self._watch.turned_away[status] += 1
        if self.answering is None or self.answering.is_complete or not self.answering.has_begun:
            self.transport.write(refusal(status, message, extra))
        self.close()
