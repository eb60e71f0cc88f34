"""The only place that runs the app for one request, and writes its answer as HTTP/1.1.

A head leaves together with what follows it in the same turn of the loop: each write is a call of the kernel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from itertools import chain
from typing import Any, Final, Protocol

from sessionware.asgi.messages import App, Message, Scope
from sessionware.proxy.hop_by_hop import is_name
from sessionware.proxy.incoming import GONE_KEY

HIGH_WATER: Final = 64 << 10  # bytes of a body that wait for the app before no more are read
NAMES_KEPT: Final = 1_024
OLD: Final = "1.0"  # RFC 9112 6.1: it knows no chunks, and it closes after each answer
PHRASES: Final = {each.value: each.phrase for each in HTTPStatus}
STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {PHRASES.get(status, '')}\r\n".encode() for status in range(100, 600)
}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_LENGTH, _CODING, _CONNECTION = b"content-length: ", b"transfer-encoding: ", b"connection: "
_FRAMING: Final = frozenset({_LENGTH, _CODING, _CONNECTION})
_BODILESS: Final = frozenset({204, 304})
_PASSABLE: Final = bytes([*b"\t\r\n", *range(0x20, 0x7F), *range(0x80, 0x100)])
_FAILED: Final = b"Internal Server Error"
_FAILED_HEADERS: Final = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_FAILED)),
    (b"connection", b"close"),
)
log: Final = logging.getLogger("sessionware")

Header = tuple[bytes, bytes]


class Line(Protocol):
    """What an answer asks of the connection that it leaves on."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    is_behind: bool  # the client does not read as fast as we write

    @property
    def said_always(self) -> Iterable[Header]:
        """What stands in each head."""

    async def until_writable(self) -> None:
        """Wait while the client is behind, or until it has gone."""

    def resume_reading(self) -> None:
        """The app wants more of the body."""

    def pause_reading(self) -> None:
        """The app does not keep up."""

    def answered(self) -> None:
        """The answer is complete."""


