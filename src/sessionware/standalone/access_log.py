"""The only place that writes the access log: one line per request, without a query, a header or a session's id.

Lines are gathered for a moment and written together: a line of its own each time would cost a request 20 us.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

from sessionware.asgi.messages import Scope
from sessionware.asgi.passage import SCOPE_KEY as PASSAGE
from sessionware.asgi.passage import Passage
from sessionware.clock import MS_NS, wall_ms
from sessionware.core.ids import ref
from sessionware.proxy.asked import asked_of
from sessionware.telemetry.logs import LogFormat, escaped

LOGGER: Final = "sessionware.access"
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


class AccessLog:
    """Writes to standard error unless another stream is given; of `quiet` paths only what went wrong."""

    def __init__(
        self, log_format: LogFormat, *, quiet: Collection[str] = frozenset(), stream: TextIO | None = None
    ) -> None:
        """Needs a running event loop."""
        self._quiet = quiet
        self._line: Callable[[dict[str, Any]], str] = _as_json if log_format == "json" else _as_text
        self._stream = stream if stream is not None else sys.stderr
        self._loop = asyncio.get_running_loop()
        self._waiting: list[str] = []
        self._time_ms, self._time = 0, ""

    def write(self, scope: Scope, status: int, took_ns: int) -> None:
        """A request is over; `status` 0: its client left before an answer began."""
        if 0 < status < REFUSED and scope["path"] in self._quiet:
            return
        said: dict[str, Any] = {
            "time": self._now(),
            "method": scope["method"],
            "path": shown_path(scope["path"]),
            "status": status,
            "ms": round(took_ns / MS_NS, 1),
        }
        passage, asked = scope.get(PASSAGE), asked_of(scope)
        if isinstance(passage, Passage):
            session = passage.entered.decision.answer.session
            if session is not None:
                said["ref"] = ref(session.key)
        if asked is not None:
            said["pool"] = asked.route.pool.name
            if asked.upstream:
                said["upstream"] = asked.upstream
        said["request_id"] = request_id(scope)
        self._waiting.append(self._line(said))
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
    if len(path) > 1 and path.isascii() and path.isprintable() and len(path) < len("/session/"):
        return path
    if path.startswith("/session/"):
        path = _IN_PATH.sub(ID, path, count=1)
    if "." in path or "swk_" in path:
        path = _HANDED.sub(ID, _MINTED.sub(ID, path))
    return escaped(path, at_most=PATH_MAX)


def _as_json(said: dict[str, Any]) -> str:
    head = {"time": said.pop("time"), "level": "info", "logger": LOGGER, "message": _sentence(said)}
    return msgspec.json.encode(head | said).decode() + "\n"


def _as_text(said: dict[str, Any]) -> str:
    rest = "".join(f" {name}={said[name]}" for name in ("ref", "pool", "upstream", "request_id") if said.get(name))
    return f"{said['time']} info {LOGGER}: {_sentence(said)} {said['ms']:g} ms{rest}\n"


def _sentence(said: dict[str, Any]) -> str:
    return f"{said['method']} {said['path']} {said['status'] or 'gone'}"
