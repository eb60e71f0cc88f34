"""The only place that knows which streams and sockets of this worker must close when a session or a token ends."""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sessionware.core.facts import OwnerRevocation, Revocation
from sessionware.core.identity import Identity
from sessionware.core.ids import SessionKey


class Told:
    """One that waits to be told; `is_over` once what it belongs to has ended."""

    def __init__(self, key: SessionKey | None, identity: Identity | None, close: Callable[[], object]) -> None:
        self.key = key
        self.is_over = False
        self.timer: TimerHandle | None = None
        self._identity = identity
        self._close = close

    def tell(self) -> None:
        """Close, once."""
        if not self.is_over:
            self.is_over = True
            self._close()

    def is_meant_by(self, revocation: Revocation) -> bool:
        """Whether the credential that it was opened with is refused from now on."""
        identity = self._identity
        if identity is None or identity.token is None:
            return False
        if isinstance(revocation, OwnerRevocation):
            return revocation.owner == identity.owner and identity.token.issued_at <= revocation.before
        return revocation.token == identity.token.hash


class Ends:
    """Who must be told of which end."""

    def __init__(self) -> None:
        self._waiting: dict[SessionKey | None, set[Told]] = {}
        self.news = 0  # how many ends and revocations were heard: who begins to wait may have missed one

    def begin(self, key: SessionKey | None, identity: Identity | None, close: Callable[[], object]) -> Told:
        """Call `close` when the session or the identity's credential ends, until it is finished: `finish` it."""
        told = Told(key, identity, close)
        self._waiting.setdefault(key, set()).add(told)
        return told

    def finish(self, told: Told) -> None:
        """Nothing needs to close any more."""
        if told.timer is not None:
            told.timer.cancel()
        self._leave(told)

    @contextmanager
    def moving(self, told: Told) -> Iterator[None]:
        """In the block its session may get another id (`told.key`): that the old one is gone is no news to it."""
        self._leave(told)
        try:
            yield
        finally:
            self._waiting.setdefault(told.key, set()).add(told)

    def _leave(self, told: Told) -> None:
        waiting = self._waiting[told.key]
        waiting.discard(told)
        if not waiting:
            del self._waiting[told.key]

    def ended(self, key: SessionKey) -> None:
        """A session is no more: everything of it that is open here closes."""
        self.news += 1
        for told in tuple(self._waiting.get(key, ())):
            told.tell()

    def revoked(self, revocation: Revocation) -> None:
        """A credential is refused: everything that was opened with it closes."""
        self.news += 1
        for waiting in list(self._waiting.values()):
            for told in tuple(waiting):
                if told.is_meant_by(revocation):
                    told.tell()

    def waiting(self) -> list[SessionKey]:
        """The sessions that something here belongs to: to be looked at again after a gap."""
        return [key for key in self._waiting if key is not None]
