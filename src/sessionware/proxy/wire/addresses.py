"""The only place that reads where an upstream listens: host and port, TLS or not, or a unix socket."""

from __future__ import annotations

import ssl
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from sessionware.errors import ConfigError

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_UNIX: Final = "http+unix"
_FORMS: Final = "write http://host:port, https://host:port or http+unix:///path/of.sock"


class Address(Struct, frozen=True):
    """One place to connect to. `server_name` is what the certificate must say when that is not `host`."""

    host: str = ""
    port: int = 0
    tls: bool = False
    unix_path: str = ""
    server_name: str = ""

    def __str__(self) -> str:
        return f"{_UNIX}://{self.unix_path}" if self.unix_path else f"{self.scheme}://{self._bracketed}:{self.port}"

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def authority(self) -> str:
        """The value of `Host`: without the port where it is the scheme's own; behind a unix socket `localhost`."""
        if self.unix_path:
            return "localhost"
        name = self.server_name or self._bracketed
        return name if self.port == _DEFAULT_PORTS[self.scheme] else f"{name}:{self.port}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def tls_context(self) -> ssl.SSLContext | None:
        """Verify certificate and name against the system's authorities; nothing when the address is plain."""
        return ssl.create_default_context() if self.tls else None


def read_address(url: str) -> Address:
    """Read the address part of an upstream's URL; an HTTP path behind it is left to the caller.

    Raises ConfigError for another scheme, a missing host, user information or a port that cannot be.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"upstream: the address cannot be read ({error}): {_FORMS}") from None
    if "@" in parts.netloc:  # never shown: it is a password
        raise ConfigError(f"upstream on {parts.hostname}: credentials do not belong into the address: {_FORMS}")
    if parts.scheme == _UNIX:
        if parts.netloc or not parts.path.strip("/"):
            raise ConfigError(f"upstream {url!r}: a unix socket is an absolute path: {_FORMS}")
        return Address(unix_path=parts.path)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ConfigError(f"upstream {url!r}: no address to connect to: {_FORMS}")
    return Address(
        host=parts.hostname, port=_DEFAULT_PORTS[parts.scheme] if port is None else port, tls=parts.scheme == "https"
    )
