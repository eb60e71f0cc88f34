"""The only place that sends plain commands, one at a time: while connecting, subscribing, looking around."""

from __future__ import annotations

from typing import Any, Final

import hiredis

from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.redis.wire import Reply, Wire

_NOT_WELCOME: Final = ("NOAUTH", "WRONGPASS", "NOPERM", "ERR AUTH", "ERR Client sent AUTH")


async def hang_up(wire: Wire) -> None:
    wire.close()
    await wire.wait_closed()


async def ask(wire: Wire, *command: Any) -> Reply:
    """Send one plain command.

    Raises ConfigError when the server does not accept who we are, StoreUnavailable for any other error.
    """
    reply = await wire.call(*command)
    if isinstance(reply, hiredis.ReplyError):
        if command[0] == "SELECT" and str(reply).startswith("ERR"):
            raise ConfigError(
                f"Redis{wire.where} refused SELECT: {reply}: check the database number in the store's URL"
            )
        if str(reply).startswith(_NOT_WELCOME):
            raise ConfigError(
                f"Redis{wire.where} refused {command[0]}: {reply}: check the user and the password in the store's URL"
            )
        raise StoreUnavailable(f"Redis{wire.where} refused {command[0]}: {reply}")
    return reply
