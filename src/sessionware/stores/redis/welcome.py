"""The only place that looks at a server before it is used: can it serve us, and which installation does it hold."""

from __future__ import annotations

import logging
import secrets
from typing import Final

import hiredis

from sessionware.core.ids import SALT_BYTES, Addresses
from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.redis.address import RedisAddress
from sessionware.stores.redis.plain import ask
from sessionware.stores.redis.wire import Wire

VERSION_MIN: Final = (6, 2)  # SET PX in scripts with effects replication; the oldest line still in distributions
_ELSEWHERE: Final = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN")
_PROBE: Final = "return redis.call('EXISTS', KEYS[1] .. 'computed')"

log = logging.getLogger("sessionware.store")


class AnotherInstallation(StoreUnavailable):
    """The server holds sessions of an installation that this worker does not belong to."""


async def check_server(wire: Wire, address: RedisAddress) -> None:
    """Raises ConfigError when this server can never serve us by itself; warns of one that may forget."""
    await check_version(wire, address, clustered=False)
    await check_scripts(wire, address, f"{address.prefix}{{00}}")


async def check_version(wire: Wire, address: RedisAddress, *, clustered: bool) -> None:
    """Raises ConfigError when the server is too old, or is (or is not) a node of a cluster against expectation."""
    info = _info(await ask(wire, "INFO"))
    version = info.get("valkey_version") or info.get("redis_version", "0")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < VERSION_MIN:
        raise ConfigError(f"store {address!r} is version {version}: 6.2 or newer is needed")
    if info.get("redis_mode") == "sentinel" or info.get("server_mode") == "sentinel":
        raise ConfigError(
            f"store {address!r} is a Sentinel: write redis+sentinel://{address.place}/NAME, by the name under which it "
            "watches the primary"
        )
    if clustered and info.get("cluster_enabled") == "0":
        raise ConfigError(
            f"store {address!r} is a single server (cluster_enabled:0): write redis:// instead of redis+cluster://"
        )
    if not clustered and info.get("cluster_enabled") == "1":
        raise ConfigError(f"store {address!r} is a node of a Redis Cluster: write redis+cluster:// instead of redis://")
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        log.warning(
            "store %r: maxmemory-policy is %r: under memory pressure it drops revocations and refills quotas. "
            "Set `maxmemory-policy noeviction`.", address, policy,
        )  # fmt: skip


async def check_scripts(wire: Wire, address: RedisAddress, base: str) -> None:
    """Raises ConfigError when the server refuses our scripts; `base` begins the keys that it serves.

    Raises StoreUnavailable when it is not the one that serves them now.
    """
    reply = await wire.call("EVAL", _PROBE, 1, base)
    if not isinstance(reply, hiredis.ReplyError):
        return
    if str(reply).startswith(_ELSEWHERE):
        raise StoreUnavailable(f"Redis at {address!r} does not serve {base} now: {reply}")
    raise ConfigError(
        f"store {address!r} refuses our scripts ({reply}): EVAL must be allowed, and computed keys too "
        "(Dragonfly: --default_lua_flags=allow-undeclared-keys)"
    )


async def check_role(wire: Wire, address: RedisAddress) -> None:
    """Raises StoreUnavailable when this server follows another: a failover may be under way."""
    role = (await ask(wire, "ROLE"))[0]
    if role != b"master":
        raise StoreUnavailable(f"Redis at {address!r} is no primary ({role.decode()}): asking again who is")


async def agree_on_salt(
    wire: Wire, address: RedisAddress, *, buckets: int, known: Addresses | None, salt: bytes | None
) -> Addresses:
    """Make the installation's salt if there is none, else take the one that stands.

    A worker that knows the salt offers the one it knows: a server that came back empty stays the same
    installation, with the same addresses. `salt` is what a server without one is given.
    """
    meta = f"{address.prefix}meta"
    offered = known.salt if known is not None else salt or secrets.token_bytes(SALT_BYTES)
    await ask(wire, "HSETNX", meta, "salt", offered)
    await ask(wire, "HSETNX", meta, "buckets", buckets)
    stored_salt, stored_buckets = await ask(wire, "HMGET", meta, "salt", "buckets")
    if len(stored_salt or b"") != SALT_BYTES or not (stored_buckets or b"").isdigit():
        raise ConfigError(
            f"store {address!r}: the key {meta} is damaged (salt: {SALT_BYTES} bytes, buckets: a number): "
            "restore it from a backup, or choose another prefix"
        )
    if stored_buckets != str(buckets).encode():
        raise ConfigError(
            f"store {address!r} was made with {stored_buckets[:20].decode()} buckets, this kind of store has "
            f"{buckets}: choose another prefix"
        )
    agreed = Addresses(stored_salt, buckets)
    if known is not None and known != agreed:
        raise AnotherInstallation(
            f"Redis at {address!r} now holds another installation (its salt changed): restart to join it"
        )
    return agreed


def _info(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    return {name: value.strip() for name, separator, value in lines if separator}
