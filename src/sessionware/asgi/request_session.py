"""The session object of one request: what an app finds on `request.state.session`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from sessionware.asgi.engine import Engine
from sessionware.asgi.entering import Entered
from sessionware.asgi.holder import Holder, noted
from sessionware.asgi.of_record import OfRecord
from sessionware.asgi.session_context import SessionContext
from sessionware.asgi.sync_session import SyncSession
from sessionware.core.admission import NewSession
from sessionware.core.facts import Touched
from sessionware.core.identity import Identity
from sessionware.core.ids import ref
from sessionware.core.payload import unpack
from sessionware.core.session import Session
from sessionware.core.standing import Standing
from sessionware.core.times import moment
from sessionware.errors import SessionwareError
from sessionware.service import amounts, many, rotation, updating, usage
from sessionware.service.actors import APP
from sessionware.service.amounts import Reservation, Stand
from sessionware.service.data import SessionData
from sessionware.service.owners import Owner
from sessionware.service.rotation import Rotated
from sessionware.service.runtime import Runtime
from sessionware.service.starting import bear, idle_of


class RequestSession:
    """One session as one request sees it. Writing to `data` is noticed and saved when the response starts."""

    ref = OfRecord(lambda record: ref(record.key))
    name = OfRecord(lambda record: record.birth.name)
    user_id = OfRecord(lambda record: record.birth.user_id)
    org_id = OfRecord(lambda record: record.birth.org_id)
    groups = OfRecord(lambda record: record.birth.groups)
    metadata = OfRecord(lambda record: unpack(record.metadata or b""))  # the client's, never trusted; a copy
    created_at = OfRecord(lambda record: moment(record.birth.created_at))
    last_activity = OfRecord(lambda record: moment(record.active_at))
    expires_at = OfRecord(lambda record: moment(record.expires_at))
    total_requests = hits = OfRecord(lambda record: record.hits)

    is_over = False
    is_stored = True  # in the store; else it may yet be made
    is_read = False  # the app has looked at the data
    _unborn: NewSession | None = None
    _data: SessionData | None = None
    _stand: Stand | None = None
    _identity: Identity | None = None
    _new_id: str | None = None

    def __init__(self, engine: Engine, holder: Holder, entered: Entered, record: Session) -> None:
        self._engine = engine
        self._holder = holder
        self._entered = entered
        self._record = record

    def make_when_written(self, new: NewSession) -> None:
        """Nobody has made the session yet: it is made when something is written to it."""
        self._unborn, self.is_stored = new, False

    def __repr__(self) -> str:
        return f"<session {self.ref}>"

    @property
    def _runtime(self) -> Runtime:
        return self._engine.runtime

    @property
    def id(self) -> str:
        """What its holder calls it: the id that was presented or made, or its name."""
        entered = self._entered
        target = entered.visit.target
        text = self._new_id or entered.making.text or (target.text if target is not None else "")
        return text or self._record.birth.name or self.ref

    @property
    def is_new(self) -> bool:
        """Whether this request has made it."""
        return self._unborn is not None or self._new_id is not None or self._entered.decision.answer.is_new

    @property
    def hands_out(self) -> bool:
        """Whether its id must be sent: it is new or rotated."""
        if self._new_id is not None:
            return True
        entered = self._entered
        return entered.decision.answer.is_new and entered.making.hands_out and self._unborn is None

    @property
    def identity(self) -> Identity | None:
        """Who the caller has proved to be."""
        return self._identity or self._entered.caller.identity

    @property
    def record(self) -> Session:
        """The record as it was read or last written."""
        return self._record

    @property
    def data(self) -> SessionData:
        """The app's own: a mutable mapping whose nested changes are noticed."""
        data = self._data
        if data is None:
            data = self._data = SessionData(self._record.data or b"")
            self.is_read = True
        return data

    @property
    def context(self) -> SessionContext:
        """The conversation: `append`, `last`."""
        return SessionContext(self._runtime, self)

    @property
    def sync(self) -> SyncSession:
        """The same for `def` handlers, which run in a thread beside the event loop."""
        return SyncSession(self, self._engine.loop)

    @property
    def stand(self) -> Stand:
        """What limits look at when this request takes from them."""
        stand = self._stand
        if stand is None:
            entered = self._entered
            stand = self._stand = Stand(entered.caller, entered.facts, self._record.birth.owner)
        return stand

    async def save(self) -> None:
        """Write what has changed, on top of whatever another request wrote meanwhile. Does nothing without a change."""
        data = self._data
        if self.is_over or data is None:
            return
        if data.changes() is None:
            return
        if self._unborn is not None:
            await self.keep()
        else:
            self._record = await updating.save(self._runtime, self._record, data)

    async def keep(self) -> None:
        """Make the session, if nobody has yet. Raises LimitExceeded, TooManySessions, StoreUnavailable."""
        if (new := self._unborn) is None or self.is_over:
            return
        changes = self._data.changes() if self._data is not None else None
        if changes is not None:
            packed, _ = changes.applied(b"", at_most=self._runtime.terms.max_data)
            new = NewSession(replace(new.session, data=packed), new.caps)
        answer = await bear(self._runtime, new, self.identity, client=self._entered.visit.client)
        self._unborn, self.is_stored = None, True
        with self._holder.moving():
            self._become(answer, self.id)
        if changes is not None and self._data is not None:
            self._data.settled(new.session.data or b"", changes)

    @noted
    async def update(self, change: Callable[[dict[str, Any]], Mapping[str, Any] | None]) -> dict[str, Any]:
        """Change the data atomically: `change` may run again when another request was faster.

        What `change` raises goes through and nothing is written.
        """
        await self.keep()
        await self.save()
        self._record = await updating.edit_data(self._runtime, self._record.key, change)
        self._data, self.is_read = SessionData(self._record.data or b""), True
        return dict(self._data)

    async def touch(self) -> None:
        """Begin the idle time anew: for work that goes on for long without a request."""
        if self._unborn is None and not self.is_over:
            now = self._runtime.now()
            await self._runtime.store.record([Touched(self._record.key, now)], now=now)
            self._record = replace(self._record.touched(now), hits=self._record.hits)

    @noted
    async def set_ttl(self, seconds: float | None) -> None:
        """Another idle time from now on; None lifts it. The absolute deadline stays. Raises InvalidValue."""
        await self.keep()
        before, idle_ms = self._record, idle_of(self._runtime, seconds, by=APP)
        written = await updating.set_idle(self._runtime, before.key, idle_ms)
        self._record = replace(before, idle=written.idle, expires_at=written.expires_at, revision=written.revision)

    @noted
    async def spend(self, **taken: int) -> tuple[Standing, ...]:
        """Take amounts from the quotas, all or nothing. Raises LimitExceeded (429)."""
        return await amounts.spend(self._runtime, self.stand, taken)

    async def charge(self, **used: int) -> bool:
        """Book what has happened already; it may pass the allowance. False when the store could not be told."""
        return await amounts.charge(self._runtime, self.stand, used)

    async def release(self, **freed: int) -> bool:
        """Bring levels (`total` limits) down by what is no more in use. False when the store could not be told."""
        return await amounts.release(self._runtime, self.stand, freed)

    def reserve(self, **estimate: int) -> Reservation:
        """`async with session.reserve(tokens=1000) as hold: ... await hold.settle(tokens=532)`."""
        return amounts.reserve(
            self._runtime, self.stand, estimate, has_begun=lambda: self._holder.has_begun, refused=self.note_refusal
        )

    async def usage(self) -> dict[str, Any]:
        """How every limit stands for this session, its user and its client."""
        return await usage.usage(self._runtime, self.stand)

    @noted
    async def rotate(self) -> None:
        """A new id, sent with the response; the old one is dead at once. A name stays as it is."""
        if self._unborn is not None:
            return
        await self.save()
        with self._holder.moving():
            self._reborn(await rotation.rotate(self._runtime, self._record))

    @noted
    async def login(
        self, user_id: str, *, org_id: str | None = None, groups: Iterable[str] = (), keep_data: bool = True
    ) -> None:
        """Hand the session to a user whom the app itself has proved: a new id in the user's name, the old one dies.

        Raises InvalidValue for what is no user, TooManySessions, PermissionDenied for a session that a token owns.
        """
        rotation.check_login(self._record, org_id=org_id, terms=self._runtime.terms)
        await self.keep()
        keep_data = keep_data and self.user_id in {None, user_id}  # one user's data is never shown to the next
        if keep_data:
            await self.save()
        with self._holder.moving():
            moved = await rotation.login(
                self._runtime, self._record, user_id, org_id=org_id, groups=tuple(groups), keep_data=keep_data
            )
            self._data = self._data if keep_data else None
            self._reborn(moved)

    async def logout(self) -> None:
        """End this session; a cookie is taken back. Its user's other sessions live on."""
        await self.end()

    async def logout_everywhere(self, *, except_current: bool = True) -> list[str]:
        """End the other sessions of this session's owner (and this one too); answers the handles of those that ended.

        Tokens stay good: `Sessions.revoke(user=...)` refuses those.
        """
        key, owner = self._record.key, self._record.birth.owner
        if self._unborn is not None:
            return []
        if not except_current:
            self.is_over = True
        return await many.close_all(self._runtime, Owner(owner, key.bucket), keep=key if except_current else None)

    async def end(self) -> None:
        """End the session; ending it again does nothing. What was not saved is lost with it."""
        self.is_over = True
        if self._unborn is None:
            await self._runtime.end(self._record.key)

    def note_refusal(self, error: SessionwareError) -> None:
        """Remember what was refused while the request ran."""
        self._holder.refusal = error

    def _reborn(self, moved: Rotated) -> None:
        if moved.is_new_id:
            self._become(moved.session, moved.id)
        self._record = moved.session

    def _become(self, record: Session, text: str) -> None:
        """From now on this is the session: its id is sent, its limits count."""
        self._record = record
        self._new_id = text
        stand = amounts.stand_of(self._runtime, record, self.identity)
        self._identity = stand.caller.identity
        self._stand = replace(stand, facts=self._entered.facts)
        self._holder.moved(record)
