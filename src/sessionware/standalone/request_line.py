"""The only place that reads a request's line: what is refused of it, and what an app gets to see."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

import httptools

_VERSIONS: Final = frozenset({"1.0", "1.1"})
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


def line_fault(url: bytes, version: str) -> str | None:
    """PX-01: whose URL is whole takes us for a forward proxy, and another Host than the header's would count."""
    if not url.startswith(b"/") and url != b"*":
        return "Invalid request: its target is a path, not a whole URL: this is no forward proxy"
    return None if version in _VERSIONS else "Invalid request: HTTP/1.1 is spoken here"


def scope_of(parser: httptools.HttpRequestParser, url: bytes) -> dict[str, Any]:
    """The part of a scope that stands in the line."""
    parts = httptools.parse_url(url)
    path = parts.path.decode("ascii")
    return {
        "type": "http", "asgi": _ASGI, "http_version": parser.get_http_version(), "scheme": "http", "root_path": "",
        "method": parser.get_method().decode("ascii"), "path": unquote(path) if "%" in path else path,
        "raw_path": parts.path, "query_string": parts.query or b"",
    }  # fmt: skip
