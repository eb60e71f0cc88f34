"""The values of a parsed limit, its derived name, and how it reads in words."""

from __future__ import annotations

import re
from typing import Final, assert_never

from msgspec import Struct

from sessionware.core.ledger import CAP, Scope
from sessionware.core.windows import Calendar, Sliding, Total, Window

REQUESTS: Final = "requests"
MESSAGES: Final = "messages"  # what a WebSocket receives: no request ever takes or meets it
RESOURCE_SYNONYMS: Final = {"api_calls": REQUESTS}
ALLOWANCE_BOUNDS: Final = f"0..{CAP:_}"
NAME_MAX: Final = 64  # names travel in headers and label counters
UTC: Final = "UTC"

_SLIDING_NAMES: Final = {
    1_000: "second",
    60_000: "minute",
    3_600_000: "hour",
    86_400_000: "day",
    7 * 86_400_000: "week",
    30 * 86_400_000: "month",
}
_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))
_SUFFIXES: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"))
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9_.]+")


class Concurrent(Struct, frozen=True, tag="concurrent"):
    """Not a span of time: how many requests or streams may run at once."""


Span = Sliding | Calendar | Total | Concurrent


class Group(Struct, frozen=True, tag="group"):
    """Callers that are in this group."""

    name: str

    def __str__(self) -> str:
        return f"group {self.name}"


class GrantedScope(Struct, frozen=True, tag="scope"):
    """Callers whose token grants this OAuth scope."""

    name: str

    def __str__(self) -> str:
        return f"scope {self.name}"


class Anonymous(Struct, frozen=True, tag="anonymous"):
    """Callers without a user."""

    def __str__(self) -> str:
        return "anonymous"


Whom = Group | GrantedScope | Anonymous


class What(Struct, frozen=True):
    """Which requests a limit speaks of; all that is named must match, one of each list suffices."""

    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    mcp: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != ANYTHING

    def __str__(self) -> str:
        route = " ".join(part for part in (",".join(self.methods), ",".join(self.paths)) if part)
        lists = (("tool", self.tools), ("mcp", self.mcp), ("pool", self.pools))
        named = [f"{kind} {','.join(globs)}" for kind, globs in lists if globs]
        return " for ".join([route, *named] if route else named)


ANYTHING: Final = What()


class Limit(Struct, frozen=True, kw_only=True):
    """One rule: how much of what, per what span, counted over whom, for whom and for what.

    `over` holds one or two scopes; with `per_tool` every tool counts by itself. `is_named`: the name was
    chosen, so that limits of this name form a ladder. `cost` None: 1 for requests, nothing for other
    resources, which are charged when it is known what was used.
    """

    name: str
    is_named: bool
    allowance: int
    resource: str
    span: Span
    over: tuple[Scope, ...]
    per_tool: bool = False
    whom: Whom | None = None
    what: What = ANYTHING
    excepted_paths: tuple[str, ...] = ()
    excepted_tools: tuple[str, ...] = ()
    cost: int | None = None
    shadow: bool = False
    text: str = ""

    @property
    def window(self) -> Window | None:
        """The window it counts in; None for a concurrency limit."""
        return None if isinstance(self.span, Concurrent) else self.span

    @property
    def scope_text(self) -> str:
        """What the limit counts over, as it is written: `user and tool`."""
        if self.per_tool and self.over == (Scope.GLOBAL,):
            return "tool"
        return " and ".join([*self.over, "tool"] if self.per_tool else self.over)


def span_text(span: Span) -> str:
    """The span as it is written in a limit, without the slash: `minute`, `30s`, `calendar-day@Europe/Berlin`."""
    match span:
        case Sliding(period):
            return _SLIDING_NAMES.get(period) or next(
                f"{period // unit}{suffix}" for unit, suffix in _SUFFIXES if period % unit == 0
            )
        case Calendar(unit_name, zone):
            return f"calendar-{unit_name}" if zone == UTC else f"calendar-{unit_name}@{zone}"
        case Total():
            return "total"
        case Concurrent():
            return "concurrent"
        case _:
            assert_never(span)


def derived_name(limit: Limit) -> str:
    """The name of a limit that was given none: `[shadow-]resource-window-scope[-what]`."""
    parts = ["shadow"] if limit.shadow else []
    parts += [limit.resource, span_text(limit.span), limit.scope_text.replace(" and ", "-")]
    if limit.what:
        parts.append("root" if limit.what.paths == ("/",) and not limit.what.methods else str(limit.what))
    return "-".join(_NOT_IN_NAMES.sub("-", part.lower()).strip("-_.") for part in parts)[:NAME_MAX].rstrip("-_.")


def describe(limit: Limit) -> str:
    """The limit in words, for `sessionware config`."""
    whom = _whom_in_words(limit.whom)
    what = f"{',' if whom else ''} for {limit.what}" if limit.what else ""
    exceptions = ",".join(limit.excepted_paths + limit.excepted_tools)
    cost = f", each costing {limit.cost}" if limit.cost is not None else ""
    return (
        f"{limit.name}: {_amount_in_words(limit)} per {limit.scope_text}{whom}{what}"
        f"{' except ' + exceptions if exceptions else ''}{cost}; {span_in_words(limit.span)}"
        f"{'; shadow: reported, never refuses' if limit.shadow else ''}"
    )


def span_in_words(span: Span) -> str:
    """The span for people: `sliding 24 h`, `resets 00:00 Europe/Berlin`."""
    match span:
        case Sliding(period):
            unit, suffix = next(((u, s) for u, s in _UNITS if period >= 2 * u and period % u == 0), _UNITS[-1])
            return f"sliding {period // unit} {suffix}"
        case Calendar("day", zone):
            return f"resets 00:00 {zone}"
        case Calendar(_, zone):
            return f"resets on the 1st, 00:00 {zone}"
        case Total():
            return "a level: falls only when something is released"
        case Concurrent():
            return "at the same time"
        case _:
            assert_never(span)


def _amount_in_words(limit: Limit) -> str:
    return f"{limit.allowance:_} {'running requests' if isinstance(limit.span, Concurrent) else limit.resource}"


def _whom_in_words(whom: Whom | None) -> str:
    match whom:
        case None:
            return ""
        case Anonymous():
            return ", callers without a user only"
        case Group() | GrantedScope():
            return f", callers with {whom} only"
        case _:
            assert_never(whom)
