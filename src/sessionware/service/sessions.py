"""The sessions service: everything that can be done to sessions, for their owners, for administrators, for the app.

    started = await sessions.start("work", by=alice)
    await sessions.ping(started.id, by=alice)
    await sessions.close(started.id, by=alice)

`by` says who asks; without it the application itself does, which may do everything, and acts as one user where a
name needs one: `sessions.get("work", by=sessions.user("alice"))`. An id may be a minted id, a name or a handle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from sessionware.core.facts import Interrupted
from sessionware.core.payload import unpack
from sessionware.core.session import EndReason, Session
from sessionware.core.windows import NEVER
from sessionware.errors import InvalidValue, PermissionDenied, SessionNotFound
from sessionware.service import amounts, context, many, rotation, usage
from sessionware.service.actors import APP, Actor
from sessionware.service.data import Edit
from sessionware.service.finding import current_id, find, presented_key, tell_admin, vet
from sessionware.service.owners import Owner, issuer_of, named_user, own, require_admin
from sessionware.service.refusals import SessionDead
from sessionware.service.revoking import revoke_token, revoke_user, token_in, token_named
from sessionware.service.runtime import Runtime
from sessionware.service.snapshot import Closed, Listing, Snapshot, Started
from sessionware.service.starting import Wish, idle_of, packed_metadata, start
from sessionware.service.tickets import write_ticket
from sessionware.service.updating import edit_data, rewrite, set_idle


class Sessions:
    """The service over one store.

    Every method raises, beside its own: InvalidSessionId, IdentityRequired, InvalidToken, PermissionDenied,
    SessionNotFound, StoreUnavailable.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def user(self, user_id: str, *, iss: str | None = None, org: str | None = None) -> Actor:
        """Act as this user: `start("work", by=sessions.user("alice"))`.

        `iss` says whose user, where several issuers are configured. Raises InvalidValue.
        """
        return Actor(identity=named_user(self.runtime, user_id, iss=iss, org=org))

    # -------------------------------------------------------------- one session

    async def start(  # noqa: PLR0913  # what users type
        self,
        name: str | None = None,
        *,
        by: Actor = APP,
        metadata: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        ttl: float | None = None,
        reuse: bool = False,
    ) -> Started:
        """Make a session, under a name or a new id; with `reuse` the owner's own one of that name will do.

        `ttl` is its idle time in seconds. Raises SessionExists, LimitExceeded, TooManySessions, InvalidValue,
        PayloadTooLarge.
        """
        wish = Wish(name=name, metadata=metadata or {}, data=data or {}, ttl=ttl)
        return await start(self.runtime, wish, by=by, reuse=reuse)

    async def get(self, session_id: str, *, by: Actor = APP) -> Snapshot:
        """The session with its payload; reading it keeps nothing alive."""
        return await find(self.runtime, session_id, by=by)

    async def status(self, session_id: str, *, by: Actor = APP) -> Snapshot:
        """The same as `get`, with the session's links."""
        found = await self.get(session_id, by=by)
        record = await self.runtime.store.get(found.record.key, now=self.runtime.now())
        if record is None:
            raise SessionDead(None)
        return Snapshot(found.id, record)

    async def ping(self, session_id: str, *, by: Actor = APP) -> Snapshot:
        """Begin the idle time anew; counts as a request. Without need where other requests touch the session."""
        return await find(self.runtime, session_id, by=by, touch=True)

    async def close(self, session_id: str, *, by: Actor = APP) -> Closed:
        """End the session: of many who try at once exactly one does, the others raise SessionNotFound."""
        found = await self.get(session_id, by=by)
        ended = await self.runtime.end(found.record.key)
        if ended is None:
            raise SessionDead(EndReason.ENDED)
        return Closed(Snapshot(found.id, ended.session), ended.reason, ended.ended_at)

    async def update(self, session_id: str, edit: Edit, *, by: Actor = APP) -> Snapshot:
        """Change the data atomically: `edit` gets it, changes it in place or returns other data, and may run again.

        What `edit` raises goes through, and nothing is written. Raises PayloadTooLarge, TypeError, Conflict.
        """
        found = await self.get(session_id, by=by)
        return Snapshot(found.id, await edit_data(self.runtime, found.record.key, edit))

    async def set_metadata(
        self,
        session_id: str,
        change: Callable[[dict[str, Any]], Mapping[str, Any]],
        *,
        by: Actor = APP,
        revision: int | None = None,
    ) -> Snapshot:
        """Replace the metadata by what `change` makes of it; with a `revision`, only of that one (else Conflict)."""
        found = await self.get(session_id, by=by)

        def changed(session: Session) -> Session:
            metadata = packed_metadata(self.runtime, change(unpack(session.metadata or b"")))
            return replace(session, metadata=metadata, data=None)

        return Snapshot(found.id, await rewrite(self.runtime, found.record.key, changed, revision=revision))

    async def set_ttl(self, session_id: str, ttl: float | None, *, by: Actor = APP) -> Snapshot:
        """Another idle time in seconds, from now on. The absolute age stays.

        None lifts it, which only administrators may if there is a maximum. Raises InvalidValue above SESSION_MAX_TTL.
        """
        if ttl is None and self.runtime.terms.max_ttl_ms and not by.is_admin:
            raise PermissionDenied("only an administrator may lift the idle time (SESSIONWARE_SESSION_MAX_TTL)")
        idle_ms = idle_of(self.runtime, ttl, by=by)
        found = await self.get(session_id, by=by)
        return Snapshot(found.id, await set_idle(self.runtime, found.record.key, idle_ms))

    async def adopt(self, anonymous_id: str, *, by: Actor) -> Snapshot:
        """Make an anonymous session that of the caller's identity, under a new id. Its old id dies.

        Whoever presents the id owns it; an administrator may not adopt for others. Raises TooManySessions.
        """
        if by.identity is None or by.identity.is_anonymous:
            raise PermissionDenied("to adopt a session, prove who you are")
        await vet(self.runtime, by)
        bearer = Actor(session_token=by.session_token, client=by.client)
        found = await find(self.runtime, anonymous_id, by=bearer)
        rotation.check_adoptable(found.record)
        moved = await rotation.hand_over(self.runtime, found.record, by.identity)
        return Snapshot(moved.id, moved.session)

    async def rotate(self, session_id: str, *, by: Actor = APP) -> Snapshot:
        """Give a minted session a new id; a named one keeps its name."""
        found = await self.get(session_id, by=by)
        moved = await rotation.rotate(self.runtime, found.record)
        return Snapshot(moved.id, moved.session)

    async def interrupt(self, session_id: str, *, by: Actor = APP) -> Snapshot:
        """Stop what the session is doing right now, on every worker; the session itself lives on."""
        found = await self.get(session_id, by=by)
        now = self.runtime.now()
        if not (await self.runtime.store.record([Interrupted(found.record.key, now)], now=now))[0]:
            raise SessionNotFound("Session not found")
        return found

    async def ticket(self, *, by: Actor) -> str:
        """A ticket for one request of the presented session within 30 s."""
        found = await self.get(current_id(by), by=by)
        runtime = self.runtime
        return write_ticket(
            found.record.key, by.identity, addresses=runtime.addresses, now=runtime.now(), entropy=runtime.entropy
        )

    # -------------------------------------------------------------- its work

    async def append_context(self, session_id: str, message: Mapping[str, Any], *, by: Actor = APP) -> dict[str, Any]:
        """Add a message to the session's conversation; counts as activity."""
        found = await find(self.runtime, session_id, by=by, touch=True)
        return await context.append(self.runtime, found.record.key, message)

    async def last_context(self, session_id: str, count: int | None = None, *, by: Actor = APP) -> list[dict[str, Any]]:
        """The newest messages, oldest first."""
        found = await self.get(session_id, by=by)
        return await context.last(self.runtime, found.record.key, count)

    async def spend(self, session_id: str, *, by: Actor = APP, **named: int) -> None:
        """Take amounts from the session's limits, or raise LimitExceeded."""
        found = await self.get(session_id, by=by)
        await amounts.spend(self.runtime, amounts.stand_of(self.runtime, found.record, by.identity), named)

    async def charge(self, session_id: str, *, by: Actor = APP, **named: int) -> bool:
        """Book what has happened; may pass the allowance. False when the store could not be told."""
        found = await self.get(session_id, by=by)
        return await amounts.charge(self.runtime, amounts.stand_of(self.runtime, found.record, by.identity), named)

    async def release(self, session_id: str, *, by: Actor = APP, **named: int) -> bool:
        """Bring the session's levels down by what is no more in use. False when the store could not be told."""
        found = await self.get(session_id, by=by)
        return await amounts.release(self.runtime, amounts.stand_of(self.runtime, found.record, by.identity), named)

    async def usage(self, session_id: str | None = None, *, by: Actor = APP) -> dict[str, Any]:
        """What a session has used, or without one the caller."""
        runtime = self.runtime
        if session_id is not None:
            found = await self.get(session_id, by=by)
            return await usage.usage(runtime, amounts.stand_of(runtime, found.record, by.identity))
        return await usage.usage(runtime, usage.stand_without_session(runtime, by.identity, client=by.client))

    # -------------------------------------------------------------- many sessions

    async def list(self, *, by: Actor = APP, everyone: bool = False, cursor: str = "", limit: int = 100) -> Listing:
        """The caller's own sessions, oldest first; `everyone`'s for administrators. Never an id."""
        owner = await self._owner(by, everyone=everyone)
        return await many.page(self.runtime, owner, cursor=cursor, limit=limit)

    async def count(self, *, by: Actor = APP, everyone: bool = False) -> int:
        """How many sessions `list` would show on all its pages."""
        return await many.count(self.runtime, await self._owner(by, everyone=everyone))

    async def close_all(self, *, by: Actor, except_current: bool = False) -> Sequence[str]:
        """End the caller's sessions, all but the presented one if so wished; answers their handles."""
        keep = presented_key(self.runtime, by) if except_current else None
        return await many.close_all(self.runtime, await own(self.runtime, by), keep=keep)

    async def cleanup(self, *, by: Actor = APP, idle_seconds: float | None = None) -> Sequence[str]:
        """Remove what has expired now, and what was idle for so long; answers the handles. Administrators only."""
        await self.admin("cleanup", by)
        if idle_seconds is not None:
            idle_of(self.runtime, idle_seconds, by=by)
        idle_for = None if idle_seconds is None else max(round(idle_seconds * 1000), 1)
        return await self.runtime.reaper.reap(idle_for=idle_for)

    async def set_limits(  # noqa: PLR0913  # what users type
        self,
        limits: Mapping[str, Any],
        *,
        user: str | None = None,
        org: str | None = None,
        session: str | None = None,
        iss: str | None = None,
        until: datetime | None = None,
        by: Actor = APP,
    ) -> None:
        """Another allowance for named limits, of exactly one of `user`, `org`, `session`; None takes it back.

        Administrators only. Raises InvalidValue.
        """
        await self.admin("set_limits", by, user=user, org=org)
        runtime, end = self.runtime, NEVER if until is None else round(until.timestamp() * 1000)
        if (user is not None) + (org is not None) + (session is not None) != 1:
            raise InvalidValue("set_limits wants exactly one of user=, org= and session=")
        if session is not None:
            found = await self.get(session, by=by)
            await usage.limit_session(runtime, found.record.key, limits, until=end)
        elif user is not None:
            await usage.limit_user(runtime, named_user(runtime, user, iss=iss), limits, until=end)
        elif org is not None:
            await usage.limit_org(runtime, issuer_of(runtime, iss), org, limits, until=end)

    async def revoke(  # noqa: PLR0913  # what users type
        self,
        *,
        token: str | None = None,
        jti: str | None = None,
        exp: float | None = None,
        user: str | None = None,
        iss: str | None = None,
        by: Actor = APP,
    ) -> Sequence[str]:
        """Refuse one token (its text, or `iss` and `jti`), or all that `user` has now.

        Answers the handles of the sessions that ended. Administrators only. Raises InvalidValue.
        """
        await self.admin("revoke", by, user=user, iss=iss)
        runtime = self.runtime
        if (token is not None) + (jti is not None) + (user is not None) != 1:
            raise InvalidValue("revoke wants exactly one of token, jti (with iss) and user")
        if user is not None:
            return await revoke_user(runtime, named_user(runtime, user, iss=iss))
        if token is not None:
            return await revoke_token(runtime, token_in(runtime, token))
        return await revoke_token(runtime, token_named(runtime, issuer_of(runtime, iss), jti or "", exp))

    async def admin(self, act: str, by: Actor, **details: str | None) -> None:
        """Let administrators through, and audit what they do to whom. Raises PermissionDenied, IdentityRequired."""
        require_admin(by)
        await vet(self.runtime, by)
        tell_admin(self.runtime, act, by, **details)

    async def _owner(self, by: Actor, *, everyone: bool) -> Owner | None:
        """Whose sessions are meant; None for everybody's."""
        if not everyone and not by.is_app:
            return await own(self.runtime, by)
        await self.admin("list", by)
        return None