class Answering:
    """One request and its answer. `awaits_go`: the client sends its body when it is told 100."""

    __slots__ = (
        "_body", "_has_news", "_head", "_is_bodiless", "_is_chunked", "_is_whole", "_left", "_line", "_scope",
        "_waiting", "_when_gone", "awaits_go", "has_begun", "is_complete", "is_gone", "keeps_alive",
    )  # fmt: skip

    def __init__(self, line: Line, scope: Scope, *, keeps_alive: bool, awaits_go: bool) -> None:
        self._line = line
        self._scope = scope
        scope[GONE_KEY] = self.tell_gone
        self._when_gone: Callable[[], Any] | None = None
        self.keeps_alive = keeps_alive and scope["http_version"] != OLD
        self.awaits_go = awaits_go
        self.is_gone = False  # the client has
        self.has_begun = False
        self.is_complete = False
        self._body: bytes | bytearray = b""
        self._is_whole = False
        self._has_news = False
        self._waiting: tuple[asyncio.Future[None], ...] = ()
        self._head = b""  # written, and not sent
        self._is_bodiless = False
        self._is_chunked: bool | None = None  # None: neither that nor of a known length, it ends with the connection
        self._left = 0  # bytes that were announced and have not come

    async def run(self, app: App) -> None:
        """Run the app; an answer that it leaves out or breaks off is a 500, or cut."""
        try:
            await app(self._scope, self.receive, self.send)
        except BaseException:  # a cancellation too: the task ends here, and so does the answer
            log.exception("a request failed")
            await self._fail()
        else:
            if not self.is_complete and not self.is_gone:
                log.error("the app has returned before its answer was complete")
                await self._fail()
        finally:
            self._scope, self._when_gone = {}, None  # while the next request is waited for, nothing of this one is kept

    async def _fail(self) -> None:
        if self.has_begun:
            self.flush()
            self._line.transport.close()
            return
        await self.send({"type": "http.response.start", "status": 500, "headers": _FAILED_HEADERS})
        await self.send({"type": "http.response.body", "body": _FAILED})

    # ------------------------------------------------------------------ what the connection reads

    def take(self, part: bytes) -> None:
        """One part of the body; many small ones are gathered where that costs no copy of each."""
        if not self._body:
            self._body = part
        elif isinstance(self._body, bytes):
            self._body = bytearray(self._body + part)
        else:
            self._body += part
        if len(self._body) > HIGH_WATER:
            self._line.pause_reading()
        self._tell()

    def end_body(self) -> None:
        self._is_whole = True
        self._tell()

    def leave(self) -> None:
        """The client has gone."""
        self.is_gone = not self.is_complete
        self._tell()
        if self.is_gone and self._when_gone is not None:
            self._when_gone()

    def tell_gone(self, when_gone: Callable[[], Any]) -> None:
        """Call this when the client goes before it was answered; the last who asks is told."""
        self._when_gone = when_gone
        if self.is_gone:
            self._line.loop.call_soon(when_gone)

    def _tell(self) -> None:
        self._has_news = True
        waiting, self._waiting = self._waiting, ()
        for each in waiting:
            if not each.done():
                each.set_result(None)

    @property
    def _is_over(self) -> bool:
        return self.is_gone or self.is_complete

    # ------------------------------------------------------------------ ASGI

    async def receive(self) -> Message:
        """The body as far as it has come, then that the client has gone."""
        line = self._line
        if self.awaits_go and not line.transport.is_closing():
            line.transport.write(_CONTINUE)
            self.awaits_go = False
        while not (self._has_news or self._is_over):
            line.resume_reading()
            news = line.loop.create_future()
            self._waiting = (*[each for each in self._waiting if not each.done()], news)  # others may wait no more
            await news
        self._has_news = False
        if self._is_over:
            return {"type": "http.disconnect"}
        line.resume_reading()
        body, self._body = self._body, b""
        return {"type": "http.request", "body": bytes(body), "more_body": not self._is_whole}

    async def send(self, message: Message) -> None:
        """Raises RuntimeError for what is no answer: the app is wrong."""
        line = self._line
        if line.is_behind and not self.is_gone:
            await line.until_writable()
        if self.is_gone:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.has_begun:
            self._begin(message["status"], message.get("headers", ()))
        elif kind == "http.response.body" and self.has_begun and not self.is_complete:
            self._go_on(message.get("body", b""), is_last=not message.get("more_body", False))
        else:
            raise RuntimeError(f"the app has sent {kind!r} where that cannot be")

    def _begin(self, status: int, headers: Iterable[Header]) -> None:
        pieces, says_close = [STATUS_LINES[status]], False
        self._is_bodiless = status in _BODILESS or self._scope["method"] == "HEAD"
        self._is_chunked, self._left = None, 0
        for name, value in chain(self._line.said_always, headers):
            field = _field(name)
            if field in _FRAMING:
                says_close |= self._look_at(field, value)
            pieces += (field, value, b"\r\n")
        if says_close:
            self.keeps_alive = False
        elif not self.keeps_alive:
            pieces += (_CONNECTION, b"close", b"\r\n")
        if self._is_chunked is None and not self._is_bodiless and self._scope["http_version"] != OLD:
            self._is_chunked = True
            pieces += (_CODING, b"chunked", b"\r\n")
        head = b"".join(pieces)
        if not head.count(b"\n") == head.count(b"\r") == len(pieces) // 3 + 1 or head.translate(None, _PASSABLE):
            raise RuntimeError("the app has sent a header whose value holds a line break or a control character")
        self._head = head + b"\r\n"
        self.has_begun, self.awaits_go = True, False
        self._line.loop.call_soon(self.flush)

    def _look_at(self, field: bytes, value: bytes) -> bool:
        """A field that says how the answer is framed; whether it closes the connection."""
        if field == _CONNECTION:
            return b"close" in [token.strip().lower() for token in value.split(b",")]
        if field == _CODING and value.lower() == b"chunked":
            self._is_chunked, self._left = True, 0
        elif field == _LENGTH and self._is_chunked is None:
            self._is_chunked, self._left = False, int(value)
        return False

    def _go_on(self, body: bytes, *, is_last: bool) -> None:
        if self._is_bodiless:
            body, self._left = b"", 0
        elif self._is_chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (_LAST_CHUNK if is_last else b"")
        elif self._is_chunked is not None:
            self._left -= len(body)
            if self._left < 0:
                raise RuntimeError("the app has sent more than it has announced in Content-Length")
        head, self._head = self._head, b""
        if head or body:
            self._line.transport.write(head + body)
        if is_last:
            if self._left:
                raise RuntimeError("the app has sent less than it has announced in Content-Length")
            self._end()

    def _end(self) -> None:
        self.is_complete = True
        self._tell()
        if not self.keeps_alive:
            self._line.transport.close()
        self._line.answered()

    def flush(self) -> None:
        """Send a head that nothing has followed: an event stream's, or that of an answer which is cut."""
        head, self._head = self._head, b""
        if head and not self._line.transport.is_closing():
            self._line.transport.write(head)


@lru_cache(NAMES_KEPT)
def _field(name: bytes) -> bytes:
    """A header's name as it is written. Raises RuntimeError for one that is none."""
    if not is_name(name):
        raise RuntimeError(f"the app has sent a header whose name is none: {name[:64]!r}")
    return name.lower() + b": "
