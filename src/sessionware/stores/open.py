"""The only place that turns a store's URL into a store."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from sessionware.core.store import Clock, Store
from sessionware.errors import ConfigError
from sessionware.stores.memory import MemoryStore
from sessionware.stores.redaction import ENCODE_HINT, redacted
from sessionware.stores.sealing import Sealer

_FACTORY: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", re.ASCII)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*", re.ASCII)
_SYNCHRONOUS: Final[dict[str, Literal["normal", "full"]]] = {"normal": "normal", "full": "full"}
_SQLITE_OPTIONS: Final = frozenset({"max_pages", "synchronous"})


class Options(Struct, frozen=True):
    """What every store is opened with, whatever its engine."""

    clock: Clock | None
    sealer: Sealer
    timeout_ms: int
    salt: bytes | None = None
    partition: Literal["owner", "org"] = "owner"


def open_store(  # noqa: PLR0913  # each keyword is one choice of the operator
    url: str,
    *,
    clock: Clock | None = None,
    keys: Sequence[bytes] = (),
    timeout_ms: int = 250,
    source: str = "store",
    salt: bytes | None = None,
    partition: Literal["owner", "org"] = "owner",
) -> Store:
    """Make the store that `url` names; `async with` it to connect. Does no I/O itself.

    `keys` encrypt payloads at rest (`stores.sealing.read_keys`). A store on disk or on a server that has no `salt`
    yet is given this one, or a new one. With the `partition` "org" a Redis Cluster counts an organisation beside its
    sessions. A `module:factory` is called with
    `clock=` and must return a `Store`. Raises ConfigError that begins with `source`, which is what the user
    called the URL, and says what to write or install.
    """
    options = Options(clock, Sealer(keys), timeout_ms, salt, partition)
    try:
        return _opened(url, options)
    except ConfigError as error:
        # What the first error hides (a password) stays hidden: its own cause is told, never its context.
        raise ConfigError(f"{source}: {str(error).removeprefix('store ')}") from error.__cause__


def _opened(url: str, options: Options) -> Store:
    scheme, separator, _ = url.partition("://")
    if separator and _SCHEME.fullmatch(scheme):
        opener = _SCHEMES.get(scheme.lower())
        if opener is None:
            raise ConfigError(_unknown_scheme(scheme))
        return opener(url, options)
    if _FACTORY.fullmatch(url):
        return _open_factory(url, options)
    hint = f"; {ENCODE_HINT}" if "@" in url else ""
    raise ConfigError(
        f"store {redacted(url)!r} is neither a URL nor a module:factory: write for example memory://, "
        f"sqlite:///sessions.db, redis://127.0.0.1:6379/0, postgresql://user@127.0.0.1/database "
        f"or mypackage.stores:open_mine{hint}"
    )


def _open_memory(url: str, options: Options) -> Store:
    if url.partition("://")[2].strip("/"):
        raise ConfigError(f"store {redacted(url)!r}: memory:// takes no path and no option")
    return MemoryStore(clock=options.clock)


def _open_sqlite(url: str, options: Options) -> Store:
    from sessionware.stores.sqlite import SqliteStore  # noqa: PLC0415  # engines are loaded when they are named

    shown = redacted(url)
    try:
        parts = urlsplit(url)
    except ValueError:  # its message quotes the URL: neither shown nor chained
        raise ConfigError(f"store {shown!r} cannot be read: write [ and ] in a file name as %5B and %5D") from None
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(given.keys() - _SQLITE_OPTIONS)
    if unknown:
        raise ConfigError(
            f"store {shown!r}: unknown option {redacted(unknown[0])!r}, known are {', '.join(sorted(_SQLITE_OPTIONS))}"
        )
    path = unquote(parts.path).removeprefix("/")
    if parts.netloc or not path:
        raise ConfigError(
            f"store {shown!r} names no file: three slashes for a relative path (sqlite:///sessions.db), "
            "four for an absolute one (sqlite:////var/lib/sessions.db)"
        )
    if "\0" in path:
        raise ConfigError(f"store {shown!r}: a file name cannot hold the character NUL (%00)")
    if path == ":memory:":
        raise ConfigError(f"store {shown!r}: for a store that is forgotten with the process use memory://")
    pages = given.get("max_pages")
    if pages is not None and not (pages.isascii() and pages.isdigit() and int(pages) > 0):
        raise ConfigError(f"store {shown!r}: max_pages must be a positive number of pages (4096 bytes each)")
    synchronous = _SYNCHRONOUS.get(given.get("synchronous", "normal"))
    if synchronous is None:
        got = redacted(given["synchronous"])
        raise ConfigError(f"store {shown!r}: synchronous must be normal or full, got {got!r}")
    return SqliteStore(
        path,
        clock=options.clock,
        sealer=options.sealer,
        timeout_ms=options.timeout_ms,
        max_pages=int(pages) if pages else None,
        synchronous=synchronous,
        salt=options.salt,
    )


def _open_redis(url: str, options: Options) -> Store:
    try:
        from sessionware.stores.redis.opening import open_redis  # noqa: PLC0415  # hiredis is an extra
    except ModuleNotFoundError as error:
        scheme = url.partition("://")[0]
        raise ConfigError(f"store {scheme}:// needs {error.name}: pip install 'sessionware[redis]'") from error
    return open_redis(
        url,
        clock=options.clock,
        sealer=options.sealer,
        timeout_ms=options.timeout_ms,
        salt=options.salt,
        org_is_narrow=options.partition == "org",
    )


def _open_postgres(url: str, options: Options) -> Store:
    try:
        from sessionware.stores.postgres import PostgresStore  # noqa: PLC0415  # asyncpg is an extra
        from sessionware.stores.postgres.address import read_address  # noqa: PLC0415
    except ModuleNotFoundError as error:
        scheme = url.partition("://")[0]
        raise ConfigError(f"store {scheme}:// needs {error.name}: pip install 'sessionware[postgres]'") from error
    return PostgresStore(
        read_address(url),
        clock=options.clock,
        sealer=options.sealer,
        timeout_ms=options.timeout_ms,
        salt=options.salt,
    )


def _open_factory(path: str, options: Options) -> Store:
    module_name, _, name = path.partition(":")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"store {path!r}: there is no module {error.name!r}: is it installed?") from error
    except SystemExit as error:
        raise ConfigError(f"store {path!r}: importing {module_name} ended the process (sys.exit)") from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ConfigError(f"store {path!r}: {module_name} has no callable {name!r}")
    try:
        store: Store = found(clock=options.clock)
    except SystemExit as error:
        raise ConfigError(
            f"store {path!r}: the factory ended the process (sys.exit) instead of making a store"
        ) from error
    return store


def _unknown_scheme(scheme: str) -> str:
    near = get_close_matches(scheme.lower(), _SCHEMES, n=1)
    hint = f": did you mean {near[0]}://?" if near else "."
    known = ", ".join(f"{each}://" for each in _SCHEMES)
    return f"unknown store scheme {scheme}://{hint} Known are {known} and module:factory"


_SCHEMES: Final[dict[str, Callable[[str, Options], Store]]] = {
    "memory": _open_memory,
    "sqlite": _open_sqlite,
    "redis": _open_redis,
    "rediss": _open_redis,
    "valkey": _open_redis,
    "valkeys": _open_redis,
    "redis+sentinel": _open_redis,
    "rediss+sentinel": _open_redis,
    "valkey+sentinel": _open_redis,
    "valkeys+sentinel": _open_redis,
    "redis+cluster": _open_redis,
    "rediss+cluster": _open_redis,
    "valkey+cluster": _open_redis,
    "valkeys+cluster": _open_redis,
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
}
