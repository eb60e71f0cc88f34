"""The way in, the same for requests and sockets: who asks, which session, one admission."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from sessionware.asgi import cookies
from sessionware.asgi.meaning import Meant, fresh, may_begin_anew, meant
from sessionware.asgi.options import Engine
from sessionware.asgi.problems import Problem, problem, refused
from sessionware.asgi.reading import Read
from sessionware.asgi.request_session import RequestSession
from sessionware.core.admission import Admission
from sessionware.core.decision import Allowed, Refused
from sessionware.core.policy import Caller, admission, plan
from sessionware.core.request import Facts
from sessionware.credentials.presented import Place
from sessionware.service.amounts import Stand
from sessionware.telemetry import Who
from sessionware.telemetry.telemetry import who_at


class Entered(Struct, frozen=True):
    """What is known of a request that may run."""

    meant: Meant
    ask: Admission
    decision: Allowed
    facts: Facts
    caller: Caller

    def session(self, engine: Engine) -> RequestSession | None:
        """The session object for the app; None when the request goes on without one."""
        answer = self.decision.answer
        if answer.session is None:
            return None
        stand = Stand(self.caller, self.facts, answer.session.birth.owner)
        return RequestSession(engine.runtime, answer.session, text=self.meant.text, is_new=answer.is_new, stand=stand)


async def enter(engine: Engine, scope: Mapping[str, Any], seen: Read, *, opens: bool = False) -> Entered | Problem:
    """Plan, admit, judge. `opens`: the session is open from now on, as for sockets. Raises for bad credentials."""
    runtime, options = engine.runtime, engine.options
    now = runtime.now()
    client = engine.resolver.client(seen.presented)
    resolved = engine.resolver.resolve_at_once(seen.presented, now)
    if resolved is None:
        resolved = await engine.resolver.resolve(seen.presented, now)
    what = meant(engine, resolved, client=client, now=now)
    if what.place is Place.COOKIE and cookies.is_cross_site(scope, seen, options):
        return problem(403, "Cross-site request refused", "cross_site")
    facts = Facts(method=scope.get("method", "GET"), path=scope["path"], client=client, is_preflight=seen.is_preflight)
    entered = await _ask(engine, what, facts, now, opens=opens)
    if isinstance(entered, Refused) and entered.code == "session_invalid" and may_begin_anew(engine, what):
        what = fresh(engine, what.identity, client=client, now=now)
        entered = await _ask(engine, what, facts, now, opens=opens)
    if isinstance(entered, Entered):
        return entered
    runtime.telemetry.refused(entered, _who(what))
    runtime.observers.refused(entered)
    return refused(entered, style=options.ratelimit_headers)


async def _ask(engine: Engine, what: Meant, facts: Facts, now: int, *, opens: bool) -> Entered | Refused:
    runtime, identity = engine.runtime, what.identity
    org_limits = runtime.org_limits(identity.org) if identity is not None and identity.org else {}
    caller = Caller(identity, what.key, what.tag, what.bucket, org_limits)
    planned = plan(runtime.policy, caller, facts, now=now, creates=what.new is not None)
    ask = admission(caller, planned, now=now, operation=runtime.operation(), new=what.new)
    if what.link is not None or opens:
        ask = replace(ask, link=what.link, opens=opens)

    def sessionless() -> Admission:
        """The same request without its session, for when the store is down: then its client counts."""
        alone = Caller(identity, None, what.tag, what.bucket, org_limits)
        return admission(alone, plan(runtime.policy, alone, facts, now=now), now=now, operation=ask.operation)

    decision = await engine.gate.decide(
        ask,
        runtime.policy,
        about_session=what.key is not None or what.link is not None,
        sessionless=sessionless,
    )
    if not isinstance(decision, Allowed):
        return decision
    answer = decision.answer
    if answer.evicted:
        await runtime.tell_ended(answer.evicted)
    if answer.is_new and answer.session is not None:
        runtime.tell_started(answer.session)
    if identity is None and answer.session is not None:
        # Proved by its id alone: only now is it known whose session it is.
        engine.resolver.check_member(answer.session.birth.groups, answer.session.birth.org_id)
    return Entered(what, ask, decision, facts, caller)


def _who(what: Meant) -> Who:
    """Whom a refusal is about, as far as it is proved."""
    identity = what.identity
    user, org = (identity.user_id, identity.org_id) if identity is not None else (None, None)
    return who_at(what.key, user=user, org=org) if what.key is not None else Who(user=user, org=org)
