"""The only place that runs a script by its name, at a time that the server agrees with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from sessionware.clock import StoreClock
from sessionware.core.store import Clock
from sessionware.errors import StoreUnavailable
from sessionware.stores.redis.asking import Keys
from sessionware.stores.redis.repeating import KnownRevocations
from sessionware.stores.redis.scripts import load_scripts
from sessionware.stores.redis.servers import Servers

MAX_SKEW_MS: Final = 2_000

SomeServers_co = TypeVar("SomeServers_co", bound=Servers, covariant=True)
Serve = Callable[[Keys, float, StoreClock | None, bytes | None, KnownRevocations], SomeServers_co]
"""Makes the servers of a store: for its keys, with a timeout in seconds, the clock that they set (None: a test's own
clock stands still), the salt for an installation that has none yet, and what a server is told that may have lost it."""


class Calls(Generic[SomeServers_co]):
    """The scripts, the servers that run them and the clock that both agree on."""

    def __init__(
        self,
        serve: Serve[SomeServers_co],
        *,
        prefix: str,
        clock: Clock | None,
        timeout_ms: int,
        salt: bytes | None = None,
    ) -> None:
        own = StoreClock() if clock is None else None
        self.clock: Clock = clock or own or StoreClock()
        self.keys = Keys(prefix)
        self.scripts = load_scripts()
        self.skew = MAX_SKEW_MS if own is not None else 0
        self.timeout = timeout_ms / 1000
        self.known = KnownRevocations(self.keys, self.scripts["revoke"], self.clock)
        self.servers = serve(self.keys, self.timeout, own, salt, self.known)

    async def run(self, name: str, bucket: int, now: int, asked: Sequence[Any]) -> Any:
        """Evaluate a script; when the server finds our clock skewed, once more with its time."""
        return await self.run_at(name, bucket, now, lambda _: asked)

    async def run_at(self, name: str, bucket: int, now: int, asked: Callable[[int], Sequence[Any]]) -> Any:
        """The same with what is asked at that time."""
        raw = await self.servers.evaluate(self.scripts[name], bucket, now, self.skew, asked(now))
        if isinstance(raw, list) and raw and raw[0] == b"SKEW":
            raw = await self.again(name, bucket, raw, asked)
        return raw

    async def again(self, name: str, bucket: int, refusal: Any, asked: Callable[[int], Sequence[Any]]) -> Any:
        """Evaluate a script that refused for skew at the server's time, with what is asked at that time."""
        self.servers.believe(refusal[1])
        now = self.clock.now()
        raw = await self.servers.evaluate(self.scripts[name], bucket, now, self.skew, asked(now))
        if isinstance(raw, list) and raw and raw[0] == b"SKEW":
            raise StoreUnavailable(f"the clock of Redis at {self.servers!r} moves too fast to agree on a time")
        return raw
