"""The only place that reads a Redis URL: of one server, of a cluster, of a group that Sentinel watches."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from sessionware.errors import ConfigError
from sessionware.stores.redaction import ENCODE_HINT, redacted

DEFAULT_PREFIX: Final = "sw:"
PORT: Final = 6379
SENTINEL_PORT: Final = 26379
WAIT_REPLICAS_MAX: Final = 16
_PREFIX = re.compile(r"[A-Za-z0-9_.:/-]{1,64}", re.ASCII)
_MASTER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)  # what Sentinel itself accepts
_URL = re.compile(r"(?P<scheme>[^:/?#]+)://(?P<netloc>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL)
_OPTIONS: Final = frozenset({"prefix", "ca", "cert", "key"})
_SENTINEL_OPTIONS: Final = _OPTIONS | {"sentinel_user", "sentinel_password", "wait_replicas"}


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
        return f"{'rediss' if self.tls else 'redis'}://{self.place}/{self.db}?prefix={self.prefix}"

    @property
    def place(self) -> str:
        """`host:port`, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def at(self, host: str, port: int) -> RedisAddress:
        """Another server that is talked to in the same way."""
        return replace(self, host=host, port=port)

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


class ClusterAddress(Struct, frozen=True):
    """A Redis Cluster by some of its nodes, any of which knows the others. Its repr never shows the password."""

    seeds: tuple[RedisAddress, ...]

    def __repr__(self) -> str:
        return f"{'rediss' if self.seeds[0].tls else 'redis'}+cluster://{_places(self.seeds)}?prefix={self.prefix}"

    @property
    def prefix(self) -> str:
        return self.seeds[0].prefix


class SentinelAddress(Struct, frozen=True):
    """A primary by the name under which Sentinels watch it. Its repr never shows a password.

    `data` says how to talk to the primary; where it is, the Sentinels say. `wait_replicas` have to hold what must
    not be lost (revocations, ends, rotations) before it counts as done.
    """

    sentinels: tuple[RedisAddress, ...]
    name: str
    data: RedisAddress
    wait_replicas: int = 1

    def __repr__(self) -> str:
        scheme = f"{'rediss' if self.data.tls else 'redis'}+sentinel"
        return f"{scheme}://{_places(self.sentinels)}/{self.name}/{self.data.db}?prefix={self.prefix}"

    @property
    def prefix(self) -> str:
        return self.data.prefix


def read_address(url: str) -> RedisAddress:
    """Read `redis://[user:password@]host[:port][/db][?prefix=sw:]`; rediss:// and valkeys:// mean TLS.

    Raises ConfigError that names the part at fault and never shows the password.
    """
    match = _URL.match(url)
    if match is not None and "," in match["netloc"].rpartition("@")[2] and "@" not in match["path"] + match["rest"]:
        raise ConfigError(
            f"store {redacted(url).partition('?')[0]}: several servers: write {match['scheme']}+cluster:// for a "
            f"Redis Cluster, {match['scheme']}+sentinel://host,host/NAME for a group that Sentinel watches"
        )
    return _read_server(url, _OPTIONS)


def read_cluster(url: str) -> ClusterAddress:
    """Read `redis+cluster://[user:password@]host[:port][,host[:port]…][?prefix=sw:]`; rediss+cluster:// means TLS.

    Raises ConfigError as `read_address` does.
    """
    scheme, who, hosts, path, rest = _parts_of_a_group(url)
    seeds = tuple([_read_server(f"{scheme}://{who}{host}{path}{rest}", _OPTIONS) for host in hosts])
    if seeds[0].db:
        raise ConfigError(f"store {ClusterAddress(seeds)!r}: a Redis Cluster has only the database 0, not {path}")
    return ClusterAddress(seeds)


def read_sentinels(url: str) -> SentinelAddress:
    """Read `redis+sentinel://[user:password@]host[:port][,host[:port]…]/name[/db][?prefix=sw:]`.

    The user before the @ is the primary's; the Sentinels' own are the options sentinel_user and sentinel_password.
    rediss+sentinel:// means TLS to both. Raises ConfigError as `read_address` does.
    """
    scheme, who, hosts, path, rest = _parts_of_a_group(url)
    name, slash, database = path.removeprefix("/").partition("/")
    servers = [_read_server(f"{scheme}://{who}{host}{rest}", _SENTINEL_OPTIONS) for host in hosts]
    shown = f"{scheme}://{'***@' if who else ''}{','.join(hosts)}"
    if not _MASTER_NAME.fullmatch(name):
        got = f"got {name!r}" if name else "there is none"
        raise ConfigError(
            f"store {shown}: behind the Sentinels stands the name under which they watch the primary, {got}: "
            f"write for example {shown}/mymaster/0"
        )
    options = dict(parse_qsl(rest.removeprefix("?"), keep_blank_values=True))
    if options.get("sentinel_user") and not options.get("sentinel_password"):
        raise ConfigError(f"store {shown}/{name}: sentinel_user without sentinel_password")
    sentinels = tuple([_sentinel(server, host, options) for server, host in zip(servers, hosts, strict=True)])
    data = replace(servers[0], db=_database(slash + database, f"{shown}/{name}{slash}{database}"))
    return SentinelAddress(sentinels, name, data, _replicas(options.get("wait_replicas", "1"), f"{shown}/{name}"))


