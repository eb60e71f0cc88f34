"""The way in, the same for requests and sockets: who asks, which session, one admission."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from sessionware.asgi.cross_site import is_cross_site
from sessionware.asgi.engine import Engine
from sessionware.asgi.meeting import meet, without_session
from sessionware.asgi.messages import Scope
from sessionware.asgi.missing import NONE, Making, made_if_absent, made_without_id, may_begin_anew
from sessionware.asgi.problems import Problem, refused
from sessionware.asgi.reading import fingerprint, may_name_in_url, read
from sessionware.asgi.routing import Routed
from sessionware.asgi.visits import Visit
from sessionware.core.admission import Admission, Admitted, Binding, Outcome
from sessionware.core.decision import Allowed, Refused
from sessionware.core.identity import Identity
from sessionware.core.ledger import Spend
from sessionware.core.policy import Caller, Plan, admission, plan
from sessionware.core.request import Facts
from sessionware.errors import CrossSite, IdentityRequired, InvalidToken, NotAMember
from sessionware.service.actors import Actor
from sessionware.service.finding import check_session_token, vet
from sessionware.telemetry import who_asks


class Entered(Struct, frozen=True, gc=False):
    """What is known of a request that may run. `making` tells of a session that is made with it, or may yet be."""

    visit: Visit
    caller: Caller
    facts: Facts
    decision: Allowed
    making: Making = NONE

    @property
    def ask(self) -> Admission:
        return self.decision.ask


class Call(Struct, frozen=True, gc=False):
    """One request or handshake: who asks, about what, when. `opens`: its session is open from now on.

    `routed` is what a proxy knows of it.
    """

    visit: Visit
    facts: Facts
    now: int
    opens: bool = False
    ticket: Spend | None = None
    routed: Routed | None = None


async def enter(
    engine: Engine, scope: Scope, *, opens: bool = False, body_id: str | None = None, routed: Routed | None = None
) -> Entered | Problem:
    """Plan, admit, judge. `opens`: the session is open from now on, as for sockets.

    `body_id` is an id that the body holds, `routed` what a proxy knows of the request. Raises CrossSite,
    IdentityRequired, NotAMember, and what bad credentials do.
    """
    if not opens and body_id is None:
        usual = _usual(engine, scope, routed)
        if usual is not None:
            visit, facts, ask = usual
            decision = await engine.gate.decide(ask, engine.runtime.policy, about_session=True)
            if isinstance(decision, Allowed):
                return Entered(visit, visit.caller, facts, decision)
            if decision.code != "session_invalid":
                return _turned_away(engine, visit, decision)
            visit.has_lived = False  # asked once more, and this time it may be made
    call = await _call(engine, scope, opens=opens, body_id=body_id)
    if routed is not None:
        call = replace(call, facts=replace(routed.facts, client=call.visit.client), routed=routed)
        if routed.groups:
            _check_member(call.visit.identity, routed.groups)
    if call.visit.is_by_cookie and is_cross_site(scope, engine.options):
        engine.runtime.telemetry.cross_site(read(scope, engine.options.names).origin.decode("latin-1"))
        raise CrossSite("Cross-site request refused")
    found = await _find(engine, call)
    return found if isinstance(found, Entered) else _turned_away(engine, call.visit, found)


def _usual(engine: Engine, scope: Scope, routed: Routed | None) -> tuple[Visit, Facts, Admission] | None:
    """The caller and the question of a request like many before: known headers, a session that was there lately.

    None where anything has to be found out first.
    """
    if scope["query_string"] and may_name_in_url(scope, engine.options.names):
        return None
    visit = engine.visits.known.get(fingerprint(scope, engine.heard))
    if visit is None or not visit.has_lived:
        return None
    if routed is None:
        usual = visit.usual.get((scope["method"], scope["path"], "", ""))
    else:
        told = routed.facts
        usual = visit.usual.get((told.method, told.path, told.mcp_method, told.tool)) if told.count == 1 else None
    if usual is None:
        return None
    facts, ask, until = usual
    now = engine.runtime.store.clock.now()
    if now >= until or not visit.since <= now < visit.until:
        return None
    return visit, facts, ask.at(now, operation=engine.runtime.operation())


async def _call(engine: Engine, scope: Scope, *, opens: bool, body_id: str | None) -> Call:
    """Who asks: known by their headers, or met now."""
    now, ticket = engine.runtime.now(), None
    if opens or body_id is not None or may_name_in_url(scope, engine.options.names):
        met = await meet(engine, scope, now, body_id=body_id)
        visit, ticket = met.visit, met.ticket
    else:
        visits, headers = engine.visits, fingerprint(scope, engine.heard)
        known = visits.get(headers, now)
        if known is None:
            generation = visits.generation
            known = (await meet(engine, scope, now)).visit
            visits.put(headers, known, generation=generation)
        visit = known
    facts = Facts(method=scope.get("method", "GET").upper(), path=scope["path"], client=visit.client)
    return Call(visit, facts, now, opens, ticket)


def _turned_away(engine: Engine, visit: Visit, decision: Refused) -> Problem:
    """Count, audit and tell a refusal; the answer to it."""
    telemetry, who = engine.runtime.telemetry, who_asks(visit.identity, visit.caller.session)
    if decision.answer.outcome is Outcome.FOREIGN:
        telemetry.foreign_id(who)
    telemetry.refused(decision, who)
    engine.runtime.observers.refused(decision)
    return refused(decision, style=engine.options.ratelimit_headers)


async def _find(engine: Engine, call: Call) -> Entered | Refused:
    """Ask for the session that is meant; where there is none, for a new one if that may be."""
    visit, now = call.visit, call.now
    makes = "as_set" if call.routed is None else call.routed.makes
    if makes == "always" and visit.is_default:
        visit = without_session(engine, visit)  # it begins a session of its own, which is not the caller's default
        call = replace(call, visit=visit)
    if visit.is_unsessioned:
        return await _ask(engine, call, made_without_id(engine, visit, now, makes=makes))
    found = await _ask(engine, call, NONE if visit.has_lived else made_if_absent(engine, visit, now))
    if isinstance(found, Entered):
        visit.has_lived = True
        return found
    if found.code != "session_invalid":
        return found
    if visit.link is not None:  # it may have ended with the token: begun anew, the client would only be refused then
        await vet(engine.runtime, Actor(identity=visit.identity))
    if visit.has_lived:  # and lives no more
        visit.has_lived = False
        making = made_if_absent(engine, visit, now)
        if making.new is not None:
            return await _ask(engine, call, making)
    if may_begin_anew(engine, visit) and _may_come_alone(engine, visit):
        alone = without_session(engine, visit)
        return await _ask(engine, replace(call, visit=alone), made_without_id(engine, alone, now))
    return found


def _question(engine: Engine, call: Call, making: Making) -> tuple[Caller, Plan, Admission]:
    """Who asks, what that takes, and how the store is asked."""
    runtime, visit, now = engine.runtime, call.visit, call.now
    caller, new = visit.caller, None if making.is_lazy else making.new
    if new is not None and visit.target is None:
        key = new.session.key
        caller = replace(caller, session=key, tag=new.session.birth.tag, bucket=key.bucket)
    planned = plan(runtime.policy, caller, call.facts, now=now, creates=new is not None)
    ask = _about(call, caller, admission(caller, planned, now=now, operation=runtime.operation(), new=new))
    return caller, planned, ask


async def _ask(engine: Engine, call: Call, making: Making) -> Entered | Refused:
    runtime, visit, ticket = engine.runtime, call.visit, call.ticket
    caller, planned, ask = _question(engine, call, making)

    def sessionless() -> Admission:
        """The same request without its session, for when the store is down: then its client counts."""
        alone = replace(caller, session=None)
        planned = plan(runtime.policy, alone, call.facts, now=call.now)
        return admission(alone, planned, now=call.now, operation=ask.operation)

    about_session = ask.key is not None or visit.link is not None
    decision = await engine.gate.decide(
        ask,
        runtime.policy,
        about_session=about_session,
        # That a ticket was not used before, only the store can tell.
        sessionless=sessionless if ticket is None and _may_come_alone(engine, visit) else None,
    )
    if isinstance(decision, Allowed):
        _tell_bound(call, ask.candidate, decision.answer)
        try:
            await _look_at(engine, call, decision.answer)
        except BaseException:
            engine.gate.leases.release(ask.operation)
            raise
        is_learned = visit.link is not None and _has_learned(visit, decision.answer)
        if ticket is None and not (call.opens or is_learned) and engine.may_repeat(visit, call.facts.method):
            repeated = ask.without_making()
            # Whoever is bound stays so: it need not be proposed again.
            visit.remember(call.facts, replace(repeated, candidate=None), planned.until)
        return Entered(visit, caller, call.facts, decision, making)
    if ticket is not None and decision.limit is not None and decision.limit.name == ticket.limit:
        raise InvalidToken("Invalid or expired ticket")  # it was used before
    return decision


def _about(call: Call, caller: Caller, ask: Admission) -> Admission:
    """The question with what is asked beside limits: a link, an upstream, a ticket that is used up."""
    visit, ticket = call.visit, call.ticket
    if visit.link is not None:
        ask = replace(ask, link=visit.link.key, key=None if visit.target is None else ask.key)
    if call.routed is not None:
        ask = replace(ask, wants_data=False, candidate=_candidate(call.routed, visit, caller))
    if ticket is not None or call.opens:
        ask = replace(ask, opens=call.opens, spends=ask.spends if ticket is None else (*ask.spends, ticket))
    return ask


def _candidate(routed: Routed, visit: Visit, caller: Caller) -> Binding | None:
    """The upstream that a session gets if it has none; a `default` session is bound nowhere, a legacy one already."""
    if routed.candidate is None or caller.session is None or visit.is_default or visit.link is not None:
        return None
    if visit.has_lived and routed.facts.pool in visit.pools:
        return None
    return routed.candidate(caller.session.hash)


def _has_learned(visit: Visit, answer: Admitted) -> bool:
    """Whether the link belongs to another session than was thought: from now on its limits count there."""
    key = None if answer.session is None else answer.session.key
    if key is None or key == visit.caller.session:
        return False
    visit.caller = replace(visit.caller, session=key)
    return True


def _tell_bound(call: Call, candidate: Binding | None, answer: Admitted) -> None:
    """A proposal was made: whether it was taken or another one before, the session has an upstream there."""
    if candidate is None or answer.session is None or call.routed is None:
        return
    standing, pools = answer.session.bindings.get(candidate.pool), call.visit.pools
    if standing is not None and candidate.pool not in pools:
        call.visit.pools = (*pools, candidate.pool)
    if standing == candidate.upstream and call.routed.bound is not None:
        call.routed.bound(candidate)


async def _look_at(engine: Engine, call: Call, answer: Admitted) -> None:
    """Tell who started and who ended by it; and judge what only the record can tell.

    That is whose session it is, if its id alone proves it, and which secret goes with it. Raises PermissionDenied,
    InvalidToken.
    """
    runtime, visit, session = engine.runtime, call.visit, answer.session
    await runtime.tell_ended(answer.evicted)
    if session is None:
        return
    if answer.is_new:
        runtime.tell_started(session)
    if visit.identity is None:
        engine.resolver.check_member(session.birth.groups, session.birth.org_id)
    if runtime.terms.session_token and call.ticket is None:
        check_session_token(runtime, session, by=Actor(session_token=visit.session_token))


def _check_member(identity: Identity | None, groups: frozenset[str]) -> None:
    """Raise IdentityRequired for nobody, NotAMember for somebody who is in none of these groups."""
    if identity is None or identity.is_anonymous:
        raise IdentityRequired("an identity is required")
    if groups.isdisjoint(identity.groups):
        raise NotAMember("Permission denied")


def _may_come_alone(engine: Engine, visit: Visit) -> bool:
    """Whether this caller may go on without the session that was meant: its id may have been their only proof."""
    return visit.identity is not None or engine.resolver.lets_strangers_in
