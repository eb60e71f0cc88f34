"""The only place that says what rules may know of a request, and how a client's address is written."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from msgspec import Struct

UNKNOWN_CLIENT: Final = "unknown"
CLIENT_PREFIX: Final = 64  # one IPv6 household or host owns a /64: anything longer is a free new identity
ADDRESS_MAX: Final = 64  # longer than any address with its scope id

_LIFECYCLE: Final = frozenset({"server/discover", "initialize", "ping"})


class Facts(Struct, frozen=True, kw_only=True, gc=False):
    """What rules may look at. `path` is `scope["path"]`; `client` comes from `client_group`.

    `is_mcp`: the path is an MCP endpoint. `mcp_method`, `tool` and `pool` are what the request is about, if
    that is known. `count` is how many requests this one stands for (a legacy JSON-RPC batch). The defaults
    are work without a request: only limits that ask nothing of one match it.
    """

    method: str = ""
    path: str = ""
    client: str = ""
    tool: str = ""
    mcp_method: str = ""
    pool: str = ""
    is_mcp: bool = False
    is_preflight: bool = False
    count: int = 1

    @property
    def is_lifecycle(self) -> bool:
        """Whether this is MCP housekeeping, which must never be limited like a tool call.

        A 429 on the probe would lock a client into the legacy protocol; GET and DELETE open and end streams.
        """
        if not self.is_mcp:
            return False
        return self.method != "POST" or is_housekeeping(self.mcp_method)


def is_housekeeping(mcp_method: str) -> bool:
    """Whether such a message of MCP asks for no work."""
    return mcp_method in _LIFECYCLE or mcp_method.startswith("notifications/")


def client_group(address: str | None) -> str:
    """The client that an address stands for: IPv4 as it is, IPv6 by its /64, anything else one bounded value."""
    if not address or len(address) > ADDRESS_MAX:
        return UNKNOWN_CLIENT
    try:
        return str(IPv4Address(address))
    except AddressValueError:
        pass
    try:
        long = IPv6Address(address.strip("[]").partition("%")[0])
    except AddressValueError:
        return UNKNOWN_CLIENT
    if long.ipv4_mapped is not None:
        return str(long.ipv4_mapped)
    network = int(long) >> (128 - CLIENT_PREFIX) << (128 - CLIENT_PREFIX)
    return f"{IPv6Address(network)}/{CLIENT_PREFIX}"
