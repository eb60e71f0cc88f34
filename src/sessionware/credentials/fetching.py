"""The only place that asks another server for a document: small, soon, from exactly where it was told."""

from __future__ import annotations

import asyncio
import ssl
from ipaddress import ip_address
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, urlsplit

import httpx2
import msgspec

from sessionware.errors import ConfigError

TIMEOUT_S: Final = 3.0  # for the whole exchange, from the name's lookup to the last byte
BODY_MAX: Final = 512 * 1024  # bytes; real key sets have 2 to 20 KiB
_OK: Final = 200
_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "sessionware"}


class FetchFailed(Exception):
    """The document cannot be had; the message says why."""


class Fetch(Protocol):
    """Gets a JSON document by its URL. Raises FetchFailed."""

    async def __call__(self, url: str) -> Any: ...


class JsonFetcher:
    """Gets JSON over https (http only on this host): no redirects, no proxies of the environment, no cookies."""

    def __init__(self, *, timeout: float = TIMEOUT_S) -> None:
        self._timeout = timeout
        self._tls: ssl.SSLContext | None = None

    async def __call__(self, url: str) -> Any:
        if not is_fetchable(url):
            raise FetchFailed(f"{url} is neither https nor on this host")
        try:
            async with asyncio.timeout(self._timeout):
                return msgspec.json.decode(await self._body(url))
        except TimeoutError as error:
            raise FetchFailed(f"{url} did not answer within {self._timeout:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            raise FetchFailed(f"{url}: {type(error).__name__}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise FetchFailed(f"{url} answered something that is not JSON") from error

    async def _body(self, url: str) -> bytes:
        if self._tls is None and url.startswith("https:"):
            self._tls = await asyncio.to_thread(httpx2.create_ssl_context)  # reads 200 KiB of certificates
        # A client of its own for each fetch, minutes apart: nothing stays bound to an event loop.
        client = httpx2.AsyncClient(
            verify=self._tls or False, trust_env=False, follow_redirects=False, timeout=self._timeout
        )
        async with client, client.stream("GET", url, headers=_HEADERS) as response:
            if response.status_code != _OK:
                raise FetchFailed(f"{url} answered {response.status_code}, expected {_OK}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise FetchFailed(f"{url} answered compressed, which was not asked for")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > BODY_MAX:
                    raise FetchFailed(f"{url} answered more than {BODY_MAX // 1024} KiB")
            return bytes(body)


def is_fetchable(url: str) -> bool:
    """Whether keys may come from there: https, or http on this host; never with a password in it."""
    parts = _split(url)
    if parts is None or not parts.hostname or "@" in parts.netloc or not url.isascii() or not url.isprintable():
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url))


def is_loopback(url: str) -> bool:
    """Whether the URL names this host."""
    parts = _split(url)
    host = parts.hostname if parts else None
    if host is None or host == "localhost":
        return host is not None
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_fetchable(setting: str, url: str) -> str:
    """Return `url`. Raises ConfigError when keys must not come from there."""
    if not is_fetchable(url):
        raise ConfigError(
            f"{setting}: {url!r} must begin with https:// (http:// only for 127.0.0.1, ::1 and localhost): "
            "whoever can change the answer can sign tokens"
        )
    return url


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError for one that is none
    except ValueError:
        return None
    return parts
