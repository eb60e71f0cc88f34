"""The only place that says of upstreams what anybody may know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sessionware.api.probes import Readiness
from sessionware.proxy.fleet import Fleet
from sessionware.proxy.placing import Placing
from sessionware.proxy.standing import Upstream

DRAINING: Final = "draining"


def readiness_of(placing: Placing, *, is_draining: bool, shows_names: bool) -> Readiness:
    """Strangers are not told where upstreams stand: one without a name of its own goes by its number."""
    pools: dict[str, dict[str, str]] = {}
    for pool, upstream, name in _each(placing.fleet, shows_names=shows_names):
        is_out = placing.is_drained(pool, upstream.name)
        pools.setdefault(pool, {})[name] = DRAINING if is_out else upstream.health.life.value
    return Readiness(is_draining, pools)


def _each(fleet: Fleet, *, shows_names: bool) -> Iterator[tuple[str, Upstream, str]]:
    places: dict[str, int] = {}
    for pool, upstream in fleet.each():
        places[pool] = place = places.get(pool, 0) + 1
        is_named = shows_names or upstream.name != f"{upstream.address.host}:{upstream.address.port}"
        yield pool, upstream, upstream.name if is_named and "/" not in upstream.name else str(place)
