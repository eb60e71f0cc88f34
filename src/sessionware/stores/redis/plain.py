"""The only place that sends plain commands, one at a time: while connecting, subscribing, looking around."""

from __future__ import annotations

from typing import Any, Final

import hiredis

from sessionware.errors import ConfigError, StoreUnavailable
from sessionware.stores.redis.refusals import shown
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
        said = f"Redis{wire.where} refused {command[0]}: {shown(reply)}"
        if command[0] == "SELECT" and str(reply).startswith("ERR"):
            raise ConfigError(f"{said}: check the database number in the store's URL")
        if str(reply).startswith(_NOT_WELCOME):
            raise ConfigError(f"{said}: check the user and the password in the store's URL")
        raise StoreUnavailable(said)
    return reply
