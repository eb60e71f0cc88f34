"""The only place that reads a PostgreSQL URL."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from sessionware.errors import ConfigError
from sessionware.stores.redaction import ENCODE_HINT, redacted

DEFAULT_SCHEMA: Final = "sessionware"
PORT: Final = 5432
EXAMPLE: Final = "postgresql://user:password@127.0.0.1:5432/database"
TLS_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TLS_ALWAYS: Final = frozenset({"require", "verify-ca", "verify-full"})
_SCHEMA: Final = re.compile(
    r"(?!pg_)[a-z_][a-z0-9_]{0,47}", re.ASCII
)  # 63 with what stands before it in a channel's name
_OPTIONS: Final = frozenset({"create", "host", "schema", "sslcert", "sslkey", "sslmode", "sslrootcert"})
_PASSWORDS: Final = frozenset({"password", "sslpassword"})
_CREATE: Final = {"yes": True, "no": False}

Host = tuple[str, int]


class PostgresAddress(Struct, frozen=True):
    """Where the server is, or the servers of which one takes writes. Its repr never shows the password."""

    hosts: tuple[Host, ...]
    database: str
    user: str = ""
    password: str = ""
    schema: str = DEFAULT_SCHEMA
    create: bool = True
    sslmode: str = "prefer"
    sslrootcert: str = ""
    sslcert: str = ""
    sslkey: str = ""

    def __repr__(self) -> str:
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"postgresql://{hosts}/{self.database}?schema={self.schema}"

    @property
    def channel(self) -> str:
        """Where events are told. The SQL has the same: 'sessionware:' || current_schema()."""
        return f"sessionware:{self.schema}"

    @property
    def is_near(self) -> bool:
        """Whether nobody can listen on the way: sockets and loopback addresses."""
        return all(_is_near(host) for host, _ in self.hosts)

    @property
    def insists_on_tls(self) -> bool:
        """Whether no connection comes about without TLS, whoever ends it: the server, or a pooler before it."""
        return self.sslmode in _TLS_ALWAYS

    def tls(self) -> ssl.SSLContext | str:
        """What the driver is told about TLS. Raises ConfigError on a file that cannot be read."""
        if not self.insists_on_tls:
            return self.sslmode
        private = self.sslrootcert not in {"", "system"}
        try:
            context = ssl.create_default_context(cafile=self.sslrootcert if private else None)
            context.check_hostname = self.sslmode == "verify-full"
            if self.sslmode == "require" and not self.sslrootcert:
                context.verify_mode = ssl.CERT_NONE  # as libpq: encrypted, with whoever answers
            if self.sslcert:
                context.load_cert_chain(self.sslcert, self.sslkey or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{self!r}: cannot load the TLS files ({error}): check sslrootcert=, sslcert= and sslkey="
            ) from error
        return context


def read_address(url: str) -> PostgresAddress:
    """Read `postgresql://[user[:password]@]host[:port][,host...]/database[?schema=sessionware&sslmode=verify-full]`.

    A socket's folder is written as `?host=/run/postgresql`. Raises ConfigError that names the part at fault and never
    shows the password.
    """
    shown = redacted(url)
    try:
        parts = urlsplit(url)
    except ValueError:  # its message may quote the password: neither shown nor chained
        raise ConfigError(
            f"store {shown}: the host cannot be read: write an IPv6 address as [::1]; {ENCODE_HINT}"
        ) from None
    if "@" in parts.path + parts.query + parts.fragment:
        raise ConfigError(f"store {shown}: there is an @ behind the host: {ENCODE_HINT}")
    shown = shown.partition("?")[0]
    options = _options(parts.query, shown)
    who, _, where = parts.netloc.rpartition("@")
    user, _, password = who.partition(":")
    database = unquote(parts.path.removeprefix("/"))
    if not database or "\0" in database:
        raise ConfigError(f"store {shown} names no database: write for example {EXAMPLE}")
    return PostgresAddress(
        hosts=_hosts(where, options.get("host", ""), shown),
        database=database,
        user=unquote(user),
        password=unquote(password),
        schema=_schema(options, shown),
        create=_CREATE[_one_of(tuple(_CREATE), options, "create", "yes", shown)],
        sslmode=_one_of(TLS_MODES, options, "sslmode", "prefer", shown),
        sslrootcert=options.get("sslrootcert", ""),
        sslcert=options.get("sslcert", ""),
        sslkey=options.get("sslkey", ""),
    )


def _options(query: str, shown: str) -> Mapping[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if "prefix" in options:
        raise ConfigError(
            f"store {shown}: prefix= is for Redis: in PostgreSQL installations are kept apart by schema=, "
            f"for example {shown}?schema={DEFAULT_SCHEMA}_two"
        )
    if options.keys() & _PASSWORDS:  # what follows it may be the rest of a password
        raise ConfigError(f"store {shown}: a password stands before the host: {EXAMPLE}; {ENCODE_HINT}")
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise ConfigError(f"store {shown}: unknown option {unknown[0]!r}, known are {', '.join(sorted(_OPTIONS))}")
    return options


def _hosts(netloc: str, socket: str, shown: str) -> tuple[Host, ...]:
    if socket and (netloc or not socket.startswith("/")):
        raise ConfigError(
            f"store {shown}: host= is the folder of a socket (?host=/run/postgresql): write other hosts before the path"
        )
    return tuple([_host(each, shown) for each in (netloc or socket or "127.0.0.1").split(",")])


def _host(text: str, shown: str) -> Host:
    if text.startswith("/"):
        return text, PORT
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port if parts.port is not None else PORT
    except ValueError:
        port = 0
    if not port or not parts.hostname:
        raise ConfigError(
            f"store {shown}: each host must be a name or an address, then perhaps : and a port 1..65535; {ENCODE_HINT}"
        )
    return unquote(parts.hostname), port


def _schema(options: Mapping[str, str], shown: str) -> str:
    schema = options.get("schema", DEFAULT_SCHEMA)
    if not _SCHEMA.fullmatch(schema):
        raise ConfigError(
            f"store {shown}: schema {redacted(schema)!r} must be 1..48 of a-z 0-9 _, not begin with a digit or pg_, "
            f"for example {DEFAULT_SCHEMA}"
        )
    return schema


def _one_of(known: tuple[str, ...], options: Mapping[str, str], name: str, default: str, shown: str) -> str:
    value = options.get(name, default)
    if value not in known:
        raise ConfigError(f"store {shown}: {name} must be one of {', '.join(known)}, got {redacted(value)!r}")
    return value


def _is_near(host: str) -> bool:
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
