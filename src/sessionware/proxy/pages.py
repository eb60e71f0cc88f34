"""The only place that says which names we answer to, and which web pages may ask, where no list says so (PX-05).

A page that has rebound its own name reaches every port of this machine: the browser then sends that name as Host,
and as Origin. Ports tell nothing: whoever listens on another one here, or tunnels to us, is as near as we are.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
_ORIGIN: Final = re.compile(r"(?:https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


class Pages(Struct, frozen=True, kw_only=True):
    """`listed` is ALLOWED_ORIGINS, `own` the origin of PUBLIC_URL. `is_local`: only this machine can reach us."""

    listed: frozenset[str] = frozenset()
    own: str = ""
    is_local: bool = False

    def may_ask(self, origin: str | None, *, host: str) -> bool:
        """Whether what sends this Origin may; what sends none is no browser. `host` is what the request calls us."""
        if origin is None or (self.own and origin == self.own):
            return True
        if self.listed:
            return origin in self.listed
        found = _ORIGIN.fullmatch(origin)
        if found is None:  # `null` is everybody's
            return False
        if self.is_local:
            return found[1].lower() in LOCAL_NAMES
        return bool(host) and origin.partition("://")[2].lower() == host.lower()


def local_hosts(public_url: str | None) -> tuple[str, ...]:
    """ALLOWED_HOSTS of a proxy that only this machine can reach: its names, and the one that the world knows."""
    public = [] if public_url is None else [urlsplit(public_url).netloc.lower()]
    return (*[f"{name}:*" for name in LOCAL_NAMES], *public)


def origin_of(url: str | None) -> str:
    """The origin of PUBLIC_URL; empty without one."""
    if url is None:
        return ""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
