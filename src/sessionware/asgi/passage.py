"""The only place that keeps what one request or socket holds on its way, and gives it back at the end.

Integrations find it in the scope: `passage_of(scope)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from sessionware.asgi.ends import Told
from sessionware.asgi.entering import Entered
from sessionware.asgi.messages import Scope
from sessionware.asgi.options import Engine
from sessionware.asgi.request_session import RequestSession
from sessionware.asgi.scope_session import ScopeSession
from sessionware.core.session import Session
from sessionware.core.standing import Glance, Standing
from sessionware.errors import SessionwareError
from sessionware.gate import Running

SCOPE_KEY: Final = "sessionware"


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
            self.session.is_unborn(making.new)

    @property
    def met(self) -> Sequence[Glance]:
        """How the limits stand that it has met; of those that it met twice, as they stood last."""
        first, later = self.entered.decision.glances, self.standings
        if not later:
            return first
        again = {standing.name for standing in later}
        return (
            *[glance for glance in first if glance[0] not in again],
            *[standing.glance for standing in later if standing.binding and standing.window is not None],
        )

    def begin(self, scope: Scope) -> None:
        """Show the app its session; from now on the session is in use."""
        engine, entered, session = self.engine, self.entered, self.session
        state = scope.get("state")
        if state is None:
            state = scope["state"] = {}
        state["session"] = session
        scope[SCOPE_KEY] = self
        if entered.visit.poses:
            hide_user(engine, scope)
        if engine.options.scope_session:
            scope["session"] = {} if session is None else ScopeSession(session)
        ask = entered.decision.ask
        if ask.key is not None:
            engine.gate.leases.begin(ask.operation, ask.key)

    def holds(self, operation: bytes) -> None:
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
