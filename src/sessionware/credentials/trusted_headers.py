"""The only place that decides whose X-Forwarded-For and whose user header are believed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from msgspec import Struct

from sessionware.core.request import ADDRESS_MAX
from sessionware.errors import ConfigError

HOPS_MAX: Final = 32  # of X-Forwarded-For that are looked at, from the right; more are somebody's invention
PRIVATE: Final = "private"
SERVER: Final = "server"

_PRIVATE: Final = tuple(
    ip_network(each)
    for each in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7", "fe80::/10")
)


class TrustedProxies(Struct, frozen=True):
    """The peers that are believed. `private` also stands for a Unix socket, where there is no address.

    `server`: the ASGI server has judged its peers and written the client's address into the scope; then
    X-Forwarded-For is not read again, and the user header is believed of everybody whom the server lets in.
    """

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    is_private_trusted: bool = False
    is_server_trusted: bool = False

    def trusts(self, address: str | None) -> bool:
        """Whether this peer is one of the proxies."""
        if self.is_server_trusted:
            return True
        if address is None:
            return self.is_private_trusted
        found = _address(address)
        return found is not None and any(found in network for network in self.networks)

    def client(self, peer: str | None, forwarded_for: Sequence[str]) -> str | None:
        """The client's address: the right-most hop that is no trusted proxy; the peer if that is none.

        A hop that is no address ends the walk at the last proxy that was believed. `Forwarded` is never read:
        two headers that say the same thing can be made to disagree.
        """
        if not forwarded_for or self.is_server_trusted or not self.trusts(peer):
            return peer
        client = peer
        for hop in _hops_from_the_right(forwarded_for):
            address = _without_port(hop)
            if _address(address) is None:
                return client
            client = address
            if not self.trusts(address):
                return client
        return client


def read_proxies(entries: Iterable[str]) -> TrustedProxies:
    """The proxies that TRUSTED_PROXIES lists. Raises ConfigError for an entry that is none."""
    networks: list[IPv4Network | IPv6Network] = []
    entries = frozenset(entry.strip() for entry in entries if entry.strip())
    for entry in sorted(entries - {PRIVATE, SERVER}):
        try:
            networks.append(ip_network(entry))
        except ValueError as error:
            raise ConfigError(
                f"trusted_proxies: {entry!r}: {error}; list addresses or networks (10.0.0.0/8), {PRIVATE} or {SERVER}"
            ) from error
    is_private = PRIVATE in entries
    return TrustedProxies((*networks, *(_PRIVATE if is_private else ())), is_private, SERVER in entries)


def _hops_from_the_right(values: Sequence[str]) -> list[str]:
    hops: list[str] = []
    for value in reversed(values):
        room = HOPS_MAX - len(hops)
        if room <= 0:
            break
        hops.extend(reversed([hop.strip() for hop in value.rsplit(",", room)][-room:]))
    return hops


def _without_port(hop: str) -> str:
    """`192.0.2.1:80` and `[2001:db8::1]:80`, as some proxies write them, without the port."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _address(text: str) -> IPv4Address | IPv6Address | None:
    if len(text) > ADDRESS_MAX:
        return None
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
