"""The only place that opens a connection and says who we are."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.redis.address import RedisAddress
from sessionware.stores.redis.plain import ask, hang_up
from sessionware.stores.redis.wire import Reply, Wire


async def connect(
    address: RedisAddress,
    *,
    tls: ssl.SSLContext | None,
    each: float,
    within: float,
    on_push: Callable[[Reply], None] | None = None,
) -> Wire:
    """An open connection, authenticated, with nothing checked; `each` is what one of its calls may take.

    Raises StoreUnavailable when that is not done `within` so many seconds, ConfigError when we are not welcome.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(within):
            _, wire = await loop.create_connection(
                lambda: Wire(timeout=each, on_push=on_push), address.host, address.port, ssl=tls
            )
            try:
                await _introduce(wire, address)
            except BaseException:
                await hang_up(wire)
                raise
    except (OSError, TimeoutError) as error:
        why = silent_for("in time", tls=tls is not None) if isinstance(error, TimeoutError) else str(error)
        raise StoreUnavailable(f"Redis at {address!r} cannot be reached: {why}") from error
    return wire


def silent_for(how_long: str, *, tls: bool) -> str:
    """What is said of a server that says nothing: one without TLS waits for more of our handshake."""
    return f"no answer {how_long}" + (" (does it speak TLS? If not, write redis instead of rediss)" if tls else "")


async def _introduce(wire: Wire, address: RedisAddress) -> None:
    try:
        if address.password:
            user = (address.username,) if address.username else ()
            await ask(wire, "AUTH", *user, address.password)
        if address.db:
            await ask(wire, "SELECT", address.db)
    except (ConfigError, StoreUnavailable) as error:
        raise type(error)(f"store {address!r}: {error}") from error
