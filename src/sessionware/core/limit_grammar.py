"""The only place that reads the grammar of limits, one line long.

[shadow] [name=]AMOUNT [RESOURCE] WINDOW per SCOPE [and SCOPE] [for WHOM] [for WHAT] [except GLOB] [costing N]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NoReturn

from msgspec.structs import replace

from sessionware.core.ledger import CAP, Scope
from sessionware.core.limit_clauses import take_clauses
from sessionware.core.limit_text import Cursor, Place, nearest, quoted
from sessionware.core.limit_windows import WINDOW_WORDS, take_span
from sessionware.core.limits import (
    ALLOWANCE_BOUNDS,
    NAME_MAX,
    REQUESTS,
    RESOURCE_SYNONYMS,
    Concurrent,
    Limit,
    Span,
    derived_name,
)

LIMITS_MAX: Final = 100  # every one is looked at on every request
TEXT_MAX: Final = 2_000  # characters of one limit
FACTORS: Final = {"": 1, "k": 1_000, "M": 1_000_000}
SCOPES: Final = ("session", "user", "org", "client", "tool", "global")
_SCOPE_SYNONYMS: Final = {
    "ip": "client", "address": "client", "host": "client", "peer": "client", "all": "global", "everyone": "global",
    "server": "global", "tenant": "org", "organisation": "org", "organization": "org", "team": "org", "owner": "user",
    "key": "user", "users": "user", "account": "user", "conversation": "session",
}  # fmt: skip
_WORDS: Final = frozenset(
    [
        *SCOPES, *WINDOW_WORDS, "shadow", "per", "and", "for", "except", "costing",
        "group", "scope", "anonymous", "mcp", "pool", "total", "concurrent", "off",
    ]
)  # fmt: skip

_SHADOW: Final = re.compile(r"shadow(?=\s)")
_NAMED: Final = re.compile(r"[^\s=/]*\s*=")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
_AMOUNT: Final = re.compile(r"[^\s/]+")
_NUMBER: Final = re.compile(r"([0-9]+(?:_[0-9]+)*)([kM]?)", re.ASCII)
_RESOURCE: Final = re.compile(r"[a-z_]{1,64}", re.ASCII)
_WORD: Final = re.compile(r"[^\s/]+")
_PER: Final = re.compile(r"per(?!\S)")
_AND: Final = re.compile(r"and(?!\S)")
_SAID_SCOPE: Final = re.compile(
    rf"\bper\s+(?:{'|'.join(SCOPES)})(?:\s+and\s+(?:{'|'.join(SCOPES)}))?(?!\S)", re.IGNORECASE
)
_NEXT_LIMIT: Final = re.compile(r",\s*(?:shadow\s|[A-Za-z][\w.-]*=|[0-9])", re.ASCII)


def parse_limits(texts: str | Iterable[str], *, source: str = "SESSIONWARE_LIMITS") -> tuple[Limit, ...]:
    """Read limits separated by `;` or newlines, or a list of such texts; `off` and nothing at all mean none.

    Raises ConfigError for a bad limit, for two derived names that are equal, and for limits that share a
    chosen name without sharing what they count.
    """
    limits: list[Limit] = []
    for text, place in _split(texts, source):
        limits.append(_parse(text, place))
        _check_name(limits, Cursor(text, place))
        if len(limits) > LIMITS_MAX:
            Cursor(text, place).fail(f"at most {LIMITS_MAX} limits are looked at on every request", at=0)
    return tuple(limits)


def parse_limit(text: str, *, source: str = "SESSIONWARE_LIMITS") -> Limit:
    """Read one limit. Raises ConfigError that points at the column and says the way out."""
    return _parse(text, Place(source))


def _split(texts: str | Iterable[str], source: str) -> Iterator[tuple[str, Place]]:
    if isinstance(texts, str):
        if texts.strip() != "off":
            yield from _pieces(texts, source)
        return
    items = list(texts)
    for number, text in enumerate([] if items == ["off"] else items, 1):
        if not isinstance(text, str):
            Cursor(repr(text), Place(f"{source}, item {number}")).fail("a limit is a text", at=0)
        yield from _pieces(text, f"{source}, item {number}")


def _pieces(text: str, source: str) -> Iterator[tuple[str, Place]]:
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        offset = 0
        for piece in line.split(";"):
            if piece.strip():
                yield piece, Place(source, number if len(lines) > 1 else 0, offset)
            offset += len(piece) + 1


def _parse(text: str, place: Place) -> Limit:
    cursor = Cursor(text, place)
    if len(text) > TEXT_MAX:
        cursor.fail(f"a limit is at most {TEXT_MAX} characters long, got {len(text)}", at=0)
    if cursor.is_at_end:
        cursor.fail("nothing here: write for example `100/minute per session`, or `off` for no limits")
    shadow = bool(cursor.take(_SHADOW))
    name = _name(cursor)
    if name:
        cursor.label = name
    allowance = _allowance(cursor)
    resource, span = _resource_and_span(cursor)
    over, per_tool = _scopes(cursor)
    limit = take_clauses(
        cursor,
        Limit(
            name=name, is_named=bool(name), allowance=allowance, resource=resource, span=span,
            over=over, per_tool=per_tool, shadow=shadow, text=text.strip(),
        ),
    )  # fmt: skip
    return limit if name else replace(limit, name=derived_name(limit))


def _name(cursor: Cursor) -> str:
    at = cursor.position
    name = cursor.take(_NAMED)[:-1].strip()
    if cursor.position == at:
        return ""
    if not _NAME.fullmatch(name):
        cursor.fail(
            f"a name is a letter and up to {NAME_MAX - 1} of A-Z a-z 0-9 . _ -, got {quoted(name)}: "
            "write for example `burst=20/second per client`",
            at=at,
        )
    if name in _WORDS:
        cursor.fail(f"`{name}` is a word of the grammar and cannot be a name: try `my-{name}`", at=at)
    return name


def _allowance(cursor: Cursor) -> int:
    at = cursor.position
    word = cursor.take(_AMOUNT)
    if not word:
        cursor.fail("a limit begins with an amount: write for example `100/minute per session`", at=at)
    found = _NUMBER.fullmatch(word)
    if found is None:
        cursor.fail(_amount_fault(word), at=at)
    digits, factor = found.groups()
    if len(digits) > len(ALLOWANCE_BOUNDS) + 20 or int(digits) * FACTORS[factor] > CAP:
        cursor.fail(f"allowance must be {ALLOWANCE_BOUNDS}, got {quoted(word)[1:-1]}", at=at)
    return int(digits) * FACTORS[factor]


def _amount_fault(word: str) -> str:
    shown = quoted(word)
    if re.fullmatch(r"-[0-9_]+[kM]?", word, re.ASCII):
        return f"allowance must be {ALLOWANCE_BOUNDS}, got {shown[1:-1]}"
    if found := re.fullmatch(r"([0-9][0-9_]{0,20})(K|m|mio|thousand)", word, re.ASCII):
        return f"{shown} is no amount: did you mean `{found[1]}{'k' if found[2] in ('K', 'thousand') else 'M'}`?"
    if re.fullmatch(r"[0-9][0-9_.,]*[kM]?", word, re.ASCII):
        return f"{shown} is no whole number: an amount is 100, 1_000_000, 200k or 2M"
    if found := re.fullmatch(r"([0-9][0-9_]{0,20}[kM]?)([a-z_]{1,64})", word, re.ASCII):
        return f"{shown} is no amount: did you mean `{found[1]} {found[2]}`?"
    return f"a limit begins with an amount, got {shown}: write for example `100/minute per session`"


def _resource_and_span(cursor: Cursor) -> tuple[str, Span]:
    span = take_span(cursor)
    if span is not None:
        return REQUESTS, span
    at = cursor.position
    word = cursor.take(_WORD)
    if word == "per" or not word:
        _teach_window(cursor, at)
    if not _RESOURCE.fullmatch(word):
        cursor.fail(f"a resource is a-z and `_`, got {quoted(word)}: write for example `tokens` or `storage_mb`", at=at)
    if word in _WORDS:
        meant = f": did you mean `/{word}`?" if word in WINDOW_WORDS else ""
        cursor.fail(f"`{word}` is a word of the grammar and cannot be a resource{meant}", at=at)
    resource = RESOURCE_SYNONYMS.get(word, word)
    span = take_span(cursor)
    if span is None:
        _teach_window(cursor, cursor.position)
    if isinstance(span, Concurrent) and resource != REQUESTS:
        cursor.fail(f"`concurrent` counts running requests, not {resource}: write `5 concurrent per session`", at=at)
    return resource, span


def _teach_window(cursor: Cursor, at: int) -> NoReturn:
    following = cursor.text[at:].split()
    if len(following) > 1 and following[0] == "per" and following[1] in WINDOW_WORDS:
        said = cursor.text[:at].strip()
        meant = f"{said}/{following[1]} {_said_scope(cursor, at) or 'per session'}"
        cursor.fail(f"a window is written with a slash: did you mean `{meant}`?", at=at)
    cursor.fail("a window is missing: /minute, /30s, /calendar-day, `total` or `concurrent`", at=at)


def _scopes(cursor: Cursor) -> tuple[tuple[Scope, ...], bool]:
    if not cursor.take(_PER):
        said = quoted(cursor.text[: cursor.position].strip())[1:-1]
        meant = _said_scope(cursor, cursor.position) or "per client"
        cursor.fail(f"a limit ends in `per session|user|…`: did you mean `{said} {meant}`?")
    first_at = cursor.position
    words = [_scope(cursor)]
    if cursor.peek(_AND):
        cursor.take(_AND)
        second_at = cursor.position
        words.append(_scope(cursor))
        if words[0] == words[1]:
            cursor.fail(f"`{words[0]} and {words[1]}` is the same as `per {words[0]}`", at=second_at)
        if "global" in words:
            other = next(word for word in words if word != "global")
            cursor.fail(f"`global` adds nothing to `{other}`: did you mean `per {other}`?", at=first_at)
    per_tool = "tool" in words
    over = tuple(sorted((Scope(word) for word in words if word != "tool"), key=list(Scope).index))
    return over or (Scope.GLOBAL,), per_tool


def _said_scope(cursor: Cursor, at: int) -> str:
    """The scope that the rest of the text names, as it should be written; nothing when it names none."""
    found = _SAID_SCOPE.search(cursor.text, at)
    return " ".join(found.group().lower().split()) if found else ""


def _scope(cursor: Cursor) -> str:
    at = cursor.position
    word = cursor.take(_WORD)
    if word in SCOPES:
        return word
    if "," in word:
        _teach_comma(cursor, word, at)
    if not word:
        cursor.fail(f"a scope is missing: {', '.join(SCOPES[:-1])} or {SCOPES[-1]}", at=at)
    if word in WINDOW_WORDS:
        cursor.fail(f"`{word}` is a window, not a scope: did you mean `/{word} per session`?", at=at)
    near = nearest(word, SCOPES, synonyms=_SCOPE_SYNONYMS)
    return cursor.fail(f"{quoted(word)} is no scope{near or ': write ' + ', '.join(SCOPES)}", at=at)


def _teach_comma(cursor: Cursor, word: str, at: int) -> NoReturn:
    comma = at + word.index(",")
    if _NEXT_LIMIT.match(cursor.text, comma):
        cursor.fail("limits are separated by `;` (or given as a list), not by a comma", at=comma)
    cursor.fail("a comma does not belong here: two scopes are joined by `and`, `per user and client`", at=comma)


def _check_name(limits: list[Limit], cursor: Cursor) -> None:
    """The newest limit against those before it: equal names must be a ladder."""
    limit = limits[-1]
    others = [other for other in limits[:-1] if other.name == limit.name]
    for other in others:
        if not (limit.is_named and other.is_named):
            cursor.fail(f"two limits are called '{limit.name}': give one a name= (or both the same: a ladder)")
        for what, ours, theirs in (
            ("resource", limit.resource, other.resource),
            ("window", limit.span, other.span),
            ("scope", limit.scope_text, other.scope_text),
            ("WHAT", limit.what, other.what),
        ):
            if ours != theirs:
                cursor.fail(
                    f"two limits are called '{limit.name}' but differ in {what}: the rungs of a ladder share resource, "
                    "window, scope and WHAT; give one another name"
                )
