"""The only place that finds limits which can match nothing, so that start-up can warn about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from sessionware.core.globs import canonical_path, path_regex
from sessionware.core.ledger import Scope
from sessionware.core.limits import Anonymous, GrantedScope, Group, Limit


class Surroundings(Struct, frozen=True, kw_only=True):
    """What an installation has, as far as it is known at start. None: not known, so nothing is concluded."""

    pools: frozenset[str] | None = None
    speaks_mcp: bool = True
    proves_users: bool = True
    proves_orgs: bool = True
    admits_anonymous: bool = True
    exempt_paths: tuple[str, ...] = ()


def limits_that_match_nothing(limits: Sequence[Limit], around: Surroundings) -> list[str]:
    """One sentence per limit that can never count, for the log; empty when all is well."""
    return [
        f"limit '{limit.name}' can match nothing: {reason}"
        for index, limit in enumerate(limits)
        for reason in _first(_reasons(limit, limits[:index], around))
    ]


def _reasons(limit: Limit, earlier: Sequence[Limit], around: Surroundings) -> Iterator[str]:
    yield from _callers(limit, around)
    yield from _routes(limit, around)
    yield from _paths(limit, around)
    for other in earlier:
        if other.name == limit.name and (other.whom is None or other.whom == limit.whom):
            who = "everybody" if other.whom is None else f"{other.whom}"
            yield f"an earlier limit of the same name fits {who} already; put it after this one"


def _callers(limit: Limit, around: Surroundings) -> Iterator[str]:
    if Scope.ORG in limit.over and not around.proves_orgs:
        yield "it counts per org, and no credential here names an organisation (JWT_CLAIM_ORG)"
    match limit.whom:
        case Group() | GrantedScope() if not around.proves_users:
            yield f"it is for {limit.whom}, and no credential is verified here"
        case Anonymous() if not around.admits_anonymous:
            yield "it is for anonymous callers, and an identity is required here (ANONYMOUS=off)"
        case _:
            pass


def _routes(limit: Limit, around: Surroundings) -> Iterator[str]:
    strangers = [pool for pool in limit.what.pools if around.pools is not None and pool not in around.pools]
    if strangers and len(strangers) == len(limit.what.pools):
        known = ", ".join(sorted(around.pools or ())) or "none"
        yield f"there is no pool {' or '.join(strangers)} (pools: {known})"
    about_mcp = limit.what.tools or limit.what.mcp or limit.per_tool
    if about_mcp and not around.speaks_mcp:
        yield "it speaks of tools or MCP methods, and nothing here speaks MCP"
    swallowed = [glob for glob in limit.what.tools if glob in limit.excepted_tools or "*" in limit.excepted_tools]
    if swallowed and len(swallowed) == len(limit.what.tools):
        yield f"`except tool {','.join(limit.excepted_tools)}` leaves nothing of `tool {','.join(limit.what.tools)}`"


def _paths(limit: Limit, around: Surroundings) -> Iterator[str]:
    paths = limit.what.paths or ("/**",)
    excepted = [path for path in paths if _covered(path, limit.excepted_paths)]
    if len(excepted) == len(paths):
        yield f"`except {','.join(limit.excepted_paths)}` leaves nothing of it"
    exempt = [path for path in limit.what.paths if _covered(path, around.exempt_paths)]
    if exempt and len(exempt) == len(paths):
        yield f"{', '.join(exempt)} is exempt from all limits (EXEMPT_PATHS)"


def _covered(glob: str, by: Iterable[str]) -> bool:
    """Whether another glob surely matches all that this one matches (an honest no when that is hard to say).

    A glob is tried as if it were a path: `*` and `**` are then names like any other, which only a wildcard
    of the other glob can match; a lone `*` there does not stand for our `**`.
    """
    path = canonical_path(glob)
    wide = [other for other in by if "**" in other or "**" not in glob]
    return any(path_regex(other).match(path) is not None for other in wide)


def _first(reasons: Iterator[str]) -> list[str]:
    reason = next(reasons, None)
    return [] if reason is None else [reason]
