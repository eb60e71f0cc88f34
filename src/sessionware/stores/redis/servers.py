"""Where the scripts run: the seam between what the store asks and how many servers answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import hiredis

from sessionware.clock import StoreClock
from sessionware.core.ids import Addresses
from sessionware.errors import StoreUnavailable
from sessionware.stores.redis.address import RedisAddress
from sessionware.stores.redis.asking import Keys
from sessionware.stores.redis.node import Node
from sessionware.stores.redis.repeating import KnownRevocations
from sessionware.stores.redis.scripts import Script
from sessionware.stores.redis.wire import Reply, Wire


class Servers(Protocol):
    """One server, or several that share the buckets among them."""

    @property
    def addresses(self) -> Addresses:
        """Known once started. Raises StoreUnavailable before."""
        ...

    async def start(self) -> None:
        """Connect, check, agree on the salt. Raises ConfigError when this can never work."""
        ...

    async def close(self) -> None: ...

    async def evaluate(self, script: Script, bucket: int, now: int, skew: int, asked: Sequence[Any]) -> Reply:
        """Run a script in a bucket, once. Raises StoreUnavailable for every reply that is an error."""
        ...

    async def command(self, *command: Any) -> Reply:
        """Send a command that has no key. Raises StoreUnavailable for every reply that is an error."""
        ...

    def believe(self, store_now: int) -> None:
        """Set the clock by a time that a server sent with a refusal for skew."""
        ...

    async def wire_of(self, bucket: int) -> Wire:
        """The connection on which plain reads about a bucket may be sent."""
        ...

    async def listen(self, on_push: Callable[[Reply], None]) -> Wire:
        """A connection of its own, for a subscription."""
        ...


def one_server(
    address: RedisAddress,
) -> Callable[[Keys, float, StoreClock | None, bytes | None, KnownRevocations], OneServer]:
    """How `Calls` makes the only server of a store."""

    def serve(
        keys: Keys, timeout: float, calibrated: StoreClock | None, salt: bytes | None, known: KnownRevocations
    ) -> OneServer:
        node = Node(address, timeout=timeout, calibrated=calibrated, salt=salt, greet=known.repeat)
        return OneServer(node, keys)

    return serve


class OneServer:
    """All buckets on one server."""

    def __init__(self, node: Node, keys: Keys) -> None:
        self.node = node
        self._keys = keys

    def __repr__(self) -> str:
        return repr(self.node.address)

    @property
    def addresses(self) -> Addresses:
        if self.node.addresses is None:
            raise StoreUnavailable(f"the store {self!r} was not entered: use `async with`")
        return self.node.addresses

    async def start(self) -> None:
        await self.node.start()

    async def close(self) -> None:
        await self.node.close()

    async def evaluate(self, script: Script, bucket: int, now: int, skew: int, asked: Sequence[Any]) -> Reply:
        wire, base = self.node.open_wire or await self.node.wire(), self._keys.base(bucket)
        raw = await wire.call("EVALSHA", script.sha, 1, base, now, skew, *asked)
        if isinstance(raw, hiredis.ReplyError) and str(raw).startswith("NOSCRIPT"):
            # The server does not know the script (restart, SCRIPT FLUSH): proof that nothing has run.
            raw = await wire.call("EVAL", script.text, 1, base, now, skew, *asked)
        if isinstance(raw, hiredis.ReplyError):
            raise StoreUnavailable(f"Redis at {self!r} refused: {raw}")
        return raw

    async def command(self, *command: Any) -> Reply:
        wire = self.node.open_wire or await self.node.wire()
        raw = await wire.call(*command)
        if isinstance(raw, hiredis.ReplyError):
            raise StoreUnavailable(f"Redis at {self!r} refused {command[0]}: {raw}")
        return raw

    def believe(self, store_now: int) -> None:
        self.node.calibrate_with(store_now)

    async def wire_of(self, bucket: int) -> Wire:  # noqa: ARG002  # here all buckets are the same
        return await self.node.wire()

    async def listen(self, on_push: Callable[[Reply], None]) -> Wire:
        return await self.node.open(on_push)
