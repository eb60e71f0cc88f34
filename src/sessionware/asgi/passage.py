"""The only place that keeps what one request or socket holds on its way, and gives it back at the end.

Integrations find it in the scope: `passage_of(scope)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sessionware.asgi.ends import Told
from sessionware.asgi.entering import Entered
from sessionware.asgi.messages import Scope
from sessionware.asgi.options import Engine
from sessionware.asgi.request_session import RequestSession
from sessionware.core.session import Session
from sessionware.core.standing import Standing
from sessionware.errors import SessionwareError
from sessionware.gate import Running

SCOPE_KEY: Final = "sessionware"


class Passage:
    """One request or socket that was let in.

    `refusal` is what refused it last while it ran, for an app that does not catch it. `has_begun`: the first byte of
    the answer has left. `standings` are the limits that it met beside those of its admission, `taken` those of its
    route, each once however often it is asked for.
    """

    def __init__(self, engine: Engine, entered: Entered) -> None:
        self.engine = engine
        self.entered = entered
        self.refusal: SessionwareError | None = None
        self.has_begun = False
        self.told: Told | None = None
        self.standings: list[Standing] = []
        self.taken: tuple[object, ...] = ()
        self._operations: list[bytes] = []
        self.session = self._session()

    def _session(self) -> RequestSession | None:
        entered = self.entered
        record, making = entered.session, entered.making
        if record is not None:
            return RequestSession(self.engine, self, entered, record)
        if making.new is not None and making.is_lazy:
            return RequestSession(self.engine, self, entered, making.new.session, unborn=making.new)
        return None

    @property
    def met(self) -> tuple[Standing, ...]:
        """How the limits stand that it has met; of those that it met twice, as they stood last."""
        first, later = self.entered.decision.standings, self.standings
        if not later:
            return first
        again = {standing.name for standing in later}
        return (*[standing for standing in first if standing.name not in again], *later)

    def begin(self, scope: Scope) -> None:
        """Show the app its session; from now on the session is in use."""
        session = self.session
        _show(scope, session)
        scope[SCOPE_KEY] = self
        if self.engine.options.scope_session:
            scope["session"] = {} if session is None else session.data
        ask = self.entered.ask
        if ask.key is not None and not ask.leases and not ask.opens:
            self.engine.gate.leases.register(ask.operation, Running(ask.bucket, ask.key))

    def holds(self, operation: bytes) -> None:
        """Another operation whose leases end with this request."""
        self._operations.append(operation)

    def moved(self, session: Session) -> None:
        """The session has another id: what runs belongs to it now."""
        ask, leases = self.entered.ask, self.engine.gate.leases
        leases.register(ask.operation, Running(session.key.bucket, session.key, ask.leases, ask.opens))
        if self.told is not None:
            self.engine.ends.moved(self.told, session.key)

    def finish(self) -> None:
        """Give back what it held."""
        leases = self.engine.gate.leases
        leases.release(self.entered.ask.operation)
        for operation in self._operations:
            leases.release(operation)
        if self.told is not None:
            self.engine.ends.finish(self.told)
            self.told = None


def pass_unseen(scope: Scope) -> None:
    """Let a request through without a session and without limits: its path is exempt."""
    _show(scope, None)
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


def _show(scope: Scope, session: RequestSession | None) -> None:
    state = scope.get("state")
    if state is None:
        state = scope["state"] = {}
    state["session"] = session
