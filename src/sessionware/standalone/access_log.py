"""The only place that writes the access log: one line per request, without a query, a header or a session's id.

Lines are gathered for a moment and written together: a line of its own each time would cost a request 20 us.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final, TextIO

import msgspec
from msgspec import Struct

from sessionware.asgi.messages import Scope
from sessionware.asgi.passage import SCOPE_KEY as PASSAGE
from sessionware.asgi.passage import Passage
from sessionware.clock import wall_ms
from sessionware.core.ids import ref
from sessionware.proxy.asked import asked_of
from sessionware.telemetry.logs import LogFormat, escaped

LOGGER: Final = "sessionware.access"
LEVEL: Final = "info"
GONE: Final = "gone"
TENTH_MS_NS: Final = 100_000
GATHER_S: Final = 0.05
REFUSED: Final = 400
LINES_MAX: Final = 1_000  # that wait to be written; then they are written at once
PATH_MAX: Final = 512  # characters
ID: Final = "{id}"  # what stands for a session's id in a path
REQUEST_ID: Final = b"x-request-id"
_SAFE_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}", re.ASCII)
_IN_PATH: Final = re.compile(r"(?<=/session/)(?!start(?:/|$)|current(?:/|$)|ticket(?:/|$))[^/]+", re.ASCII)
_MINTED: Final = re.compile(r"[auo][a-z2-7]{11}\.[A-Za-z0-9_-]{20,}", re.ASCII)  # also one that was cut or altered
_HANDED: Final = re.compile(r"swk_[A-Za-z0-9_-]+|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]+", re.ASCII)  # keys and tokens


class Entry(Struct, frozen=True, omit_defaults=True, gc=False):
    """One line; what is empty is left out."""

    time: str
    level: str
    logger: str
    message: str
    method: str
    path: str
    status: int
    ms: float
    ref: str = ""
    pool: str = ""
    upstream: str = ""
    request_id: str = ""


_ENCODER: Final = msgspec.json.Encoder()


class AccessLog:
    """Writes to standard error unless another stream is given; of `quiet` paths only what went wrong."""

    def __init__(
        self, log_format: LogFormat, *, quiet: Collection[str] = frozenset(), stream: TextIO | None = None
    ) -> None:
        """Needs a running event loop."""
        self._quiet = quiet
        self._line: Callable[[Entry], str] = _as_json if log_format == "json" else _as_text
        self._stream = stream if stream is not None else sys.stderr
        self._loop = asyncio.get_running_loop()
        self._waiting: list[str] = []
        self._time_ms, self._time = 0, ""

    def write(self, scope: Scope, status: int, took_ns: int) -> None:
        """A request is over; `status` 0: its client left before an answer began."""
        path = scope["path"]
        if 0 < status < REFUSED and path in self._quiet:
            return
        passage, asked = scope.get(PASSAGE), asked_of(scope)
        session = passage.entered.decision.answer.session if isinstance(passage, Passage) else None
        method, path = scope["method"], shown_path(path)
        entry = Entry(
            self._now(), LEVEL, LOGGER, f"{method} {path} {status or GONE}", method, path, status,
            took_ns // TENTH_MS_NS / 10,
            "" if session is None else ref(session.key),
            "" if asked is None else asked.route.pool.name,
            "" if asked is None else asked.upstream,
            request_id(scope),
        )  # fmt: skip
        self._waiting.append(self._line(entry))
        if len(self._waiting) == 1:
            self._loop.call_later(GATHER_S, self.flush)
        elif len(self._waiting) >= LINES_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Does nothing when nothing does."""
        if not self._waiting:
            return
        text, self._waiting = "".join(self._waiting), []
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # nobody reads it any more: no reason to fail a request
            return

    def _now(self) -> str:
        """The time in RFC 3339, made once for each millisecond."""
        now = wall_ms()
        if now != self._time_ms:
            self._time_ms = now
            self._time = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        return self._time


def request_id(scope: Scope) -> str:
    """The id that the client or a balancer has given the request; empty: none, or one that is not plain."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID:
            return value.decode() if _SAFE_ID.fullmatch(value) else ""
    return ""


def shown_path(path: str) -> str:
    """The path on one line, with nothing in it that opens a session."""
    if len(path) < len("/session/") and path.isascii() and path.isprintable():
        return path
    if path.startswith("/session/"):
        path = _IN_PATH.sub(ID, path, count=1)
    if "." in path or "swk_" in path:
        path = _HANDED.sub(ID, _MINTED.sub(ID, path))
    return escaped(path, at_most=PATH_MAX)


def _as_json(entry: Entry) -> str:
    return _ENCODER.encode(entry).decode() + "\n"


def _as_text(entry: Entry) -> str:
    rest = f" ref={entry.ref}" if entry.ref else ""
    if entry.pool:
        rest += f" pool={entry.pool} upstream={entry.upstream}" if entry.upstream else f" pool={entry.pool}"
    if entry.request_id:
        rest += f" request_id={entry.request_id}"
    return f"{entry.time} {LEVEL} {LOGGER}: {entry.message} {entry.ms:g} ms{rest}\n"
