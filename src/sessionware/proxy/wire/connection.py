"""The only place that moves bytes between one socket and one exchange at a time, with flow control both ways."""

from __future__ import annotations

import asyncio
import math
import select
from typing import Final, Protocol, cast

from sessionware.proxy.wire.addresses import Address
from sessionware.proxy.wire.bodies import send_body
from sessionware.proxy.wire.faults import BadAnswer, MayBeDelivered, Reason, WireFault
from sessionware.proxy.wire.requests import UpstreamRequest
from sessionware.proxy.wire.response import Response
from sessionware.proxy.wire.responses import END, Event, Head, ResponseReader
from sessionware.proxy.wire.terms import WRITE_SIZE, Deadlines

_NEVER: Final = math.inf
# Seconds of quiet after which the socket itself is asked whether the upstream closed it: the loop may not know yet.
_PROBE_AFTER: Final = 0.5


class Keeper(Protocol):
    """Whom a connection belongs to between two exchanges."""

    def keep(self, connection: Connection) -> None:
        """The exchange is over and the connection can carry another one."""

    def forget(self, connection: Connection) -> None:
        """It is closed."""


class Connection(asyncio.BufferedProtocol):
    """One connection to an upstream. `buffer` may be shared: each read is copied out before the next begins."""

    __slots__ = (
        "_address", "_answered", "_buffer", "_deadline", "_deadlines", "_is_paused", "_keeper", "_loop", "_news",
        "_reader", "_response", "_sending", "_timer", "_timer_at", "_transport", "_writable", "exchanges",
        "idle_since", "is_lost",
    )  # fmt: skip

    def __init__(self, address: Address, keeper: Keeper, buffer: memoryview) -> None:
        self._address = address
        self._keeper = keeper
        self._buffer = buffer
        self._loop = asyncio.get_running_loop()
        self._reader = ResponseReader()
        self._transport: asyncio.Transport
        self._answered: asyncio.Future[Response] | None = None  # an exchange is open while this is set
        self._response: Response | None = None
        self._news: asyncio.Future[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._deadlines = Deadlines()
        self._deadline = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self._is_paused = False
        self.is_lost = False
        self.exchanges = 0
        self.idle_since = 0.0

    # -- for the pool --------------------------------------------------------------------------------------------

    @property
    def idle_seconds(self) -> int | None:
        """How long the upstream said that it keeps an idle connection."""
        return self._reader.idle_seconds

    def can_be_reused(self, until: float = _NEVER) -> bool:
        """Ask whether it is young enough and open, and the upstream has said nothing that nobody asked for."""
        if self.is_lost or self._transport.is_closing():
            return False
        now = self._loop.time()
        return now < until and (now - self.idle_since < _PROBE_AFTER or not self._has_unread_bytes())

    def abort(self) -> None:
        """Close at once. A reader who was told no fault sees his answer stop, and that it is not whole."""
        self._answered = self._response = None
        self._tell_news()
        self._deadline = _NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is not None:
            self._sending.cancel()
        if not self.is_lost:
            self._transport.abort()

    def fail(self, fault: BaseException) -> None:
        """End the open exchange with this fault, if there is one, and close."""
        answered, response = self._answered, self._response
        if response is not None:
            response.end(fault)
        elif answered is not None and not answered.done():
            answered.set_exception(fault)
        self.abort()

    def cut_off(self) -> None:
        """End what is open, from our side."""
        self.fail(self._fault(Reason.WIRE_CLOSED, "we closed the connection"))

    def _has_unread_bytes(self) -> bool:
        waiting = select.poll()
        waiting.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(waiting.poll(0))

    # -- one exchange --------------------------------------------------------------------------------------------

    async def exchange(self, head: bytes, request: UpstreamRequest, deadlines: Deadlines) -> Response:
        """Send a request and wait for the head of its answer; cancelled, it closes the connection.

        Raises MayBeDelivered when no byte of an answer came, BadAnswer when a wrong one came, and what the body raises.
        """
        answered = self._begin(head, request, deadlines)
        try:
            return await answered
        except BaseException:
            if self._answered is answered:
                self.abort()
            raise

    def _begin(self, head: bytes, request: UpstreamRequest, deadlines: Deadlines) -> asyncio.Future[Response]:
        self._deadlines = deadlines
        self._reader.expect(to_head=request.method == "HEAD")
        self._answered = answered = self._loop.create_future()
        self.exchanges += 1
        body = request.body
        if isinstance(body, bytes) and len(body) <= WRITE_SIZE:
            self._transport.write(head + body)
            self._expect_news_within(deadlines.head)
        else:
            self._transport.write(head)
            self._sending = self._loop.create_task(send_body(request, self))
            self._sending.add_done_callback(self._sent)
        return answered

    def _sent(self, sending: asyncio.Task[None]) -> None:
        if self._sending is not sending:
            return
        self._sending = None
        if sending.cancelled():
            return
        fault = sending.exception()
        if fault is not None:
            self.fail(fault)
        elif self._answered is not None and self._response is None:
            self._expect_news_within(self._deadlines.head)

    @property
    def is_wanted(self) -> bool:
        return self._response is None or self._reader.is_reusable

    async def write(self, data: bytes) -> None:
        """Send, and wait while the upstream is behind. Raises MayBeDelivered when it stays behind for too long."""
        self._transport.write(data)
        if self._writable is None:
            return
        try:
            async with asyncio.timeout(self._deadlines.idle):
                await self._writable
        except TimeoutError:
            raise self._fault(Reason.WRITE_TIMEOUT, f"read nothing of the body in {self._deadlines.idle} s") from None

    # -- for the response ----------------------------------------------------------------------------------------

    def wait_for_part(self) -> asyncio.Future[None]:
        self._news = news = self._loop.create_future()
        self._expect_news_within(self._deadlines.idle)
        return news

    def resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def abandon(self) -> None:
        self.abort()

    # -- what the loop calls -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._answered is None:  # RFC 9112 9.2: nobody asked, so it answers nothing
            self.abort()
            return
        self._act_on(self._reader.feed(bytes(self._buffer[:nbytes])))

    def eof_received(self) -> bool:
        if self._answered is not None and self._reader.has_begun:
            self._act_on(self._reader.end_of_stream())
        self.fail(self._fault(Reason.CLOSED_UNANSWERED, "closed the connection without an answer"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        cause = f" ({exc})" if exc is not None else ""
        reason = Reason.TRUNCATED if self._reader.has_begun else Reason.CLOSED_UNANSWERED
        self.fail(self._fault(reason, f"closed the connection before its answer was whole{cause}"))
        self.resume_writing()
        self._keeper.forget(self)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # -- events and time -----------------------------------------------------------------------------------------

    def _act_on(self, events: list[Event]) -> None:
        is_full = False
        for event in events:
            if isinstance(event, bytes):
                if self._response is not None:
                    is_full = self._response.take(event)
            elif isinstance(event, Head):
                self._answer(event)
            elif event is END:
                self._finish()
            else:
                reason = Reason.TRUNCATED if event.is_cut else Reason.MALFORMED
                self.fail(BadAnswer(self._address, reason, event.detail))
        self._tell_news()
        if is_full and self._response is not None and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _answer(self, head: Head) -> None:
        self._deadline = _NEVER
        self._response = Response(head.status, head.headers, self)
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(self._response)

    def _finish(self) -> None:
        """The answer is whole: its reader is served without us from here on, and another request may come."""
        if self._response is not None:
            self._response.end()
        is_sent = self._sending is None or self._sending.done()
        if not (is_sent and self._reader.is_reusable) or self._transport.get_write_buffer_size():
            self.abort()
            return
        self._answered = self._response = self._sending = None
        self._deadline = _NEVER
        self.idle_since = self._loop.time()
        self.resume()
        self._keeper.keep(self)

    def _tell_news(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            self._deadline = _NEVER
            news.set_result(None)

    def _expect_news_within(self, seconds: float) -> None:
        """Set the deadline. The timer is only ever moved forward: to set it anew for each request costs more."""
        self._deadline = deadline = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._timer = None
        left = self._deadline - self._loop.time()
        if left == _NEVER:
            return
        if left > 0:
            self._expect_news_within(left)
        elif self._response is None:
            self.fail(self._fault(Reason.HEAD_TIMEOUT, f"sent no head within {self._deadlines.head} s"))
        else:
            self.fail(self._fault(Reason.IDLE_TIMEOUT, f"was silent for {self._deadlines.idle} s in its answer"))

    def _fault(self, reason: Reason, detail: str) -> WireFault:
        kind = BadAnswer if self._reader.has_begun else MayBeDelivered
        return kind(self._address, reason, detail)
