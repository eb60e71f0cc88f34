"""The only place that believes a proxy in front of us that its client came by HTTPS."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

from sessionware.credentials.resolver import Resolver

_PROTO: Final = b"x-forwarded-proto"
_OF_SOCKETS: Final = {b"http": "ws", b"https": "wss", b"ws": "ws", b"wss": "wss"}
_OF_REQUESTS: Final = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}


def settle_scheme(scope: MutableMapping[str, Any], resolver: Resolver) -> None:
    """Write the scheme that the client used into the scope, where a trusted proxy tells it in X-Forwarded-Proto.

    One header with one word counts: two words could be two proxies that disagree, and the nearest may not be the one
    that ended the TLS. From any other peer it is as good as absent.
    """
    if not resolver.has_proxies:
        return
    said = [value for name, value in scope["headers"] if name == _PROTO]
    if len(said) != 1:
        return
    client = scope.get("client")
    if resolver.trusts(client[0] if client else None):
        known = _OF_SOCKETS if scope["type"] == "websocket" else _OF_REQUESTS
        scheme = known.get(said[0].strip(b" \t").lower())
        if scheme is not None:
            scope["scheme"] = scheme
