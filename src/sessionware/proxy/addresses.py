"""The only place that reads the address of one upstream, in all its spellings, and knows what leads there."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Final, Literal
from urllib.parse import SplitResult, urljoin, urlsplit

from msgspec import Struct

Scheme = Literal["http", "https", "unix"]

NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", re.ASCII)
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
PORT_MAX: Final = 65_535
SOCKET_MAX: Final = 107  # bytes of a socket's path: what the kernel's sockaddr_un holds
_NAMED: Final = re.compile(r"([^@/]*)@(?=[a-z+]+://)", re.ASCII)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_AUTHORITY: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?", re.ASCII)
_HOST: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,126}\.?", re.ASCII)
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*", re.ASCII)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DNS: Final = "dns+"
_EXAMPLE: Final = "http://127.0.0.1:9001/mcp"


class UpstreamAddress(Struct, frozen=True, kw_only=True):
    """One upstream as it is configured. `is_dns`: it stands for every address that its host resolves to.

    For `unix` the host is the path of the socket and the port 0. The path is "" or starts with a slash. `known_as`
    is the host that was resolved to this address: Host and the certificate speak of that one.
    """

    name: str
    scheme: Scheme
    host: str
    port: int
    path: str = ""
    is_dns: bool = False
    known_as: str = ""

    @property
    def authority(self) -> str:
        """What its Host header says; behind a socket there is no other name than `localhost`."""
        if self.scheme == "unix":
            return "localhost"
        host = self.known_as or (f"[{self.host}]" if ":" in self.host else self.host)
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{'http' if self.scheme == 'unix' else self.scheme}://{self.authority}"

    @property
    def written(self) -> str:
        """As one writes it in UPSTREAMS, but for its name."""
        if self.scheme == "unix":
            return f"unix://{self.host}" + (f":{self.path}" if self.path else "")
        return f"{_DNS if self.is_dns else ''}{self.origin}{self.path}"

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"


class BadAddress(ValueError):
    """The text is no address of an upstream. `offset`: where in it; the message ends in the way out."""

    def __init__(self, problem: str, offset: int = 0) -> None:
        super().__init__(problem)
        self.offset = offset


def parse_address(text: str) -> UpstreamAddress:
    """`[name@][dns+]http[s]://host[:port][/path]` or `[name@]unix:///path/of.sock[:/path]`.

    Without a name it is called by its host and port. Raises BadAddress.
    """
    named = _NAMED.match(text)
    name, start = (named[1], named.end()) if named else ("", 0)
    if named and not NAME.fullmatch(name):
        raise BadAddress("a name holds letters, digits, `.`, `_` and `-`: write for example one@" + _EXAMPLE)
    found = _SCHEME.match(text, start)
    if found is None:
        raise BadAddress(f"an upstream is a URL: write for example {_EXAMPLE}", start)
    scheme, at = found[1].lower(), found.end()
    if scheme == "unix":
        return _socket(name, text, at)
    plain = scheme.removeprefix(_DNS)
    if plain not in DEFAULT_PORTS:
        raise BadAddress(
            f"{scheme}:// is not known: write http://, https://, dns+http://, dns+https:// or unix://", start
        )
    return _site(name, text, at, plain, is_dns=scheme != plain)


def resolved(address: UpstreamAddress, ip: str) -> UpstreamAddress:
    """One of the addresses that a `dns+` upstream stands for, under a name that stays its own."""
    node = f"[{ip}]" if ":" in ip else ip
    own = f"{node}:{address.port}"
    name = own if address.name == _site_name(address.host, address.port) else f"{address.name}-{own}"
    return UpstreamAddress(
        name=name, scheme=address.scheme, host=ip, port=address.port, path=address.path, known_as=address.host
    )  # fmt: skip


def own_place(upstream: UpstreamAddress, reference: str, *, base: str = "/") -> SplitResult | None:
    """Where a reference leads that an upstream has given, read at its path `base`; None: to another place, or nowhere.

    Readers take a backslash for a slash or not: what holds one leads nowhere.
    """
    try:
        parts = urlsplit(urljoin(upstream.origin + base, reference))
    except ValueError:
        return None
    # Compared as text: `http://a:80@evil` and `//evil` do not start with our origin and a slash.
    is_own = f"{parts.scheme}://{parts.netloc}".lower() == upstream.origin.lower()
    return parts if is_own and "\\" not in reference else None


def _socket(name: str, text: str, at: int) -> UpstreamAddress:
    socket, colon, path = text[at:].partition(":")
    if not socket.startswith("/") or not socket.isprintable() or len(socket.encode()) > SOCKET_MAX:
        raise BadAddress(
            f"a socket is an absolute path of at most {SOCKET_MAX} bytes: write for example unix:///run/mcp.sock:/mcp",
            at,
        )
    if colon:
        _check_path(path, at + len(socket) + 1)
    # A slash would end the name where it stands in a path of the admin API.
    return UpstreamAddress(
        name=name or socket.strip("/").replace("/", "."), scheme="unix", host=socket, port=0, path=path
    )


def _site(name: str, text: str, at: int, scheme: str, *, is_dns: bool) -> UpstreamAddress:
    rest = text[at:]
    end = next((index for index, character in enumerate(rest) if character in "/?#"), len(rest))
    authority, path = rest[:end], rest[end:]
    if "@" in authority:
        raise BadAddress("a URL holds no password: the credential for upstreams is UPSTREAM_AUTHORIZATION", at)
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise BadAddress(f"`{authority}` is no host and port: write for example {_EXAMPLE}", at)
    host = _host(found[1], at, is_dns=is_dns)
    port = _port(found[2], scheme, at + len(found[1]) + 1)
    _check_path(path, at + end)
    return UpstreamAddress(
        name=name or _site_name(host, port),
        scheme="https" if scheme == "https" else "http",
        host=host,
        port=port,
        path=path,
        is_dns=is_dns,
    )


def _site_name(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _host(text: str, at: int, *, is_dns: bool) -> str:
    if text.startswith("["):
        try:
            address = IPv6Address(text[1:-1])
        except ValueError:
            raise BadAddress(f"{text} is no IPv6 address: write for example http://[::1]:9001/mcp", at) from None
        if address.scope_id is not None:
            raise BadAddress(f"{text}: a zone cannot be written into a Host header, leave it out", at)
        return str(address)
    if not _HOST.fullmatch(text):
        raise BadAddress(f"`{text}` is no host: write for example {_EXAMPLE}", at)
    if text.rstrip(".").rpartition(".")[2].isdigit() and not _is_ipv4(text):
        raise BadAddress(f"`{text}` is neither a name nor an IPv4 address: write four numbers, as 127.0.0.1", at)
    if is_dns and _is_ipv4(text):
        raise BadAddress(f"`{text}` is an address already: leave `dns+` out", at)
    return text.lower()


def _is_ipv4(text: str) -> bool:
    try:
        return ip_address(text).version == 4  # noqa: PLR2004  # IP's own number
    except ValueError:
        return False


def _port(text: str | None, scheme: str, at: int) -> int:
    if text is None:
        return DEFAULT_PORTS[scheme]
    if not text or len(text) > len(str(PORT_MAX)) or not 0 < int(text) <= PORT_MAX:
        raise BadAddress(f"a port is 1..{PORT_MAX}", at)
    return int(text)


def _check_path(path: str, at: int) -> None:
    """The path is sent as it stands: it must be one, and lead nowhere else."""
    for mark, what in (("?", "query"), ("#", "fragment")):
        if mark in path:
            raise BadAddress(
                f"a {what} means nothing here: write only scheme, host, port and path", at + path.index(mark)
            )
    if not _PATH.fullmatch(path) or _BAD_ESCAPE.search(path):
        raise BadAddress("the path holds characters that must be percent-encoded", at)
    if path.startswith("//") or {".", ".."} & set(path.split("/")):
        raise BadAddress("the path leads elsewhere: write it without `//`, `.` and `..`", at)
