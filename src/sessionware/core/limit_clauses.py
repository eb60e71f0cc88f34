"""The only place that reads what may follow a limit's scope: `for WHOM`, `for WHAT`, `except`, `costing`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

from msgspec.structs import replace

from sessionware.core.globs import name_fault, path_fault
from sessionware.core.ledger import CAP, Scope
from sessionware.core.limit_text import Cursor, nearest, quoted
from sessionware.core.limits import Anonymous, Concurrent, GrantedScope, Group, Limit

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "TRACE", "CONNECT")
LIST_MAX: Final = 64  # entries of one list: they are tried one by one on each request
_KINDS: Final = ("group", "scope", "anonymous", "tool", "mcp", "pool")
_KIND_SYNONYMS: Final = {
    "groups": "group", "role": "group", "scopes": "scope", "anon": "anonymous", "guests": "anonymous",
    "tools": "tool", "pools": "pool", "upstream": "pool", "path": "/path", "method": "POST",
}  # fmt: skip

_SCOPES: Final = (*(scope.value for scope in Scope), "tool")

_WORD: Final = re.compile(r"\S+")
_WHOM: Final = re.compile(r"for\s+(?:group|scope|anonymous)(?!\S)")
_LIST: Final = re.compile(r"[^\s,]+(?:\s*,\s*[^\s,]+)*")
_NUMBER: Final = re.compile(r"[0-9]+(?:_[0-9]+)*", re.ASCII)
_POOL: Final = re.compile(r"[a-z][a-z0-9-]*", re.ASCII)


def take_clauses(cursor: Cursor, limit: Limit) -> Limit:
    """Read all clauses up to the end of the text into `limit`. Raises ConfigError at the first bad one."""
    seen: set[str] = set()
    last = ""
    while not cursor.is_at_end:
        at = cursor.position
        word = cursor.take(_WORD)
        if word in ("except", "costing") and word in seen:
            cursor.fail(f"`{word}` can stand only once; lists take commas", at=at)
        seen.add(word)
        match word:
            case "for":
                limit = _for(cursor, limit)
            case "except":
                limit = _except(cursor, limit)
            case "costing":
                limit = replace(limit, cost=_cost(cursor, limit))
            case "and":
                _teach_and(cursor, last, at)
            case _:
                meant = nearest(word, ("for", "except", "costing"))
                way_out = meant or ": after the scope come `for …`, `except …` or `costing N`"
                cursor.fail(f"{quoted(word)} does not belong here{way_out}", at=at)
        last = cursor.text[at : cursor.position].strip()
    return limit


def _teach_and(cursor: Cursor, last: str, at: int) -> NoReturn:
    """`and` joins scopes alone; `last` is the clause before it, if there is one."""
    following = cursor.peek(_WORD)
    kind = last.partition(" ")[0]
    if kind and following in ("for", "except", "costing"):
        cursor.fail("clauses follow one another: leave `and` out", at=at)
    if _WHOM.match(last):
        cursor.fail("one limit is for one kind of caller: write a ladder of limits with the same name", at=at)
    if kind in ("for", "except") and following and following not in _SCOPES:
        listed = quoted(f"{last},{following}")
        what = "paths" if following.startswith("/") else "entries"
        cursor.fail(f"several {what} are one list: did you mean {listed}?", at=at)
    cursor.fail("a limit counts over at most two scopes, next to each other: `per user and tool`", at=at)


def _for(cursor: Cursor, limit: Limit) -> Limit:
    at = cursor.position
    if cursor.peek(_WORD).startswith("/"):
        return _narrowed(cursor, limit, at, paths=_globs(cursor, path_fault))
    word = cursor.take(_WORD)
    match word:
        case "group" | "scope" | "anonymous":
            return _whom(cursor, limit, word, at)
        case "tool":
            return _narrowed(cursor, limit, at, tools=_globs(cursor, name_fault))
        case "mcp":
            return _narrowed(cursor, limit, at, mcp=_globs(cursor, name_fault))
        case "pool":
            return _narrowed(cursor, limit, at, pools=_pools(cursor))
        case _:
            cursor.position = at
            return _route(cursor, limit, at)


def _whom(cursor: Cursor, limit: Limit, word: str, at: int) -> Limit:
    if limit.whom is not None:
        cursor.fail("one limit is for one kind of caller: write a ladder of limits with the same name", at=at)
    if word == "anonymous":
        return replace(limit, whom=Anonymous())
    name_at = cursor.position
    name = cursor.take(_WORD)
    if not name:
        cursor.fail(f"the name of a {word} is missing: `for {word} pro`", at=name_at)
    if "," in name:
        first, _, rest = name.partition(",")
        cursor.fail(
            f"one {word} per limit: write two limits with the same name, `for {word} {quoted(first)[1:-1]}` "
            f"and `for {word} {quoted(rest)[1:-1]}`",
            at=name_at,
        )
    return replace(limit, whom=Group(name) if word == "group" else GrantedScope(name))


def _route(cursor: Cursor, limit: Limit, at: int) -> Limit:
    methods = _list(cursor)
    if not methods:
        cursor.fail("something follows `for`: group, scope, anonymous, METHOD, /path, tool, mcp or pool", at=at)
    for method, column in methods:
        if method not in METHODS:
            near = nearest(method, (*METHODS, *_KINDS), synonyms=_KIND_SYNONYMS)
            way_out = near or ": `for` takes group, scope, anonymous, METHOD, /path, tool, mcp or pool"
            cursor.fail(f"{quoted(method)} is no method{way_out}", at=column)
    paths = _globs(cursor, path_fault) if cursor.peek(_WORD).startswith("/") else ()
    named = {"methods": tuple(dict.fromkeys(method for method, _ in methods))}
    return _narrowed(cursor, limit, at, **named, **({"paths": paths} if paths else {}))


def _narrowed(cursor: Cursor, limit: Limit, at: int, **named: tuple[str, ...]) -> Limit:
    for kind, values in named.items():
        if getattr(limit.what, kind):
            cursor.fail(f"`for` names {kind} twice: put them into one list, `{','.join(values[:2])},…`", at=at)
    wanted: dict[str, Any] = {**named}
    return replace(limit, what=replace(limit.what, **wanted))


def _except(cursor: Cursor, limit: Limit) -> Limit:
    if cursor.peek(_WORD).startswith("/"):
        return replace(limit, excepted_paths=_globs(cursor, path_fault))
    at = cursor.position
    if cursor.peek(_WORD) == "tool":
        cursor.take(_WORD)
    elif not (limit.what.tools or limit.per_tool):
        cursor.fail("`except` takes paths or tools: `except /static/**` or `except tool read_*`", at=at)
    return replace(limit, excepted_tools=_globs(cursor, name_fault))


def _cost(cursor: Cursor, limit: Limit) -> int:
    at = cursor.position
    word = cursor.take(_WORD)
    if isinstance(limit.span, Concurrent):
        cursor.fail("a running request takes one place: `costing` does not go with `concurrent`", at=at)
    if not _NUMBER.fullmatch(word) or len(word) > len(f"{CAP:_}") or not 1 <= int(word) <= CAP:
        cursor.fail(f"`costing` takes a whole number 1..{CAP:_}, got {quoted(word)}", at=at)
    if int(word) > limit.allowance > 0:
        cursor.fail(f"a cost of {word} never fits into {limit.allowance}: lower it or raise the allowance", at=at)
    return int(word)


def _pools(cursor: Cursor) -> tuple[str, ...]:
    pools = _list(cursor)
    if not pools:
        cursor.fail("the name of a pool is missing: `for pool files`")
    for pool, column in pools:
        if not _POOL.fullmatch(pool):
            cursor.fail(f"a pool name is a-z, 0-9 and `-`, got {quoted(pool)}", at=column)
    return tuple(dict.fromkeys(pool for pool, _ in pools))


def _globs(cursor: Cursor, fault: Callable[[str], tuple[int, str] | None]) -> tuple[str, ...]:
    globs = _list(cursor)
    if not globs:
        cursor.fail("a name or glob is missing: `tool image_*`, `mcp tools/call`")
    for glob, column in globs:
        found = fault(glob)
        if found is not None:
            cursor.fail(f"{quoted(glob)}: {found[1]}", at=column + found[0])
    return tuple(dict.fromkeys(glob for glob, _ in globs))


def _list(cursor: Cursor) -> list[tuple[str, int]]:
    """The entries of a comma list, each with its position."""
    at = cursor.position
    text = cursor.take(_LIST)
    entries = [(found.group(), at + found.start()) for found in re.finditer(r"[^\s,]+", text)]
    if len(entries) > LIST_MAX:
        cursor.fail(f"a list holds at most {LIST_MAX} entries, got {len(entries)}: use a glob", at=at)
    return entries
