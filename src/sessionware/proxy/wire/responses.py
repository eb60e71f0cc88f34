"""The only place that decides what an upstream's bytes mean. No sockets, no clock: bytes in, events out."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

import httptools
from msgspec import Struct

HEAD_MAX: Final = 64 * 1024  # bytes of one head
LINES_MAX: Final = 100  # headers of one head
LINE_MAX: Final = 16 * 1024  # bytes of one line of a head
INFORMATIONAL_MAX: Final = 16  # 1xx heads before the answer: more is a flood
OVERHEAD_MAX: Final = 64 * 1024  # bytes of chunk extensions and trailers that carry no body
OVERHEAD_PER_BYTE: Final = 16  # a body sent in chunks of one byte needs 5

_START: Final = b"HTTP/1."
_HEAD_END: Final = b"\r\n\r\n"
_TIMEOUT: Final = re.compile(rb"timeout=\s*\"?(\d{1,9})")
_SWITCHING: Final = 101
_BODILESS: Final = frozenset({204, 304})
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive"})


class Head(Struct, frozen=True, gc=False):
    """The answer begins. Names are lower-case, order and repetitions are the upstream's."""

    status: int
    headers: list[tuple[bytes, bytes]]


class End(Enum):
    """The answer is whole."""

    END = auto()


class Broken(Struct, frozen=True):
    """The answer cannot be trusted from here on; nothing follows."""

    detail: str
    is_cut: bool = False  # right so far, but not whole


END: Final = End.END
Event = Head | bytes | End | Broken  # bytes are a part of the body


# Where the reader stands; bare numbers because each callback asks.
_AT_HEAD: Final = 0
_AT_BODY: Final = 1
_AT_DONE: Final = 2


