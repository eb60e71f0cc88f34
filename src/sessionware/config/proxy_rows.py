"""The only place that says how the proxy's own variables are read, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, get_args, get_type_hints

from sessionware.config.given import OFF, Given, Kind
from sessionware.config.kinds import choice, duration, size, text, word
from sessionware.config.pools import credential, pools
from sessionware.config.proxy_settings import ProxySettings
from sessionware.config.settings import DAY, HOUR, MINUTE, SECOND

_TYPES: Final = get_type_hints(ProxySettings)
_BIND: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]*):([0-9]{1,5})", re.ASCII)
_POOL: Final = re.compile(r"\s*[a-z0-9-]*\s*(?:\[\w*\])?\s*=", re.ASCII)
_PORT_MAX: Final = 65_535


def _one_of(key: str) -> Kind:
    return choice(get_args(_TYPES[key]))


def _upstreams() -> Kind:
    """The text of UPSTREAMS; in TOML and Python also a list, in which `name=` begins another pool."""

    def read(given: Given) -> str | None:
        if not isinstance(given.value, list | tuple):
            return None if given.text == OFF else word(given)
        joined = ""
        for item in given.items():
            joined += (";" if _POOL.match(item.text) else ",") * bool(joined) + word(item)
        return joined or None

    return Kind(read, lambda value: value or OFF, "pools, off")


def bound(given: Given) -> str:
    """A host and a port to listen on."""
    found = _BIND.fullmatch(given.text)
    if found is None or int(found[2]) > _PORT_MAX:
        given.fail("is no host and port: write for example 127.0.0.1:9090")
    return given.text


def host_and_port(bind: str) -> tuple[str, int]:
    """The two parts of a checked `host:port`; no host is every address."""
    host, _, port = bind.rpartition(":")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104  # that is what an empty host asks for


PROXY_ROWS: Final[Mapping[str, tuple[Kind, str]]] = {
    "UPSTREAMS": (
        _upstreams(),
        (
            "`http://a:9001/mcp,http://b:9001/mcp`: the pool at `/mcp`; `memory=http://…,http://…;files=…`: pools at "
            "`/memory/mcp` and `/files/mcp`; `dns+http://name:port/path`: all addresses of a name; "
            "`app[http]=http://a:3000`: plain HTTP servers at `/app/`; `old[sse]=http://a/sse`: HTTP+SSE servers at "
            "`/old/sse`; `unix:///run/mcp.sock:/mcp`: a socket; `one@http://…` names an upstream"
        ),
    ),
    "UPSTREAM_SELECTION": (_one_of("upstream_selection"), "how a new session gets its upstream"),
    "ON_UPSTREAM_LOST": (
        _one_of("on_upstream_lost"),
        "legacy MCP sessions of a dead upstream: 404, so that the client initialises again, or we do it for it",
    ),
    "UPSTREAM_CONNECT_TIMEOUT": (duration(1, MINUTE), "the longest that connecting to an upstream may take"),
    "UPSTREAM_TIMEOUT": (duration(SECOND, DAY), "the longest wait for the head of an answer"),
    "STREAM_IDLE_TIMEOUT": (duration(SECOND, DAY, off=True), "a stream without a byte for so long is closed"),
    "MAX_BODY": (size(1, 1 << 30), "the largest body of a request; more is 413"),
    "MAX_ANSWER": (
        size(1024, 1 << 30, off=True),
        (
            "the largest answer of an MCP server that is passed on, of an event stream the largest event; more is 422 "
            "(off: an event of at most 4M)"
        ),
    ),
    "MCP_LIMIT_ANSWER": (
        _one_of("mcp_limit_answer"),
        "a refused `tools/call`: a JSON-RPC error (429), or a result with `isError` that the model can read (200)",
    ),
    "FORWARD_AUTHORIZATION": (
        _one_of("forward_authorization"),
        "the client's credentials towards upstreams; `auto`: stripped when we verify them, else passed through",
    ),
    "UPSTREAM_AUTHORIZATION": (credential(), "the Authorization header that upstreams get from us"),
    "ADMIN_BIND": (text(bound, "host:port"), "where `/metrics` and the upstreams' administration listen alone"),
    "DRAIN_DELAY": (duration(0, HOUR), "after SIGTERM: so long not ready, and still serving"),
    "DRAIN_TIMEOUT": (duration(0, HOUR), "and then so long for open streams to finish"),
    "POOLS": (
        pools(),
        (
            "`[pools.NAME]`: `upstreams`, `kind`, `selection`, `limits`, `tools`, `timeout`, `authorization`, "
            "`required_groups`"
        ),
    ),
}
