"""The only place that leads a request's path to a pool, and refuses paths that could lead elsewhere.

The upstream comes from the configuration alone: nothing that a request says can alter its scheme, host or port.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from sessionware.proxy.addresses import UpstreamAddress
from sessionware.proxy.upstreams import Pool

# RFC 3986 3.3, and what servers let through that is no path: refused, for each reader makes something else of it.
_RAW: Final = re.compile(rb"/[!$-;=@-\[\]-~]*")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SEPARATORS: Final = re.compile(rb"[/\\]")


class Role(StrEnum):
    """What a path is to its pool."""

    MCP = "mcp"
    HTTP = "http"
    EVENTS = "events"  # GET /old/sse: the stream of 2024-11-05
    MESSAGES = "messages"  # POST /old/messages


METHODS: Final = {
    Role.MCP: frozenset({"POST", "GET", "DELETE"}),
    Role.EVENTS: frozenset({"GET"}),
    Role.MESSAGES: frozenset({"POST"}),
}  # plain HTTP servers know their own


class Route(Struct, frozen=True):
    """The pool that a path leads to. `rest` is what a plain HTTP server is asked for, as it was written."""

    pool: Pool
    role: Role
    rest: bytes = b""

    @property
    def prefix(self) -> str:
        return self.pool.prefix

    @property
    def is_mcp(self) -> bool:
        return self.role is not Role.HTTP

    def allows(self, method: str) -> bool:
        return self.role is Role.HTTP or method in METHODS[self.role]


class BadPath(Struct, frozen=True):
    """Why a request is not routed at all."""

    status: int
    message: str


class Routes:
    """All pools by path. An exact MCP path has a twin with a slash at its end: nobody is redirected."""

    def __init__(self, pools: Iterable[Pool]) -> None:
        self._exact: dict[str, Route] = {}
        self._written: dict[str, bytes] = {}  # the same paths as most clients write them
        self._http: dict[str, Pool] = {}
        for pool in pools:
            match pool.kind:
                case "mcp":
                    self._exact[pool.path] = Route(pool, Role.MCP)
                case "sse":
                    self._exact[pool.path] = Route(pool, Role.EVENTS)
                    self._exact[messages_path(pool)] = Route(pool, Role.MESSAGES)
                case "http":
                    self._http[pool.name] = pool
        self._written = {path: path.encode() for path in self._exact}

    def at_once(self, method: str, path: str, raw_path: bytes | None) -> Route | None:
        """Where an MCP path leads that is written as we write it, so that nothing can be wrong with it; else None."""
        if raw_path is None or method == "CONNECT" or self._written.get(path) != raw_path:
            return None
        return self._exact[path]

    def find(self, path: str, raw_path: bytes | None = None) -> Route | BadPath | None:
        """Where the path leads; None: to no pool. `path` is decoded, `raw_path` is as the client wrote it."""
        route = self._exact.get(path) or self._exact.get(path.removesuffix("/"))
        if route is not None:
            return route
        pool = self._http.get(path[1:].partition("/")[0])
        if pool is None or not path.startswith("/"):
            return None
        return _below(pool, quote(path, errors="replace").encode() if raw_path is None else raw_path)


def _below(pool: Pool, raw_path: bytes) -> Route | BadPath | None:
    prefix = pool.prefix.encode()
    rest = raw_path[len(prefix) :]
    if not raw_path.startswith(prefix) or rest[:1] not in {b"", b"/"}:
        return None  # `/%61pp/x` is decoded to `/app/x`, yet what was judged must be what is sent
    if has_dots(rest):
        return BadPath(400, "Invalid path: `.` and `..` lead out of the place that was asked for")
    return Route(pool, Role.HTTP, rest or b"/")


def messages_path(pool: Pool) -> str:
    """Where clients of 2024-11-05 send their messages to."""
    return f"{pool.prefix}/messages"


def path_fault(method: str, path: str, raw_path: bytes | None = None) -> BadPath | None:
    """What is wrong with a request line, whatever server has read it (PX-01)."""
    if method == "CONNECT":
        return BadPath(405, "Method not allowed: this is no forward proxy")
    if path == "*":
        return BadPath(405, "Method not allowed: `*` asks nothing of us")
    raw = quote(path, errors="replace").encode() if raw_path is None else raw_path
    if not path.startswith("/") or not raw.startswith(b"/"):
        return BadPath(400, "Invalid path: it must start with `/`, without scheme and host")
    if path.startswith(("//", "/\\")) or raw.startswith(b"//"):
        return BadPath(400, "Invalid path: it must not start with `//`, which would name a host")
    if not _RAW.fullmatch(raw) or _BAD_ESCAPE.search(raw) or not _is_plain(path):
        return BadPath(400, "Invalid path: it holds characters that must not be there")
    return None


def has_dots(raw: bytes) -> bool:
    """Whether some reader, who decodes once or twice, would step out of a folder here."""
    once = unquote_to_bytes(raw)
    texts = (raw, once, unquote_to_bytes(once))
    return any(not {b".", b".."}.isdisjoint(_steps(text)) for text in texts)


def upstream_target(route: Route, upstream: UpstreamAddress, query: bytes = b"") -> bytes:
    """What to ask the upstream for: a path and a query, never a URL."""
    base = upstream.path.encode()
    path = base.rstrip(b"/") + route.rest if route.role is Role.HTTP else base
    return path + b"?" + query if query else path


def _steps(text: bytes) -> list[bytes]:
    # `..;x` is a step up to servers that cut path parameters off (Tomcat).
    return [segment.partition(b";")[0] for segment in _SEPARATORS.split(text)]


def _is_plain(path: str) -> bool:
    return not any(character < " " or character == "\x7f" for character in path)
