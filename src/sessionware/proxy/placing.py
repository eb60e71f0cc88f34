"""The only place that says which upstream a request belongs to: its session's own, or the one that it gets now."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Final

from sessionware.config.proxy_settings import Selection
from sessionware.core.admission import Binding
from sessionware.core.ids import Addresses
from sessionware.proxy.fleet import Fleet
from sessionware.proxy.health import takes_new_sessions
from sessionware.proxy.loads import Loads
from sessionware.proxy.members import Members
from sessionware.proxy.selection import ByHash, Selector, selector
from sessionware.proxy.standing import Upstream
from sessionware.proxy.tasks import Tasks
from sessionware.proxy.upstreams import UPSTREAMS_MAX

_NO_LOAD: Final[Mapping[str, int]] = {}


class Placing:
    """Chooses among the upstreams of a pool.

    `selections` by pool; `addresses` are the installation's, once it has started; `drained` are the upstreams that
    an administrator has taken out, as `pool/name`.
    """

    def __init__(
        self,
        fleet: Fleet,
        loads: Loads,
        *,
        selections: Mapping[str, Selection],
        addresses: Callable[[], Addresses],
        drained: Callable[[], Collection[str]],
    ) -> None:
        self.fleet = fleet
        self.loads = loads
        self.tasks = Tasks()
        self._selections = selections
        self._addresses = addresses
        self._drained = drained
        self._selectors: dict[str, Selector] = {}
        self._by_hash: ByHash | None = None

    def candidate(self, pool: str, key: bytes) -> Binding | None:
        """Where a session should be bound that is bound nowhere yet; `key` is its own. None: there is nobody."""
        chosen = self._chosen(self.fleet.pools[pool], self._selector(pool), key, self.loads.of(pool), ())
        return None if chosen is None else Binding(pool, chosen.name)

    def instead(self, pool: str, key: bytes, *, without: Collection[str]) -> Upstream | None:
        """Another one for a session whose own serves it no more."""
        return self._chosen(self.fleet.pools[pool], self._selector(pool), key, self.loads.of(pool), without)

    def by_hash(self, pool: str, key: bytes, *, without: Collection[str] = ()) -> Upstream | None:
        """The one for whoever is not bound: the same each time, for the same key."""
        if self._by_hash is None:
            self._by_hash = ByHash(self._addresses().salt)
        return self._chosen(self.fleet.pools[pool], self._by_hash, key, _NO_LOAD, without)

    def is_drained(self, pool: str, name: str) -> bool:
        """Whether an administrator has taken it out, or its address has left DNS."""
        upstream = self.fleet.find(pool, name)
        return f"{pool}/{name}" in self._drained() or (upstream is not None and upstream.health.is_draining)

    def _chosen(
        self,
        members: Members,
        choosing: Selector,
        key: bytes,
        load: Mapping[str, int],
        without: Collection[str],
    ) -> Upstream | None:
        for candidates in self._ranks(members, without):
            if candidates:
                chosen = choosing.choose([each.address for each in candidates], key=key, load=load)
                return None if chosen is None else members.find(chosen.name)
        return None

    def _ranks(self, members: Members, without: Collection[str]) -> tuple[list[Upstream], ...]:
        """Who may be chosen, the best first: only when there is nobody of one rank the next is looked at."""
        drained, pool = self._drained(), members.pool.name
        left = [each for each in members if each.name not in without]
        staying = [each for each in left if f"{pool}/{each.name}" not in drained and not each.health.is_draining]
        good = [each for each in staying if takes_new_sessions(each.health) and each.may_exchange()]
        return good, staying, left

    def _selector(self, pool: str) -> Selector:
        found = self._selectors.get(pool)
        if found is None:
            start = secrets.randbelow(UPSTREAMS_MAX)  # no two workers walk in step
            found = selector(self._selections[pool], salt=self._addresses().salt, start=start)
            self._selectors[pool] = found
        return found
