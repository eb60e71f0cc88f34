"""The only place that reads a Redis URL."""

from __future__ import annotations

import re
import ssl
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from msgspec import Struct

from sessionware.errors import ConfigError
from sessionware.stores.redaction import ENCODE_HINT, redacted

DEFAULT_PREFIX: Final = "sw:"
_PREFIX = re.compile(r"[A-Za-z0-9_.:/-]{1,64}", re.ASCII)
_OPTIONS: Final = frozenset({"prefix", "ca", "cert", "key"})


class RedisAddress(Struct, frozen=True):
    """Where a server is and how to talk to it. Its repr never shows the password."""

    host: str
    port: int
    db: int = 0
    username: str = ""
    password: str = ""
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""
    prefix: str = DEFAULT_PREFIX

    def __repr__(self) -> str:
        return f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}/{self.db}?prefix={self.prefix}"

    def tls_context(self) -> ssl.SSLContext | None:
        """Certificates are always verified; `ca` names a private authority. Raises ConfigError on a bad file."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.cert:
                context.load_cert_chain(self.cert, self.key or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{self!r}: cannot load the TLS files ({error}): check ca=, cert= and key=") from error
        return context


def read_address(url: str) -> RedisAddress:
    """Read `redis://[user:password@]host[:port][/db][?prefix=sw:]`; rediss:// and valkeys:// mean TLS.

    Raises ConfigError that names the part at fault and never shows the password.
    """
    shown = redacted(url)
    try:
        parts = urlsplit(url)
        host = parts.hostname or "127.0.0.1"
    except ValueError:  # its message may quote the password: neither shown nor chained
        raise ConfigError(
            f"store {shown}: the host cannot be read: write an IPv6 address as [::1]; {ENCODE_HINT}"
        ) from None
    if "@" in parts.path + parts.query + parts.fragment:
        raise ConfigError(f"store {shown}: there is an @ behind the host: {ENCODE_HINT}")
    if parts.username and not parts.password:
        raise ConfigError(f"store {shown}: a user name without a password: write {parts.scheme}://:PASSWORD@host")
    shown = shown.partition("?")[0]
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise ConfigError(f"store {shown}: unknown option {unknown[0]!r}, known are {', '.join(sorted(_OPTIONS))}")
    prefix = options.get("prefix", DEFAULT_PREFIX)
    if not _PREFIX.fullmatch(prefix):
        raise ConfigError(f"store {shown}: prefix {prefix!r} must be 1..64 of A-Z a-z 0-9 _ . : / -, for example sw:")
    return RedisAddress(
        host=host,
        port=_port(parts, shown),
        db=_database(parts.path, shown),
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        tls=parts.scheme in {"rediss", "valkeys"},
        ca=options.get("ca", ""),
        cert=options.get("cert", ""),
        key=options.get("key", ""),
        prefix=prefix,
    )


def _port(parts: SplitResult, shown: str) -> int:
    try:
        return parts.port or 6379
    except ValueError:
        raise ConfigError(f"store {shown}: the port must be a number 1..65535; {ENCODE_HINT}") from None


def _database(path: str, shown: str) -> int:
    text = path.strip("/")
    if text and not (text.isascii() and text.isdigit()):
        raise ConfigError(f"store {shown}: the database must be a number, for example {shown.removesuffix(path)}/0")
    return int(text or 0)