def _sentinel(server: RedisAddress, host: str, options: dict[str, str]) -> RedisAddress:
    has_port = host.rpartition("]")[2].rpartition(":")[1]
    return replace(
        server,
        port=server.port if has_port else SENTINEL_PORT,
        db=0,
        username=options.get("sentinel_user", ""),
        password=options.get("sentinel_password", ""),
    )


def _parts_of_a_group(url: str) -> tuple[str, str, list[str], str, str]:
    """Scheme, user part with its @, hosts, path, and the rest with its question mark."""
    match = _URL.match(url)
    if match is None:
        raise ConfigError(f"store {redacted(url)!r} is no URL")
    if "@" in match["path"] + match["rest"]:
        raise _at_behind_the_host(url)
    user, at, listed = match["netloc"].rpartition("@")
    hosts = listed.split(",")
    if len(hosts) > 1 and not all(hosts):
        raise ConfigError(f"store {redacted(url).partition('?')[0]}: there is an empty host between its commas")
    return match["scheme"], user + at, hosts, match["path"], match["rest"]


def _read_server(url: str, known: frozenset[str]) -> RedisAddress:
    shown = redacted(url)
    try:
        parts = urlsplit(url)
        host = parts.hostname or "127.0.0.1"
    except ValueError:  # its message may quote the password: neither shown nor chained
        raise ConfigError(
            f"store {shown}: the host cannot be read: write an IPv6 address as [::1]; {ENCODE_HINT}"
        ) from None
    if "@" in parts.path + parts.query + parts.fragment:
        raise _at_behind_the_host(url)
    if parts.username and not parts.password:
        raise ConfigError(f"store {shown}: a user name without a password: write {parts.scheme}://:PASSWORD@host")
    shown = shown.partition("?")[0]
    options = _options(parts, known, shown)
    prefix = options.get("prefix", DEFAULT_PREFIX)
    if not _PREFIX.fullmatch(prefix):
        raise ConfigError(f"store {shown}: prefix {prefix!r} must be 1..64 of A-Z a-z 0-9 _ . : / -, for example sw:")
    return RedisAddress(
        host=host,
        port=_port(parts, shown),
        db=_database(parts.path, shown),
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        tls=parts.scheme.partition("+")[0] in {"rediss", "valkeys"},
        ca=options.get("ca", ""),
        cert=options.get("cert", ""),
        key=options.get("key", ""),
        prefix=prefix,
    )


def _at_behind_the_host(url: str) -> ConfigError:
    return ConfigError(f"store {redacted(url)}: there is an @ behind the host: {ENCODE_HINT}")


def _options(parts: SplitResult, known: frozenset[str], shown: str) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - known)
    if unknown and "sentinel_password" in options:  # what follows it may be the rest of a password
        raise ConfigError(
            f"store {shown}: an unknown option, known are {', '.join(sorted(known))}; "
            "in a password write & as %26 and = as %3D"
        )
    if unknown:
        raise ConfigError(f"store {shown}: unknown option {unknown[0]!r}, known are {', '.join(sorted(known))}")
    return options


def _port(parts: SplitResult, shown: str) -> int:
    try:
        return parts.port or PORT
    except ValueError:
        raise ConfigError(f"store {shown}: the port must be a number 1..65535; {ENCODE_HINT}") from None


def _database(path: str, shown: str) -> int:
    text = path.strip("/")
    if text and not (text.isascii() and text.isdigit()):
        raise ConfigError(f"store {shown}: the database must be a number, for example {shown.removesuffix(path)}/0")
    return int(text or 0)


def _replicas(text: str, shown: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= WAIT_REPLICAS_MAX):
        raise ConfigError(f"store {shown}: wait_replicas must be a number 0..{WAIT_REPLICAS_MAX}, got {text!r}")
    return int(text)


def _places(servers: Iterable[RedisAddress]) -> str:
    return ",".join([server.place for server in servers])
