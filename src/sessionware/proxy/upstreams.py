"""The only place that reads UPSTREAMS: which pools there are, of which kind, at which path, and who stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NoReturn, get_args

from msgspec import Struct
from msgspec.structs import replace

from sessionware.config.proxy_settings import PoolKind, PoolSettings, ProxySettings
from sessionware.core.limit_text import nearest
from sessionware.errors import ConfigError
from sessionware.proxy.addresses import BadAddress, UpstreamAddress, parse_address

SOURCE: Final = "SESSIONWARE_UPSTREAMS"
DEFAULT_POOL: Final = "default"
SHOWN_MAX: Final = 100  # characters of the setting that an error shows
UPSTREAMS_MAX: Final = 1000  # of one pool: each is probed every second
# The first segments of paths that are not a pool's: the session API, probes, the admin API, and the pool `default`.
RESERVED: Final = frozenset(
    {
        "session", "sessions", "usage", "tokens", "users", "cleanup", "alerts", "health", "healthz", "livez", "ready",
        "readyz", "metrics", "docs", "redoc", "admin", "upstreams", "mcp",
    }
)  # fmt: skip
_POOL_NAME: Final = re.compile(r"[a-z][a-z0-9-]*", re.ASCII)
_HEAD: Final = re.compile(r"\s*([^\[\]\s]*)\s*(?:\[([^\]]*)\])?\s*", re.ASCII)
_SECRET: Final = re.compile(r"://[^/\s,;]*@")
_ENDPOINTS: Final = {"mcp": "/mcp", "http": "/", "sse": "/sse"}


class Pool(Struct, frozen=True, kw_only=True):
    """A named set of upstreams that can stand in for each other, and the path that leads to them."""

    name: str
    kind: PoolKind
    upstreams: tuple[UpstreamAddress, ...]

    @property
    def prefix(self) -> str:
        """What comes before the pool's own paths; the MCP pool `default` has none."""
        return "" if self.name == DEFAULT_POOL and self.kind == "mcp" else f"/{self.name}"

    @property
    def is_single(self) -> bool:
        """Whether there is nobody to choose from."""
        return len(self.upstreams) == 1 and not self.upstreams[0].is_dns

    @property
    def path(self) -> str:
        """Where clients find it: `/mcp`, `/memory/mcp`, `/app/`, `/old/sse`."""
        return self.prefix + _ENDPOINTS[self.kind]


