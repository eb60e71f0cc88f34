"""The only place that keeps which upstreams an administrator has taken out, for all workers and replicas.

The store needs no new word for it: to drain is to override how many new sessions an upstream gets, under a name that
no organisation has. Overrides outlive restarts and reach every worker within a second.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from sessionware.core.facts import OrgLimits
from sessionware.core.ids import OWNER_BYTES, Addresses
from sessionware.service.runtime import Runtime

_PURPOSE: Final = "drained upstreams"
_NOBODY: Final[Collection[str]] = ()


class Drains:
    """`runtime` is None before the start."""

    def __init__(self, runtime: Callable[[], Runtime | None]) -> None:
        self._runtime = runtime
        self._addresses: Addresses | None = None
        self._key = b""

    def __call__(self) -> Collection[str]:
        """The upstreams that take no new sessions, as `pool/name`."""
        runtime = self._runtime()
        return _NOBODY if runtime is None else runtime.org_limits(self._key_of(runtime.addresses)).keys()

    async def drain(self, pool: str, name: str) -> None:
        """Give it no new sessions. Raises StoreUnavailable."""
        await self._record(pool, name, 0)

    async def undrain(self, pool: str, name: str) -> None:
        """Let it take sessions again. Raises StoreUnavailable."""
        await self._record(pool, name, None)

    async def _record(self, pool: str, name: str, allowance: int | None) -> None:
        runtime = self._runtime()
        assert runtime is not None, "nobody asks before the start"  # noqa: S101
        fact = OrgLimits(self._key_of(runtime.addresses), {f"{pool}/{name}": allowance})
        await runtime.store.record([fact], now=runtime.now())

    def _key_of(self, addresses: Addresses) -> bytes:
        if self._addresses is not addresses:
            self._addresses, self._key = addresses, addresses.secret(_PURPOSE)[:OWNER_BYTES]
        return self._key
