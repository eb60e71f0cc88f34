"""The only place that turns a caller and a request into what is asked of the counters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sessionware.core.admission import Admission, NewSession
from sessionware.core.identity import Identity
from sessionware.core.ids import Addresses, SessionKey
from sessionware.core.ladders import Ladder, Rung, Values, compile_ladders
from sessionware.core.ledger import Lease, Scope, Spend, When, placed
from sessionware.core.limits import MESSAGES, Limit
from sessionware.core.request import Facts
from sessionware.core.session import Override
from sessionware.core.windows import NEVER, Total, position
from sessionware.errors import ConfigError

CREATION: Final = "create"  # what CREATE_LIMIT is called unless it has a name of its own
_NO_OVERRIDES: Final[Mapping[str, Override]] = {}

Counted = tuple[Ladder, Rung, Scope, bytes, int]  # the counter that a limit counts in, and the allowance that holds


class Policy(Struct, frozen=True):
    """All limits of an installation, compiled: constant parts are matched and hashed once.

    `limits` finds the limit behind a spend's name (of a ladder: its first rung). `minds_requests`: some limit speaks
    of certain requests only; if none does, a plan (but for MCP) is the same whatever the method and the path.
    """

    ladders: tuple[Ladder, ...]
    creation: tuple[Ladder, ...]
    limits: dict[str, Limit]
    minds_requests: bool


class Caller(Struct, frozen=True, gc=False):
    """Who asks, as far as limits are concerned.

    `session` is the session that the request uses or makes; `bucket` and `tag` are its partition's (without a
    session: the identity's, or any). The tag tells a user without a credential: the id of a session made by
    `login` begins with its user's tag, and the store refuses a forged one before anything is counted.
    `org_limits` are the overrides of the caller's organisation.
    """

    identity: Identity | None = None
    session: SessionKey | None = None
    tag: str = ""
    bucket: int = 0
    org_limits: Mapping[str, Override] = _NO_OVERRIDES


class Plan(Struct, frozen=True):
    """What one request takes: all or nothing.

    A plan may be kept and taken again, placed anew by `at(now)`, as long as the policy is the same, caller and
    facts are equal to those that it was made for, and `now` is before `until`: then an override of the caller's
    organisation runs out.
    """

    spends: tuple[Spend, ...] = ()
    leases: tuple[Lease, ...] = ()
    until: int = NEVER

    def at(self, now: int) -> Plan:
        """The same plan for another instant."""
        return Plan(placed(self.spends, now), self.leases, self.until)


NOTHING: Final = Plan()


def compile_policy(limits: Iterable[Limit], *, addresses: Addresses, creation: Limit | None = None) -> Policy:
    """Compile parsed limits. Raises ConfigError when the creation limit shares its name with another."""
    every = list(limits)
    by_name = {limit.name: limit for limit in reversed(every)}
    making: tuple[Ladder, ...] = ()
    if creation is not None:
        named = creation if creation.is_named else replace(creation, name=CREATION)
        if named.name in by_name:
            raise ConfigError(
                f"limit '{named.name}': this name belongs to the limit for making sessions "
                "(SESSIONWARE_CREATE_LIMIT): give the other one another name="
            )
        by_name[named.name] = named
        making = compile_ladders([named], addresses=addresses)
    ladders = compile_ladders(every, addresses=addresses)
    minds_requests = any(rung.matcher is not None for ladder in ladders + making for rung in ladder.rungs)
    return Policy(ladders, making, by_name, minds_requests)


def plan(policy: Policy, caller: Caller, facts: Facts, *, now: int, creates: bool = False) -> Plan:
    """What a request takes from each limit that speaks of it.

    Requests cost 1 (or `costing`); other resources cost nothing yet and refuse only when exhausted. With
    `creates` the creation limit takes part if the store really makes the session. A preflight takes nothing,
    and MCP housekeeping only from limits that name it.
    """
    if facts.is_preflight:
        return NOTHING
    housekeeping = facts.is_lifecycle
    spends: list[Spend] = []
    leases: list[Lease] = []
    for found in counted(policy.ladders, caller, facts, now=now):
        ladder, rung, scope, key, allowance = found
        if (housekeeping and not ladder.hears(facts)) or not _meets_requests(ladder, rung):
            continue
        if ladder.window is None:
            leases.append(Lease(ladder.name, key, scope, allowance, rung.binding))
        else:
            spends.append(spend_of(found, rung.cost * facts.count, now=now))
    if creates:
        spends += plan_creation(policy, caller, facts, now=now, when=When.CREATED)
    return Plan(tuple(spends), tuple(leases), _until(caller.org_limits, now) if caller.org_limits else NEVER)


def plan_creation(
    policy: Policy, caller: Caller, facts: Facts, *, now: int, when: When = When.ALWAYS
) -> tuple[Spend, ...]:
    """What making a session takes; counts on every path, MCP's initialize included."""
    found = counted(policy.creation, caller, facts, now=now)
    return tuple(spend_of(each, each[1].cost, now=now, when=when) for each in found)


