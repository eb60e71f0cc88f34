"""The only place that binds limits to the routes of an app, and says what their counters are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from msgspec.structs import replace

from sessionware.core.ids import Addresses
from sessionware.core.ladders import compile_ladders
from sessionware.core.ledger import CAP
from sessionware.core.limit_grammar import parse_limits
from sessionware.core.limit_text import Cursor, Place
from sessionware.core.limits import NAME_MAX, REQUESTS, Concurrent, Limit
from sessionware.core.policy import Policy
from sessionware.errors import ConfigError

DIGEST_LETTERS: Final = 8  # of a name that is cut, so that two long ones stay two
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9_.]+")
_WHAT: Final = re.compile(r"\bfor(?=\s+(?:/|[A-Z]+(?:[\s,]|\Z)|(?:tool|mcp|pool)\s))")
_EXCEPT: Final = re.compile(r"\bexcept\b")


def parse_route_limits(texts: Sequence[str], *, cost: int | None = None, source: str) -> tuple[Limit, ...]:
    """Read the limits of a route; `cost` is what each request takes, in place of `costing`. `off` means none.

    Raises ConfigError for a bad limit, for one that names the requests it speaks of, and for a cost that cannot be.
    """
    if not texts:
        raise ConfigError(f'{source}(): a limit is missing: write for example {source}("10/minute per user")')
    return tuple(_of_a_route(limit, cost, source) for limit in parse_limits(texts, source=source))


def compile_route_limits(limits: Sequence[Limit], *, addresses: Addresses, method: str, template: str) -> Policy:
    """The limits of one route, where everything is a request to it.

    `template` is the path as the app wrote it (`/items/{item_id}`), never the one that was asked for. Limits with a
    name of their own count in one counter on every route that uses the name; all others count each route by itself.
    """
    route = f"{method} {template}"

    def about(limit: Limit) -> str:
        # Two limits of one route that differ in their allowance alone must not count each request twice.
        return "route" if limit.is_named else f"route {limit.allowance} {route}"

    named = [limit if limit.is_named else replace(limit, name=shown_name(limit, route)) for limit in limits]
    by_name = {limit.name: limit for limit in reversed(named)}
    return Policy(compile_ladders(named, addresses=addresses, about=about), (), by_name, minds_requests=False)


def shown_name(limit: Limit, route: str) -> str:
    """What a limit without a name of its own is called on a route: `requests-minute-user-get-items-item_id`."""
    words = _NOT_IN_NAMES.sub("-", route.lower()).strip("-_.")
    name = f"{limit.name}-{words if '-' in words else words + '-root'}"
    if len(name) <= NAME_MAX:
        return name
    digest = blake2b(f"{limit.name} {route}".encode(), digest_size=DIGEST_LETTERS // 2).hexdigest()
    return f"{name[: NAME_MAX - DIGEST_LETTERS - 1].rstrip('-_.')}-{digest}"


def _of_a_route(limit: Limit, cost: int | None, source: str) -> Limit:
    cursor = Cursor(limit.text, Place(source))
    if limit.what:
        found = _WHAT.search(limit.text)
        cursor.fail(
            "the route itself is what this limit speaks of: leave `for ...` out here, or put the limit into "
            "SESSIONWARE_LIMITS (`for group`, `for scope` and `for anonymous` may stay)",
            at=found.start() if found else 0,
        )
    if limit.excepted_paths or limit.excepted_tools:
        found = _EXCEPT.search(limit.text)
        cursor.fail(
            f"nothing is left out of a route: take {source} off the routes that are meant, or put the limit into "
            "SESSIONWARE_LIMITS",
            at=found.start() if found else 0,
        )
    limit = limit if cost is None else replace(limit, cost=_cost(limit, cost, source))
    if limit.cost is None and limit.resource != REQUESTS:
        cursor.fail(
            f"a request to a route takes no {limit.resource} by itself: say how many, `{source}(..., cost=5)`; what "
            "the app spends later is counted by SESSIONWARE_LIMITS",
            at=len(limit.text),
        )
    return limit


def _cost(limit: Limit, cost: Any, source: str) -> int:
    said = f"{source}('{limit.text}', cost={cost!r})"
    if isinstance(limit.span, Concurrent):
        raise ConfigError(f"{said}: a running request takes one place, leave cost out")
    if isinstance(cost, bool) or not isinstance(cost, int) or not 1 <= cost <= CAP:
        raise ConfigError(f"{said}: a cost is a whole number 1..{CAP:_}")
    if cost > limit.allowance > 0:
        raise ConfigError(
            f"{said}: a cost of {cost} never fits into {limit.allowance}: lower it or raise the allowance"
        )
    return cost