class ResponseReader:
    """Reads the answers of one connection, one after the other: `expect`, then `feed` until END or Broken."""

    __slots__ = (
        "_at", "_events", "_framing", "_headers", "_informational", "_margin", "_parser", "_pending", "_refusal",
        "_to_head", "_until_close", "has_begun", "idle_seconds", "is_reusable",
    )  # fmt: skip

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pending = bytearray()
        self.expect(to_head=False)

    def expect(self, *, to_head: bool) -> None:
        """Get ready for the next answer; one `to_head` has no body whatever its headers say."""
        self._to_head = to_head
        self._at = _AT_HEAD
        self._events: list[Event] = []
        self._informational = 0
        self._margin = OVERHEAD_MAX
        self.has_begun = False
        self.is_reusable = False
        self.idle_seconds: int | None = None
        self._begin_head()

    def feed(self, data: bytes) -> list[Event]:
        """Read what arrived. The same bytes give the same events however they are sliced, but for cuts in the body."""
        events: list[Event] = []
        self._events = events
        self.has_begun = True
        if self._at == _AT_HEAD:
            data = self._feed_head(data)
        if data:
            if self._at == _AT_BODY:
                self._feed_body(data)
            else:  # more than was announced: whatever it is, it belongs to no request
                self.is_reusable = False
        return events

    def end_of_stream(self) -> list[Event]:
        """The upstream closed: that ends a body without length, and breaks everything else that is unfinished."""
        self._events = []
        self.is_reusable = False
        if self._at == _AT_BODY and self._until_close:
            self._finish()
        elif self._at != _AT_DONE:
            self._break("closed the connection before its answer was whole", is_cut=True)
        return self._events

    # -- the head ------------------------------------------------------------------------------------------------

    def _begin_head(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._framing: dict[bytes, bytes] = {}
        self._until_close = False
        self._refusal = ""

    def _feed_head(self, data: bytes) -> bytes:
        """Gather bytes until a head is whole, and read it; returns what follows the last head."""
        while self._at == _AT_HEAD and data:
            pending = self._pending
            searched = max(0, len(pending) - len(_HEAD_END) + 1)
            whole: bytes | bytearray = data
            if pending:
                pending += data
                whole = pending
            end = whole.find(_HEAD_END, searched) + len(_HEAD_END)
            if end < len(_HEAD_END):
                if not pending:
                    pending += data
                self._doubt_unfinished(searched)
                return b""
            head, data = bytes(whole[:end]), bytes(whole[end:])
            pending.clear()
            self._read_head(head)
        return data

    def _doubt_unfinished(self, searched: int) -> None:
        """Refuse what can no longer become a head, before its end came."""
        pending = self._pending
        if not pending.startswith(_START[: len(pending)]):
            self._break("no HTTP/1 answer")
        elif len(pending) > HEAD_MAX:
            self._break(f"its head is over {HEAD_MAX} bytes")
        elif pending.count(b"\n", searched) != pending.count(b"\r\n", max(0, searched - 1)):
            self._break("a bare line feed in the head")

    def _read_head(self, head: bytes) -> None:
        lines = head.count(b"\n")
        if not head.startswith(_START):
            self._break("no HTTP/1 answer")
        elif len(head) > HEAD_MAX:
            self._break(f"its head is over {HEAD_MAX} bytes")
        elif len(head) > LINE_MAX and max(map(len, head.split(b"\r\n"))) > LINE_MAX:
            self._break(f"a header over {LINE_MAX} bytes")
        elif lines != head.count(b"\r\n"):
            self._break("a bare line feed in the head")
        elif lines - 2 > LINES_MAX:
            self._break(f"over {LINES_MAX} headers")
        elif b"\r\n " in head or b"\r\n\t" in head:  # RFC 9112 5.2: obsolete folding
            self._break("a folded header")
        else:
            self._parse(head)

    def _refuse_head(self, status: int) -> str:
        """Say why this head cannot be forwarded, or nothing."""
        coding = self._framing.get(b"transfer-encoding")
        if self._refusal:
            return self._refusal
        if not 100 <= status <= 599:  # noqa: PLR2004 - RFC 9110 15
            return f"status {status}"
        if status == _SWITCHING:  # RFC 9110 15.2.2: only to a request with Upgrade, and we send none
            return "it switched protocols unasked"
        if coding is not None and (coding.lower() != b"chunked" or self._parser.get_http_version() != "1.1"):
            return "a transfer coding that nobody asked for"
        return ""

    # -- the body ------------------------------------------------------------------------------------------------

    def _feed_body(self, data: bytes) -> None:
        before = len(self._events)
        self._parse(data)
        if b"transfer-encoding" not in self._framing:
            return
        body = sum(len(event) for event in self._events[before:] if type(event) is bytes)
        self._margin += body * (OVERHEAD_PER_BYTE + 1) - len(data)
        if self._margin < 0 and self._at == _AT_BODY:
            self._break(f"over {OVERHEAD_MAX} bytes of chunk extensions or trailers")
        self._margin = min(self._margin, OVERHEAD_MAX)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._at == _AT_DONE:
                self.is_reusable = False
            else:
                self._break(str(error))

    def _finish(self) -> None:
        self._at = _AT_DONE
        self._events.append(END)

    def _break(self, detail: str, *, is_cut: bool = False) -> None:
        self._at = _AT_DONE
        self.is_reusable = False
        self._events.append(Broken(detail, is_cut))

    # -- what httptools calls ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._at == _AT_DONE:
            self.is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._at != _AT_HEAD:  # RFC 9110 6.5.1: trailers may be dropped, and are
            return
        name, value = name.lower(), value.rstrip(b" \t")
        if name in _FRAMING:
            if name in self._framing and name != b"connection":
                self._refusal = f"two headers {name.decode()}"
            self._framing[name] = self._framing.get(name, b"") + value.lower()
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._at != _AT_HEAD:  # of a second answer, that nobody asked for
            return
        status = self._parser.get_status_code()
        refusal = self._refuse_head(status)
        if refusal:
            self._break(refusal)
        elif status < 200:  # noqa: PLR2004 - RFC 9110 15.2: informational
            self._skip_informational()
        else:
            self._begin_body(status)

    def _skip_informational(self) -> None:
        self._informational += 1
        if self._informational > INFORMATIONAL_MAX:
            self._break(f"over {INFORMATIONAL_MAX} informational answers")
        self._begin_head()

    def _begin_body(self, status: int) -> None:
        framing = self._framing
        self._events.append(Head(status, self._headers))
        self._at = _AT_BODY
        self.is_reusable = self._parser.should_keep_alive()
        if self._to_head:  # the parser waits for a body that never comes
            head_parser, self._parser = self._parser, httptools.HttpResponseParser(self)
            self.is_reusable = head_parser.get_http_version() == "1.1" and b"close" not in framing.get(
                b"connection", b""
            )
            self._finish()
        elif status in _BODILESS:
            # A body against the rules may still follow.
            self.is_reusable &= b"transfer-encoding" not in framing and framing.get(b"content-length", b"0") == b"0"
        else:
            self._until_close = not (b"content-length" in framing or b"transfer-encoding" in framing)
        if b"keep-alive" in framing and (limit := _TIMEOUT.search(framing[b"keep-alive"])):
            self.idle_seconds = int(limit[1])

    def on_body(self, body: bytes) -> None:
        if self._at == _AT_BODY:
            self._events.append(body)

    def on_message_complete(self) -> None:
        if self._at == _AT_BODY:
            self._finish()
