"""The only place that knows which upstreams stand in a pool right now: those of the settings, and those of DNS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Final

from sessionware.proxy.addresses import UpstreamAddress, resolved
from sessionware.proxy.standing import Upstream
from sessionware.proxy.upstreams import UPSTREAMS_MAX, Pool

LEFT_KEPT_S: Final = 600.0  # an address that has left DNS is forgotten after so long without an exchange


class Members:
    """One pool at work. An upstream of `dns+` is a name; its members are the addresses that the name stands for."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.names = tuple(each for each in pool.upstreams if each.is_dns)
        self._standing = {each.name: Upstream(each) for each in pool.upstreams if not each.is_dns}
        self._left: dict[str, float] = {}  # since when
        self._is_told: set[str] = set()  # the names that DNS has answered for

    def __iter__(self) -> Iterator[Upstream]:
        return iter(tuple(self._standing.values()))

    @property
    def is_known(self) -> bool:
        """Whether every name was resolved at least once: before that, who is missing may only not have been told."""
        return len(self._is_told) == len(self.names)

    def find(self, name: str) -> Upstream | None:
        """One by its name; None: it is not configured any more.

        What another worker was told of a `dns+` name, and this one was not (or has forgotten), is still an address of
        that name: its sessions live there until it is dead.
        """
        found = self._standing.get(name)
        if found is not None or not self.names:
            return found
        for address in self.names:
            member = _member(address, name)
            if member is not None and len(self._standing) < UPSTREAMS_MAX:
                upstream = self._standing[name] = Upstream(member)
                upstream.leave()
                self._left[name] = 0.0
                return upstream
        return None

    def told(self, address: UpstreamAddress, ips: Iterable[str], *, now: float) -> list[Upstream]:
        """What DNS says a name stands for; answers those that were forgotten, whose connections are to be closed.

        Who is not among them any more drains: a terminating pod leaves DNS first and finishes its work then.
        """
        self._is_told.add(address.name)
        here = {member.name: member for member in (resolved(address, ip) for ip in ips)}
        for name, member in here.items():
            upstream = self._standing.get(name)
            if upstream is None and len(self._standing) < UPSTREAMS_MAX:
                self._standing[name] = Upstream(member)
            elif upstream is not None and self._left.pop(name, None) is not None:
                upstream.come_back()
        own = [name for name, each in self._standing.items() if name not in here and _stems_from(address, each.address)]
        for name in own:
            if name not in self._left:
                self._standing[name].leave()
                self._left[name] = now
        return [self._standing.pop(name) for name in own if self._is_over(name, now)]

    def _is_over(self, name: str, now: float) -> bool:
        upstream = self._standing[name]
        since = max(self._left[name], upstream.heard_at)
        if upstream.in_flight or now - since < LEFT_KEPT_S:
            return False
        del self._left[name]
        return True


def _member(address: UpstreamAddress, name: str) -> UpstreamAddress | None:
    """The member of a name that is called so; None: it is none of that name's."""
    node = name.removeprefix(f"{address.name}-").rpartition(":")[0]
    try:
        member = resolved(address, str(ip_address(node.strip("[]"))))
    except ValueError:
        return None
    return member if member.name == name else None


def _stems_from(address: UpstreamAddress, member: UpstreamAddress) -> bool:
    """Whether it was this name that was resolved to the member: two names may share a port."""
    return member.known_as != "" and resolved(address, member.host) == member
