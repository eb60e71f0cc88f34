"""The endpoints of the upstreams: how they are, and taking them out and in again. Administrators only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sessionware.api.calls import Answer, Call, Endpoint
from sessionware.asgi.problems import Problem, problem
from sessionware.core.store import Query
from sessionware.proxy.app import ProxyApp
from sessionware.proxy.members import Members
from sessionware.proxy.rebalancing import Rebalancing
from sessionware.proxy.standing import Upstream


class UpstreamPages:
    """What lies under `/upstreams`."""

    def __init__(self, proxy: ProxyApp) -> None:
        self._proxy = proxy

    def paths(self) -> dict[str, dict[str, Endpoint]]:
        """Every path with its endpoints by method."""
        return {
            "/upstreams": {"GET": self.show},
            "/upstreams/{pool}": {"GET": self.show_pool},
            "/upstreams/{pool}/rebalance": {"POST": self.rebalance},
            "/upstreams/{pool}/{name}/drain": {"POST": self.drain},
            "/upstreams/{pool}/{name}/undrain": {"POST": self.undrain},
        }

    async def show(self, call: Call) -> Answer:
        """GET /upstreams."""
        await call.sessions.admin("upstreams", await call.actor())
        counted = await self._counted(call)
        return Answer({"pools": [self._shown(each, counted) for each in self._proxy.placing.fleet.pools.values()]})

    async def show_pool(self, call: Call) -> Answer | Problem:
        """GET /upstreams/{pool}."""
        await call.sessions.admin("upstreams", await call.actor())
        members = self._members(call)
        return members if isinstance(members, Problem) else Answer(self._shown(members, await self._counted(call)))

    async def drain(self, call: Call) -> Answer | Problem:
        """POST /upstreams/{pool}/{name}/drain: no new sessions, on no worker and no replica; those it has stay."""
        return await self._set(call, is_draining=True)

    async def undrain(self, call: Call) -> Answer | Problem:
        """POST /upstreams/{pool}/{name}/undrain."""
        return await self._set(call, is_draining=False)

    async def rebalance(self, call: Call) -> Answer | Problem:
        """POST /upstreams/{pool}/rebalance: move the sessions of which nothing lives where they are."""
        members = self._members(call)
        name = call.part("pool")
        await call.sessions.admin("rebalance", await call.actor(), pool=name)
        if isinstance(members, Problem):
            return members
        done = await Rebalancing(self._proxy.placing, call.sessions.runtime, name).run()
        return Answer({"pool": name, "moved": done.moved, "kept": done.kept, "sessions": done.sessions})

    async def _set(self, call: Call, *, is_draining: bool) -> Answer | Problem:
        pool, name = call.part("pool"), call.part("name")
        act = "drain" if is_draining else "undrain"
        await call.sessions.admin(act, await call.actor(), upstream=f"{pool}/{name}")
        members = self._members(call)
        if isinstance(members, Problem):
            return members
        drains = self._proxy.drains
        is_known = members.find(name) is not None or f"{pool}/{name}" in drains()  # one that left the settings drained
        if not is_known:
            known = ", ".join(each.name for each in members)
            return problem(404, f"No upstream '{name}' in pool '{pool}': known are {known}", "upstream_not_found")
        await (drains.drain(pool, name) if is_draining else drains.undrain(pool, name))
        return Answer({"pool": pool, "name": name, "draining": is_draining})

    def _members(self, call: Call) -> Members | Problem:
        pools, name = self._proxy.placing.fleet.pools, call.part("pool")
        found = pools.get(name)
        return found or problem(404, f"No pool '{name}': known are {', '.join(pools)}", "pool_not_found")

    async def _counted(self, call: Call) -> Mapping[tuple[str, str], int]:
        runtime = call.sessions.runtime
        return (await runtime.store.list(Query(limit=0), now=runtime.now())).upstreams

    def _shown(self, members: Members, counted: Mapping[tuple[str, str], int]) -> dict[str, Any]:
        pool = members.pool
        return {
            "name": pool.name,
            "kind": pool.kind,
            "path": pool.path,
            "selection": self._proxy.selection_of(pool.name),
            "upstreams": [self._one(pool.name, each, counted) for each in members],
        }

    def _one(self, pool: str, upstream: Upstream, counted: Mapping[tuple[str, str], int]) -> dict[str, Any]:
        """`state`, `circuit` and `in_flight` are what this worker knows, the others hold for all."""
        return {
            "name": upstream.name,
            "address": upstream.address.written,
            "state": upstream.health.life.value,
            "circuit": "open" if upstream.circuit.is_open else "closed",
            "draining": self._proxy.placing.is_drained(pool, upstream.name),
            "sessions": counted.get((pool, upstream.name), 0),
            "in_flight": upstream.in_flight,
        }