def admission(caller: Caller, planned: Plan, *, now: int, operation: bytes, new: NewSession | None = None) -> Admission:
    """The whole question to the store for one request of this caller.

    Raises ValueError when the session to be made does not lie under the key that is asked about.
    """
    identity = caller.identity
    if new is not None and caller.session is not None and new.session.birth.key != caller.session:
        raise ValueError("the session to be made must lie under the key that is asked about")
    return Admission(
        now=now,
        bucket=caller.session.bucket if caller.session is not None else caller.bucket,
        operation=operation,
        key=caller.session,
        owner=None if identity is None else identity.owner,
        token=None if identity is None else identity.token,
        new=new,
        spends=planned.spends,
        leases=planned.leases,
    )


def counted(ladders: Iterable[Ladder], caller: Caller, facts: Facts, *, now: int) -> Iterator[Counted]:
    """The ladders that speak of this caller and request, each with the rung and the counter that it counts in."""
    values = values_of(caller, facts)
    for ladder in ladders:
        rung = ladder.always
        if rung is None:
            rung = ladder.rung_of(caller.identity, has_user=bool(values[1]))
            if rung is None or not rung.speaks_of(facts):
                continue
        place = ladder.counter(values)
        if place is not None:
            yield ladder, rung, place[0], place[1], allowance_of(ladder.name, rung, caller, now=now)


def spend_of(found: Counted, cost: int, *, now: int, when: When = When.ALWAYS) -> Spend:
    """A spend of `cost`, placed in time. Raises ValueError for a concurrency limit, which has no window."""
    ladder, rung, scope, key, allowance = found
    window = ladder.window
    if window is None:
        message = f"limit '{ladder.name}' counts what runs at once: it takes leases, not spends"
        raise ValueError(message)
    place = position(window, now)
    return Spend(
        ladder.name, key, scope, window, allowance, cost,
        place.number, place.carry, place.stale_at, rung.binding, when,
    )  # fmt: skip


def values_of(caller: Caller, facts: Facts) -> Values:
    """What there is to count over for this caller; what is missing is empty."""
    identity, tag = caller.identity, caller.tag
    if identity is not None:
        user, org = identity.counts_as_user, identity.counts_as_org
    else:
        user = tag.encode() if tag.startswith("u") else b""
        org = tag.encode() if tag.startswith("o") else b""
    session = caller.session
    return (b"" if session is None else session.hash, user, org, facts.client.encode(), b"*", facts.tool.encode())


def allowance_of(name: str, rung: Rung, caller: Caller, *, now: int) -> int:
    """The allowance that the edge knows of: the organisation's override, else the token's, else the rung's.

    Overrides of the session and the user stand above these and are applied by the store.
    """
    override = caller.org_limits.get(name) if caller.org_limits else None
    if override is not None and now < override.until:
        return override.allowance
    if caller.identity is not None and caller.identity.limits:
        return caller.identity.limits.get(name, rung.allowance)
    return rung.allowance


def _meets_requests(ladder: Ladder, rung: Rung) -> bool:
    """Whether requests have to do with such a limit.

    Messages are what a socket receives. A level that is full refuses what would add to it, never the request that
    may bring it down.
    """
    return ladder.resource != MESSAGES and not (isinstance(ladder.window, Total) and rung.cost == 0)


def _until(org_limits: Mapping[str, Override], now: int) -> int:
    """The first instant at which one of the overrides that hold now does no more."""
    return min((override.until for override in org_limits.values() if now < override.until), default=NEVER)
