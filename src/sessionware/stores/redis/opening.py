"""The only place that knows which of the Redis stores a URL means."""

from __future__ import annotations

from sessionware.core.store import Clock, Store
from sessionware.stores.redis.address import read_address, read_cluster, read_sentinels
from sessionware.stores.redis.calls import Calls, Serve
from sessionware.stores.redis.cluster import RedisClusterStore
from sessionware.stores.redis.cluster.servers import cluster_servers
from sessionware.stores.redis.primary import primary
from sessionware.stores.redis.servers import Servers, one_server
from sessionware.stores.redis.store import RedisStore
from sessionware.stores.sealing import Sealer


def open_redis(  # noqa: PLR0913  # what every store is opened with
    url: str, *, clock: Clock | None, sealer: Sealer, timeout_ms: int, salt: bytes | None, org_is_narrow: bool
) -> Store:
    """One server, the primary of a group that Sentinel watches, or a cluster, by the scheme's ending."""
    ending = url.partition("://")[0].lower().partition("+")[2]
    if ending == "cluster":
        cluster = read_cluster(url)
        calls = Calls(cluster_servers(cluster), prefix=cluster.prefix, clock=clock, timeout_ms=timeout_ms, salt=salt)
        return RedisClusterStore(calls, sealer=sealer, org_is_narrow=org_is_narrow)
    serve: Serve[Servers]
    if ending == "sentinel":
        group = read_sentinels(url)
        serve, prefix = primary(group), group.prefix
    else:
        server = read_address(url)
        serve, prefix = one_server(server), server.prefix
    return RedisStore(Calls(serve, prefix=prefix, clock=clock, timeout_ms=timeout_ms, salt=salt), sealer=sealer)
