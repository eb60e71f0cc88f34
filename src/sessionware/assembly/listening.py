"""The only place that hears what other workers did, and does here what follows from it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Final

from sessionware.asgi.engine import Engine
from sessionware.core.facts import Gap, Interrupted, OrgLimitsNow, Revoked, SessionGone
from sessionware.core.session import Override
from sessionware.errors import PayloadUnreadable, StoreUnavailable

LISTEN_AGAIN_S: Final = 1.0  # after a store that broke its contract
log: Final = logging.getLogger("sessionware")


class Listener:
    """Follows the store's news; keeps the limits of organisations, which every request asks for."""

    def __init__(self) -> None:
        self._orgs: dict[bytes, Mapping[str, Override]] = {}

    def limits_of(self, org: bytes) -> Mapping[str, Override]:
        """The overrides of an organisation, as they were told last."""
        return self._orgs.get(org, {})

    async def listen(self, engine: Engine) -> None:
        """Hear what other workers did, until it is cancelled."""
        while True:
            try:
                await self._hear_all(engine)
            except Exception:
                log.exception("the store's watch raised what it must not; it is asked again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_AGAIN_S):
                    await asyncio.Event().wait()

    async def _hear_all(self, engine: Engine) -> None:
        """Forget tokens that were revoked, close what is over, stop what is interrupted, keep organisations' limits."""
        async for event in engine.runtime.store.watch():
            await engine.gate.hear(event)
            match event:
                case Revoked(revocation):
                    _forget(engine)
                    engine.ends.revoked(revocation)
                    await _look_again(engine)
                case Gap():
                    _forget(engine)
                    await _look_again(engine)
                case SessionGone(key, _):
                    engine.ends.ended(key)
                case Interrupted(key, at):
                    engine.work.interrupt(key, until=at)
                case OrgLimitsNow(org, limits):
                    self._orgs[org] = limits
                    engine.visits.flush()


def _forget(engine: Engine) -> None:
    """What was proved before may hold no longer."""
    engine.resolver.flush()
    engine.visits.flush()


async def _look_again(engine: Engine) -> None:
    """Something may have been missed: close what belongs to sessions that are no more."""
    runtime = engine.runtime
    for key in engine.ends.waiting():
        try:
            if await runtime.store.get(key, now=runtime.now()) is None:
                engine.ends.ended(key)
        except (StoreUnavailable, PayloadUnreadable):
            continue
