"""The only place that says at the start what was started: where it listens, what is behind it, who may come."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from typing import Final

from sessionware.config.load import Loaded
from sessionware.config.settings import Settings, without_password
from sessionware.proxy.upstreams import Pool, pools_of
from sessionware.standalone.listening import url_of

UPSTREAMS_SHOWN: Final = 8  # of one pool
log: Final = logging.getLogger("sessionware")


def announce(loaded: Loaded, clients: Sequence[socket.socket], admin: Sequence[socket.socket]) -> None:
    """Tell it on standard output, or as log lines where those are JSON."""
    for line in lines(loaded, clients, admin):
        if loaded.settings.log_format == "json":
            log.info("%s", line)
        else:
            print(line, flush=True)


def lines(loaded: Loaded, clients: Sequence[socket.socket], admin: Sequence[socket.socket]) -> Iterator[str]:
    settings, proxy = loaded.settings, loaded.proxy
    assert proxy is not None, "the settings are those of the proxy"  # noqa: S101  # whoever starts it has looked
    workers = "" if settings.workers == 1 else f" with {settings.workers} workers"
    yield f"sessionware proxy: listening on {url_of(clients)}{workers}"
    for pool in pools_of(proxy):
        yield f"  {pool.path} -> {_members(pool)}"
    yield f"  store: {without_password(settings.store)}; callers: {_callers(settings)}"
    yield f"  open to everybody: {_open_pages(admin)}"


def _members(pool: Pool) -> str:
    shown = [f"{each.origin}{each.path}" for each in pool.upstreams[:UPSTREAMS_SHOWN]]
    more = len(pool.upstreams) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _callers(settings: Settings) -> str:
    """Who may call, in words."""
    ways = [
        *(["tokens"] if settings.verifies_tokens else []),
        *(["API keys"] if settings.api_keys_file else []),
        *([f"{settings.user_header} of trusted proxies"] if settings.trusted_proxies and settings.user_header else []),
    ]
    if not ways:
        return "anybody who can connect"
    return f"by {', '.join(ways)}" + ("" if settings.anonymous == "off" else "; strangers without a user of their own")


def _open_pages(admin: Sequence[socket.socket]) -> str:
    if admin:
        return f"/health, /ready; /metrics only on {url_of(admin)}"
    return "/health, /ready, /metrics (ADMIN_BIND=127.0.0.1:9090 takes /metrics away)"
