"""The only place that knows what `*` and `**` mean, and how to match them in time linear in the text.

Every wildcard becomes a lazy step inside an atomic group: after a literal was found at its first place, it is
never sought again at a later one. For patterns with one kind of star that loses no match, and no text can
make it slow.
"""

from __future__ import annotations

import re
from typing import Final

_PATH_FORBIDDEN: Final = re.compile(r"[{}\[\]?#\\,;\s\x00-\x1f\x7f]")
_NAME_FORBIDDEN: Final = re.compile(r"[{}\[\]?\\,;\s\x00-\x1f\x7f]")
_SEGMENT_END: Final = r"(?=/|\Z)"


def path_fault(glob: str) -> tuple[int, str] | None:
    """What is wrong with a path glob, as (offset, way out), or None."""
    if not glob.startswith("/"):
        return 0, "a path starts with `/`"
    if found := _PATH_FORBIDDEN.search(glob):
        return found.start(), f"{found.group()!r} means nothing here: `*` is anything within a segment, `**` across"
    offset = 1
    for segment in glob[1:].split("/"):
        if "**" in segment and segment != "**":
            return offset + segment.index("**"), "`**` stands for whole segments: `/a/**/b`, or `*` within one"
        offset += len(segment) + 1
    return None


def name_fault(glob: str) -> tuple[int, str] | None:
    """What is wrong with a glob of tool, method or pool names, as (offset, way out), or None."""
    if found := _NAME_FORBIDDEN.search(glob):
        return found.start(), f"{found.group()!r} means nothing here: `*` is anything"
    return None


def path_regex(glob: str) -> re.Pattern[str]:
    """Compile a path glob without fault; matches a path given by `canonical_path`.

    `**` is any number of whole segments, none included: `/a/**` matches `/a`, `/a/**/b` matches `/a/b`.
    """
    runs: list[list[str]] = [[]]
    for segment in canonical_path(glob).split("/")[1:]:
        if segment != "**":
            runs[-1].append(_segment(segment))
        elif len(runs) == 1 or runs[-1]:
            runs.append([])
    first, *rest = ["".join(run) for run in runs]
    if rest and not rest[-1]:
        rest, end = rest[:-1], r"(?:/.*)?\Z"
    else:
        end = r"\Z"
    if not rest:
        return re.compile(first + (_SEGMENT_END if end != r"\Z" and first else "") + end, re.DOTALL)
    *middle, last = rest
    skipping = [f"(?>(?:/[^/]*)*?{run}{_SEGMENT_END})" for run in middle]
    last_end = end if end == r"\Z" else _SEGMENT_END + end
    head = first + _SEGMENT_END if first else ""
    return re.compile(f"{head}{''.join(skipping)}(?>(?:/[^/]*)*?{last}{last_end})", re.DOTALL)


def name_regex(glob: str) -> re.Pattern[str]:
    """Compile a glob of names without fault; `*` is anything, nothing included."""
    first, *chunks = [re.escape(chunk) for chunk in re.split(r"\*+", glob)]
    if not chunks:
        return re.compile(first + r"\Z")
    *middle, last = chunks
    steps = [f"(?>.*?{chunk})" for chunk in middle]
    return re.compile(f"{first}{''.join(steps)}(?>.*?{last}\\Z)", re.DOTALL)


def canonical_path(path: str) -> str:
    """The path as globs see it: a trailing slash makes no difference."""
    return path.rstrip("/") or "/"


def _segment(segment: str) -> str:
    """One segment with its leading slash; a lone `*` is any segment that is not empty."""
    if segment == "*":
        return "/[^/]++"
    first, *chunks = [re.escape(chunk) for chunk in re.split(r"\*+", segment)]
    if not chunks:
        return "/" + first
    *middle, last = chunks
    steps = [f"(?>[^/]*?{chunk})" for chunk in middle]
    return f"/{first}{''.join(steps)}(?>[^/]*?{last}{_SEGMENT_END})"