class _Place(Struct, frozen=True):
    """A text that is being read: of which setting, and what to point at when it is wrong."""

    source: str
    text: str

    def fail(self, problem: str, at: int) -> NoReturn:
        """Raise ConfigError: setting, problem, way out, column, and the text with a caret (unless it is secret)."""
        where = f"{self.source}, column {at + 1}: {problem}"
        if _SECRET.search(self.text):
            raise ConfigError(where)
        start = max(0, min(at - SHOWN_MAX // 2, len(self.text) - SHOWN_MAX))
        shown = "".join(each if each.isprintable() else " " for each in self.text[start : start + SHOWN_MAX])
        raise ConfigError(f"{where}\n  {shown}\n  {' ' * (at - start)}^")


def pools_of(settings: ProxySettings, *, source: str = SOURCE) -> tuple[Pool, ...]:
    """Every pool of UPSTREAMS and of `[pools.NAME]`, in that order. Raises ConfigError."""
    pools = list(parse_upstreams(settings.upstreams or "", source=source))
    for each in settings.pools:
        known = [pool.name for pool in pools]
        if each.upstreams and each.name in known:
            raise ConfigError(f"pool '{each.name}' has upstreams in {source} and in [pools.{each.name}]: keep one")
        if each.upstreams:
            pools.append(_from_table(each))
        elif each.name not in known:
            near = nearest(each.name, known) or ': write upstreams = ["http://127.0.0.1:9001/mcp"] there'
            raise ConfigError(f"[pools.{each.name}] has no upstreams, and {source} has no such pool{near}")
    return tuple(pools)


def parse_upstreams(text: str, *, source: str = SOURCE) -> tuple[Pool, ...]:
    """The pools of a text like `http://a:9001/mcp,http://b:9001/mcp;files=http://c:9001/mcp`; empty: none.

    Raises ConfigError with the setting, the column and the way out.
    """
    place = _Place(source, text)
    pools: dict[str, Pool] = {}
    for start, part in _parts(text, ";", 0):
        head, equals, _ = part.partition("=")
        is_named = bool(equals) and "://" not in head
        name, kind = _head(place, head, start) if is_named else (DEFAULT_POOL, "mcp")
        if name in pools:
            place.fail(f"pool '{name}' is there twice: put its upstreams together, with commas between", start)
        at = start + len(head) + 1 if is_named else start
        pools[name] = Pool(name=name, kind=kind, upstreams=_members(place, text[at : start + len(part)], at, kind))
    return tuple(pools.values())


def _from_table(settings: PoolSettings) -> Pool:
    """The pool of one table of the file."""
    found: list[UpstreamAddress] = []
    source = f"[pools.{settings.name}] upstreams"
    _check_name(_Place(f"[pools.{settings.name}]", settings.name), settings.name, 0)
    for number, text in enumerate(settings.upstreams, 1):
        place = _Place(f"{source}, item {number}", text)
        _add(place, found, text, 0, settings.kind)
    return Pool(name=settings.name, kind=settings.kind, upstreams=tuple(found))


def _head(place: _Place, head: str, start: int) -> tuple[str, PoolKind]:
    """The name before the `=`, and the kind in its brackets."""
    found = _HEAD.fullmatch(head)
    if found is None:
        place.fail("before `=` stands a pool's name: write for example memory=http://127.0.0.1:9001/mcp", start)
    name, kind = found[1], found[2]
    _check_name(place, name, start + found.start(1))
    if kind is None:
        return name, "mcp"
    known: tuple[PoolKind, ...] = get_args(PoolKind)
    for each in known:
        if each == kind.strip():
            return name, each
    return place.fail(f"a pool is of kind {', '.join(known)}{nearest(kind, known)}", start + found.start(2))


def _check_name(place: _Place, name: str, at: int) -> None:
    if not _POOL_NAME.fullmatch(name):
        place.fail("a pool's name holds a-z, 0-9 and `-`, and starts with a letter: write for example memory=…", at)
    if name in RESERVED:
        place.fail(f"`{name}` is a path of ours: call the pool otherwise, for example {name}-tools", at)


def _members(place: _Place, text: str, start: int, kind: PoolKind) -> tuple[UpstreamAddress, ...]:
    found: list[UpstreamAddress] = []
    for at, part in _parts(text, ",", start):
        _add(place, found, part, at, kind)
    if not found:
        place.fail("a pool needs an upstream: write for example http://127.0.0.1:9001/mcp", start)
    return tuple(found)


def _add(place: _Place, found: list[UpstreamAddress], text: str, at: int, kind: PoolKind) -> None:
    try:
        address = parse_address(text.strip())
    except BadAddress as error:
        place.fail(str(error), at + error.offset)
    if any(each.name == address.name for each in found):
        place.fail(f"upstream '{address.name}' is there twice: leave one out, or name it, as in two@http://…", at)
    if len(found) >= UPSTREAMS_MAX:
        place.fail(f"a pool has at most {UPSTREAMS_MAX} upstreams: write dns+http:// for all addresses of a name", at)
    if kind != "http" and not address.path:
        endpoint = replace(address, path=_ENDPOINTS[kind]).written
        place.fail(f"the path of the endpoint is missing: write for example {endpoint}, or / for the root", at)
    found.append(address)


def _parts(text: str, separator: str, start: int) -> Iterator[tuple[int, str]]:
    """What stands between separators, each with the place of its first character; blanks are no part."""
    at = start
    for part in text.split(separator):
        stripped = part.strip()
        if stripped:
            yield at + len(part) - len(part.lstrip()), stripped
        at += len(part) + len(separator)


def names(pools: Sequence[Pool]) -> frozenset[str]:
    return frozenset(pool.name for pool in pools)
