"""The only place that knows where to connect to: host and port, TLS or not, or a unix socket."""

from __future__ import annotations

import ssl
from typing import Final

from msgspec import Struct

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Address(Struct, frozen=True):
    """One place to connect to. `server_name` is what the certificate must say when that is not `host`."""

    host: str = ""
    port: int = 0
    tls: bool = False
    unix_path: str = ""
    server_name: str = ""

    def __str__(self) -> str:
        return f"unix://{self.unix_path}" if self.unix_path else f"{self.scheme}://{self._bracketed}:{self.port}"

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
