"""The only place that leads a command to the store that the settings name, and to the user whom it is about."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sessionware.assembly.visiting import visiting
from sessionware.cli.on_disk import named
from sessionware.cli.settings import here_or_named
from sessionware.config.load import load, survey
from sessionware.errors import ConfigError
from sessionware.service.actors import Actor
from sessionware.service.sessions import Sessions
from sessionware.stores.sealing import Sealer

Answer = TypeVar("Answer")


def add_store_to(command: Any) -> None:
    """Teach the parser of a command which store is meant."""
    command.add_argument("--store", metavar="URL", help="the store (default: $SESSIONWARE_STORE, as the server has it)")
    command.add_argument("--json", action="store_true", help="print JSON, for machines")


def add_user_to(command: Any, *, what: str) -> None:
    command.add_argument("--user", metavar="NAME", help=what)
    command.add_argument("--iss", metavar="ISSUER", help="whose user, where several issuers are configured")


def on_store(
    arguments: argparse.Namespace, work: Callable[[Sessions], Awaitable[Answer]], *, salt: bytes | None = None
) -> Answer:
    """Do `work` with the sessions of the store, and leave it. Raises ConfigError, StoreUnavailable.

    With a `salt` the store need not be there yet: it is made with that one.
    """
    flags = _flags(arguments)
    loaded = load(flags=flags, file=here_or_named())
    proxy = survey(flags=flags, file=here_or_named(), for_proxy=True).proxy

    async def visit() -> Answer:
        async with visiting(loaded.settings, proxy, source=named(loaded, "store"), salt=salt) as sessions:
            return await work(sessions)

    return asyncio.run(visit())


def sealer(arguments: argparse.Namespace) -> Sealer:
    """What seals at rest there. Raises ConfigError."""
    return Sealer(load(flags=_flags(arguments), file=here_or_named()).settings.secret_keys)


def _flags(arguments: argparse.Namespace) -> dict[str, str]:
    return {} if arguments.store is None else {"store": arguments.store}


def whose(sessions: Sessions, arguments: argparse.Namespace) -> Actor | None:
    """The user that is named; None for nobody in particular. Raises InvalidValue, ConfigError."""
    if arguments.user is not None:
        return sessions.user(arguments.user, iss=arguments.iss)
    if arguments.iss is not None:
        raise ConfigError("--iss says whose --user is meant: name the user, too")
    return None
