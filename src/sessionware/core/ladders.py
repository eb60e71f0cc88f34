"""The only place that compiles limits: whom and what a limit fits, and which counter it counts in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Final, assert_never

from msgspec import Struct

from sessionware.core.globs import canonical_path, name_regex, path_regex
from sessionware.core.identity import Identity
from sessionware.core.ids import Addresses, CounterFamily
from sessionware.core.ledger import Scope
from sessionware.core.limits import REQUESTS, Anonymous, GrantedScope, Group, Limit, Whom, span_text
from sessionware.core.request import Facts
from sessionware.core.windows import Window

Values = tuple[bytes, bytes, bytes, bytes, bytes, bytes]  # what there is to count over, in the order of SOURCES

SOURCES: Final = (Scope.SESSION, Scope.USER, Scope.ORG, Scope.CLIENT, Scope.GLOBAL)
TOOL: Final = len(SOURCES)
_STAND_INS: Final = {Scope.SESSION: (Scope.SESSION, Scope.CLIENT), Scope.USER: (Scope.USER, Scope.CLIENT)}


class Way(Struct, frozen=True, gc=False):
    """One way to count: needs these values; a `key` that is the same for everybody, or a family of keys."""

    scope: Scope
    needs: tuple[int, ...]
    key: bytes | None
    family: CounterFamily
    hashes: tuple[int, ...]


class Matcher(Struct, frozen=True):
    """What a limit asks of a request, compiled. Empty tuples ask nothing."""

    methods: frozenset[str] = frozenset()
    paths: tuple[re.Pattern[str], ...] = ()
    tools: tuple[re.Pattern[str], ...] = ()
    mcp: tuple[re.Pattern[str], ...] = ()
    pools: frozenset[str] = frozenset()
    excepted_paths: tuple[re.Pattern[str], ...] = ()
    excepted_tools: tuple[re.Pattern[str], ...] = ()

    def matches(self, facts: Facts) -> bool:
        if self.methods and facts.method not in self.methods:
            return False
        if self.pools and facts.pool not in self.pools:
            return False
        for patterns, value in ((self.tools, facts.tool), (self.mcp, facts.mcp_method)):
            if patterns and not (value and _any(patterns, value)):
                return False
        if self.paths or self.excepted_paths:
            path = canonical_path(facts.path)
            if (self.paths and not _any(self.paths, path)) or _any(self.excepted_paths, path):
                return False
        return not (self.excepted_tools and facts.tool and _any(self.excepted_tools, facts.tool))


class Rung(Struct, frozen=True):
    """One limit of a ladder, ready to be taken. `matcher` None: it speaks of every request."""

    whom: Whom | None
    matcher: Matcher | None
    allowance: int
    cost: int
    binding: bool

    def speaks_of(self, facts: Facts) -> bool:
        return self.matcher is None or self.matcher.matches(facts)


class Ladder(Struct, frozen=True):
    """All limits of one name: they share one counter, and the first whose WHOM fits counts.

    `window` None: a concurrency limit. `always` is the first rung if it asks nothing of caller and request.
    `hears_mcp` and `hears_methods`: it names MCP methods, or HTTP methods, and so may speak of housekeeping.
    """

    name: str
    resource: str
    window: Window | None
    ways: tuple[Way, ...]
    rungs: tuple[Rung, ...]
    hears_mcp: bool
    hears_methods: bool
    always: Rung | None = None

    def rung_of(self, identity: Identity | None, *, has_user: bool) -> Rung | None:
        """The first rung whose WHOM fits, or None."""
        for rung in self.rungs:
            if rung.whom is None or _fits(rung.whom, identity, has_user=has_user):
                return rung
        return None

    def hears(self, facts: Facts) -> bool:
        """Whether MCP housekeeping counts: only where a limit names it."""
        return self.hears_mcp if facts.method == "POST" else self.hears_methods

    def counter(self, values: Values) -> tuple[Scope, bytes] | None:
        """Where to count, or None when what the limit counts over is missing."""
        for way in self.ways:
            for need in way.needs:
                if not values[need]:
                    break
            else:
                key = way.key
                return way.scope, way.family.key(*[values[index] for index in way.hashes]) if key is None else key
        return None


def what_it_names(limit: Limit) -> str:
    """The requests that a limit speaks of, as part of where it counts."""
    return str(limit.what)


def compile_ladders(
    limits: Iterable[Limit], *, addresses: Addresses, about: Callable[[Limit], str] = what_it_names
) -> tuple[Ladder, ...]:
    """Group limits by name, in the order of their first rung, and hash what never changes.

    `about` says what a limit's counters belong to: limits about different things never share one.
    """
    by_name: dict[str, list[Limit]] = {}
    for limit in limits:
        by_name.setdefault(limit.name, []).append(limit)
    return tuple(_ladder(rungs, addresses, about(rungs[0])) for rungs in by_name.values())


def _ladder(limits: Sequence[Limit], addresses: Addresses, about: str) -> Ladder:
    first = limits[0]
    rungs = tuple(
        Rung(limit.whom, _matcher(limit), limit.allowance, _cost(limit), not limit.shadow) for limit in limits
    )
    return Ladder(
        name=first.name,
        resource=first.resource,
        window=first.window,
        ways=_ways(first, addresses, about),
        rungs=rungs,
        hears_mcp=bool(first.what.mcp),
        hears_methods=bool(first.what.methods),
        always=rungs[0] if rungs[0].whom is None and rungs[0].matcher is None else None,
    )


def _cost(limit: Limit) -> int:
    if limit.cost is not None:
        return limit.cost
    return 1 if limit.resource == REQUESTS else 0


def _matcher(limit: Limit) -> Matcher | None:
    if not (limit.what or limit.excepted_paths or limit.excepted_tools):
        return None
    return Matcher(
        methods=frozenset(limit.what.methods)
        | ({"HEAD"} if "GET" in limit.what.methods else set()),  # it runs GET's handler
        paths=tuple(map(path_regex, limit.what.paths)),
        tools=tuple(map(name_regex, limit.what.tools)),
        mcp=tuple(map(name_regex, limit.what.mcp)),
        pools=frozenset(limit.what.pools),
        excepted_paths=tuple(map(path_regex, limit.excepted_paths)),
        excepted_tools=tuple(map(name_regex, limit.excepted_tools)),
    )


def _ways(limit: Limit, addresses: Addresses, about: str) -> tuple[Way, ...]:
    """Every way to count, the intended one first: without a session or a user the client stands in."""
    choices = product(*[_STAND_INS.get(scope, (scope,)) for scope in limit.over])
    distinct = dict.fromkeys(tuple(sorted(set(scopes), key=SOURCES.index)) for scopes in choices)
    return tuple(_way(limit, scopes, addresses, about) for scopes in distinct)


def _way(limit: Limit, scopes: tuple[Scope, ...], addresses: Addresses, about: str) -> Way:
    needs = [SOURCES.index(scope) for scope in scopes if scope is not Scope.GLOBAL] + [TOOL] * limit.per_tool
    family = addresses.counters(
        limit.name, limit.resource, span_text(limit.span),
        " and ".join([*scopes, "tool"] if limit.per_tool else scopes), about,
    )  # fmt: skip
    # A counter over the session alone is a field of its record, the same in each: it survives a rotation.
    hashes = needs[1:] if scopes == (Scope.SESSION,) else needs
    return Way(
        scope=place(scopes),
        needs=tuple(needs),
        key=None if hashes else family.key(),
        family=family,
        hashes=tuple(hashes),
    )


def place(scopes: tuple[Scope, ...]) -> Scope:
    """Where the counter lies: a session's record only for the session alone, else the narrower other scope."""
    if len(scopes) == 1:
        return scopes[0]
    narrowest = min(scopes, key=SOURCES.index)
    return Scope.USER if narrowest is Scope.SESSION else narrowest


def _any(patterns: tuple[re.Pattern[str], ...], value: str) -> bool:
    return any(pattern.match(value) for pattern in patterns)


def _fits(whom: Whom, identity: Identity | None, *, has_user: bool) -> bool:
    match whom:
        case Anonymous():
            return not has_user
        case Group(name):
            return identity is not None and name in identity.groups
        case GrantedScope(name):
            return identity is not None and name in identity.scopes
        case _:
            assert_never(whom)
