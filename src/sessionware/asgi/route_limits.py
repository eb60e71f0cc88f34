"""The only place that takes from the limits of a route, for every framework alike."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from sessionware.asgi.engine import Engine
from sessionware.asgi.messages import Scope
from sessionware.asgi.passage import Passage
from sessionware.core.admission import Admission
from sessionware.core.decision import Refused
from sessionware.core.limits import Limit
from sessionware.core.policy import Caller, Policy, admission, plan
from sessionware.core.request import Facts
from sessionware.core.route_limits import compile_route_limits, parse_route_limits
from sessionware.errors import SessionwareError
from sessionware.service.refusals import raise_refused
from sessionware.telemetry import who_asks

ROUTES_MAX: Final = 1_024  # compiled routes that are kept of one limit: apps have fewer
SOCKET: Final = "WEBSOCKET"  # the method of a handshake, for want of one


class RouteLimit:
    """What is said once for a route or many: `Limited("10/minute per user", cost=2)`.

    Two that say the same are equal. Raises ConfigError for what cannot be the limit of a route.
    """

    def __init__(self, *texts: str, cost: int | None = None, source: str = "Limited") -> None:
        self.limits: tuple[Limit, ...] = parse_route_limits(texts, cost=cost, source=source)
        self._hash = hash(self.limits)
        self._compiled: dict[tuple[bytes, str, str], Policy] = {}

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, RouteLimit) and self.limits == other.limits)

    def __hash__(self) -> int:
        return self._hash

    def on(self, engine: Engine, *, method: str, template: str) -> Policy:
        """What it means on one route of one installation."""
        addresses = engine.runtime.addresses
        key = (addresses.salt, method, template)
        found = self._compiled.get(key)
        if found is None:
            if len(self._compiled) >= ROUTES_MAX:
                del self._compiled[next(iter(self._compiled))]
            found = compile_route_limits(self.limits, addresses=addresses, method=method, template=template)
            self._compiled[key] = found
        return found


def method_of(scope: Scope) -> str:
    """The method under which a request counts: a HEAD is a GET whose body nobody wants."""
    if scope["type"] == "websocket":
        return SOCKET
    method: str = scope["method"]
    return "GET" if method == "HEAD" else method


async def take(passage: Passage | None, limit: RouteLimit, *, method: str, template: str) -> None:
    """Take one request from the limits of a route, once per request. On an exempt path there is nothing to take.

    Raises LimitExceeded, and what an admission raises; the passage keeps it, for an app that does not catch it.
    """
    if passage is None or not limit.limits:
        return
    once = (limit, method, template)
    if once in passage.taken:
        return
    passage.taken = (*passage.taken, once)
    engine, policy = passage.engine, limit.on(passage.engine, method=method, template=template)
    stand = passage.stand
    caller, facts = stand.caller, stand.facts
    ask = _ask(engine, policy, caller, facts)
    if not (ask.spends or ask.leases):
        return

    def sessionless() -> Admission:
        return replace(_ask(engine, policy, replace(caller, session=None), facts), operation=ask.operation)

    about_session = caller.session is not None
    decision = await engine.gate.decide(ask, policy, about_session=about_session, sessionless=sessionless)
    if isinstance(decision, Refused):
        _refuse(passage, decision, caller)
    if ask.leases:
        passage.hold(ask.operation)
    passage.standings = (*passage.standings, *decision.standings)


def _ask(engine: Engine, policy: Policy, caller: Caller, facts: Facts) -> Admission:
    now = engine.runtime.now()
    planned = plan(policy, caller, facts, now=now)
    ask = admission(caller, planned, now=now, operation=engine.runtime.operation())
    return replace(ask, touch=False, wants_data=False)


def _refuse(passage: Passage, refused: Refused, caller: Caller) -> None:
    runtime = passage.engine.runtime
    runtime.telemetry.refused(refused, who_asks(caller.identity, caller.session))
    runtime.observers.refused(refused)
    try:
        raise_refused(refused)
    except SessionwareError as error:
        passage.refusal = error
        raise
