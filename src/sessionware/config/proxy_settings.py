"""The only place that says which settings `sessionware proxy` has beside the library's, of which type and default.

Durations are whole milliseconds, sizes are bytes; off is 0 for a number, None for a text, an empty tuple for a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from sessionware.config.settings import MINUTE, SECOND, SET, redacted
from sessionware.core.limit_grammar import parse_limit
from sessionware.core.limits import Limit

Selection = Literal["least_sessions", "hash", "round_robin"]
Forwarding = Literal["auto", "strip", "forward"]
PoolKind = Literal["mcp", "http", "sse"]

# What holds in the standalone proxy where the library is more careful: one user of it runs many clients.
STANDALONE: Final[Mapping[str, Any]] = {
    "max_sessions_per_user": 100,
    "create_limit": parse_limit("600/minute per user", source="SESSIONWARE_CREATE_LIMIT"),
}


class PoolSettings(Struct, frozen=True, kw_only=True):
    """One `[pools.NAME]` of the file. What it leaves out holds as `ProxySettings` says.

    Without `upstreams` it only adds to a pool of UPSTREAMS. `limits` speak of this pool alone. Of tools those
    pass that `include` names (empty: all) and `exclude` does not. `timeout` 0: as UPSTREAM_TIMEOUT.
    """

    name: str
    kind: PoolKind = "mcp"
    upstreams: tuple[str, ...] = ()
    selection: Selection | None = None
    limits: tuple[Limit, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    timeout: int = 0
    forwarding: Forwarding | None = None
    authorization: str | None = None  # a credential: never shown
    required_groups: tuple[str, ...] = ()  # any of them

    def __repr__(self) -> str:
        return f"PoolSettings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What was set, without the credential."""
        values = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, SET if name == "authorization" else value) for name, value in values if value]


class ProxySettings(Struct, frozen=True, kw_only=True):
    """Every setting that only the proxy obeys, checked and typed. Its repr shows no secret."""

    upstreams: str | None = None  # the text; which pools it describes is known where they are routed
    upstream_selection: Selection = "least_sessions"
    on_upstream_lost: Literal["expire", "reinitialize"] = "expire"
    upstream_connect_timeout: int = 3 * SECOND
    upstream_timeout: int = 120 * SECOND  # to the head of the answer
    stream_idle_timeout: int = 300 * SECOND  # 0: never
    max_body: int = 4 << 20
    max_answer: int = 0  # 0: no bound, but for one event
    mcp_limit_answer: Literal["error", "tool_result"] = "error"
    forward_authorization: Forwarding = "auto"
    upstream_authorization: str | None = None
    admin_bind: str | None = None  # host:port
    drain_delay: int = 5 * SECOND
    drain_timeout: int = 20 * SECOND
    pools: tuple[PoolSettings, ...] = ()

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits of all pools, each already narrowed to its own."""
        return tuple(limit for pool in self.pools for limit in pool.limits)

    def pool(self, name: str) -> PoolSettings:
        """What is said of a pool; the defaults where nothing is."""
        return next((pool for pool in self.pools if pool.name == name), PoolSettings(name=name))

    def selection_of(self, name: str) -> Selection:
        return self.pool(name).selection or self.upstream_selection

    def timeout_of(self, name: str) -> int:
        return self.pool(name).timeout or self.upstream_timeout

    def forwarding_of(self, name: str) -> Forwarding:
        return self.pool(name).forwarding or self.forward_authorization

    def authorization_of(self, name: str) -> str | None:
        """The credential that the pool's upstreams get from us."""
        return self.pool(name).authorization or self.upstream_authorization

    def __repr__(self) -> str:
        return f"ProxySettings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What differs from the defaults, without secrets."""
        values = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [
            (name, redacted(name, value))
            for (name, value), default in zip(values, self.__struct_defaults__, strict=True)
            if value != default
        ]


DRAIN_MAX: Final = 30 * SECOND  # Kubernetes kills what has not ended by then
FIRST_BYTE_MIN: Final = MINUTE  # servers may think for long before they choose between JSON and events
