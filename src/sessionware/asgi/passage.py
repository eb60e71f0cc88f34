"""The only place that keeps what one request or socket holds on its way, and gives it back at the end.

Integrations find it in the scope: `passage_of(scope)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from sessionware.asgi.ends import Told
from sessionware.asgi.engine import Engine
from sessionware.asgi.entering import Entered
from sessionware.asgi.messages import Scope
from sessionware.asgi.request_session import RequestSession
from sessionware.asgi.scope_session import ScopeSession
from sessionware.core.session import Session
from sessionware.core.standing import Glance, Standing, glances_of
from sessionware.errors import InvalidToken, NoSessionId, PayloadUnreadable, SessionwareError, StoreUnavailable
from sessionware.gate import Running
from sessionware.service.actors import Actor
from sessionware.service.amounts import Stand
from sessionware.service.finding import vet

SCOPE_KEY: Final = "sessionware"
GRACE_MS: Final = 300_000  # a long call may finish although its token has expired; a revocation grants nothing


class Passage:
    """One request or socket that was let in.

    `refusal` is what refused it last while it ran, for an app that does not catch it. `has_begun`: the first byte of
    the answer has left. `standings` are the limits that it met beside those of its admission, `taken` those of its
    route, each once however often it is asked for.
    """

    refusal: SessionwareError | None = None
    has_begun = False
    told: Told | None = None
    standings: tuple[Standing, ...] = ()
    taken: tuple[object, ...] = ()
    _operations: tuple[bytes, ...] = ()

    def __init__(self, engine: Engine, entered: Entered) -> None:
        self.engine = engine
        self.entered = entered
        record, making = entered.decision.answer.session, entered.making
        self.session: RequestSession | None = None
        if record is not None:
            self.session = RequestSession(engine, self, entered, record)
        elif making.is_lazy and making.new is not None:
            self.session = RequestSession(engine, self, entered, making.new.session)
            self.session.make_when_written(making.new)

    @property
    def met(self) -> Sequence[Glance]:
        """How the limits stand that it has met; of those that it met twice, as they stood last."""
        first, later = self.entered.decision.glances, self.standings
        if not later:
            return first
        again = {standing.name for standing in later}
        return (*[glance for glance in first if glance[0] not in again], *glances_of(later))

    @property
    def stand(self) -> Stand:
        """What limits look at now: a session may have been made or logged in since the request was let in."""
        if self.session is not None:
            return self.session.stand
        caller = self.entered.caller
        return Stand(caller, self.entered.facts, b"" if caller.identity is None else caller.identity.owner)

    def begin(self, scope: Scope) -> None:
        """Show the app its session; from now on the session is in use."""
        engine, entered, session = self.engine, self.entered, self.session
        state = scope.get("state")
        if state is None:
            state = scope["state"] = {}
        state["session"] = session
        if SCOPE_KEY in scope:
            engine.doubt.met_twice()
        scope[SCOPE_KEY] = self
        if entered.visit.poses:
            hide_user(engine, scope)
        if engine.options.scope_session:
            scope["session"] = {} if session is None else ScopeSession(session)
        ask, record = entered.decision.ask, entered.decision.answer.session
        key = ask.key if ask.key is not None or record is None else record.birth.key  # a link leads to its session
        if key is not None:
            engine.gate.leases.begin(ask.operation, key)

    def hold(self, operation: bytes) -> None:
        """Another operation whose leases end with this request."""
        self._operations = (*self._operations, operation)

    def moved(self, session: Session) -> None:
        """The session has another id: what runs belongs to it now."""
        ask, leases = self.entered.ask, self.engine.gate.leases
        leases.register(ask.operation, Running(session.key.bucket, session.key, ask.leases, ask.opens))
        if self.told is not None:
            self.told.key = session.key

    def moving(self) -> AbstractContextManager[None]:
        """In the block the session may get another id."""
        return nullcontext() if self.told is None else self.engine.ends.moving(self.told)

    def close_when_over(self, close: Callable[[], object]) -> Told:
        """It is a stream or a socket: `close` is called when its session or its credential ends.

        A token that has only expired leaves it GRACE_MS.
        """
        engine, session, identity = self.engine, self.session, self.entered.caller.identity
        key = session.record.key if session is not None and session.is_stored else None
        told = self.told = engine.ends.begin(key, identity, close)
        if identity is not None and identity.expires_at is not None:
            left_ms = identity.expires_at + GRACE_MS - engine.runtime.now()
            told.timer = engine.loop.call_later(max(left_ms, 0) / 1000, told.tell)
        return told

    async def has_ended(self) -> bool:
        """Whether its session is no more, or its credential is refused, as far as the store can tell."""
        runtime, session = self.engine.runtime, self.session
        try:
            await vet(runtime, Actor(identity=self.entered.caller.identity))
            if session is None or not session.is_stored:
                return False
            return await runtime.store.get(session.record.key, now=runtime.now()) is None
        except InvalidToken:
            return True
        except (StoreUnavailable, PayloadUnreadable):
            return False

    def finish(self) -> None:
        """Give back what it held."""
        leases = self.engine.gate.leases
        leases.release(self.entered.decision.ask.operation)
        for operation in self._operations:
            leases.release(operation)
        if self.told is not None:
            self.engine.ends.finish(self.told)
            self.told = None


def hide_user(engine: Engine, scope: Scope) -> None:
    """Take away the header in which a peer that nobody trusts names a user."""
    user_header = engine.options.names.user_header
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] != user_header]


def pass_unseen(scope: Scope) -> None:
    """Let a request through without a session and without limits: its path is exempt."""
    state = scope.get("state")
    if state is None:
        state = scope["state"] = {}
    state["session"] = None
    scope[SCOPE_KEY] = None


def passage_of(scope: Mapping[str, Any]) -> Passage | None:
    """The passage of this request; None on an exempt path.

    Raises RuntimeError where SessionMiddleware is not in front of the app.
    """
    found = scope.get(SCOPE_KEY, scope)
    if found is None or isinstance(found, Passage):
        return found
    raise RuntimeError(
        "no session here: put SessionMiddleware in front of the app (app.add_middleware(SessionMiddleware))"
    )


def session_of(scope: Mapping[str, Any]) -> RequestSession | None:
    """The session of this request, or None where there is none. Raises as `passage_of`."""
    passage = passage_of(scope)
    return None if passage is None else passage.session


def required_session(scope: Mapping[str, Any], *, otherwise: str) -> RequestSession:
    """The session of this request. Raises NoSessionId, which is a 401, and as `passage_of`.

    On an exempt path nobody can have one: RuntimeError says to ask for `otherwise`.
    """
    passage = passage_of(scope)
    if passage is None:
        raise RuntimeError(f"{scope['path']} is among SESSIONWARE_EXEMPT_PATHS: ask for {otherwise} there")
    if passage.session is None:
        passage.refusal = NoSessionId("No session ID provided")
        raise passage.refusal
    return passage.session
