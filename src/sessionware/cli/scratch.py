"""The only place that makes room for an examination beside live data, and cleans it up again."""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from sessionware.core.store import Store
from sessionware.errors import ConfigError, SessionwareError
from sessionware.stores.open import open_store
from sessionware.stores.redaction import redacted
from sessionware.testing import ManualClock
from sessionware.testing.check import Opener

if TYPE_CHECKING:
    from sessionware.stores.redis.address import RedisAddress
    from sessionware.stores.redis.wire import Wire

TIMEOUT_MS: Final = 10_000  # an examination asks what is right, not how fast
SCAN_COUNT: Final = 1000  # keys looked at by one SCAN


class Scratch(Struct, frozen=True):
    """Makes new, empty stores. `shown` is what was asked for, without its password."""

    shown: str
    open: Opener


@contextmanager
def scratch_beside(url: str) -> Iterator[Scratch]:
    """New stores of the kind that `url` names, none of which touches what lies there.

    Raises ConfigError when `url` names no store.
    """
    scheme, is_url, _ = url.partition("://")
    shown = redacted(url)
    if not is_url:
        if "" not in sys.path:
            sys.path.insert(0, "")  # a module:factory may lie in the current folder, as with `python -m`
        yield Scratch(shown, lambda clock: open_store(url, clock=clock, timeout_ms=TIMEOUT_MS))
        return
    open_store(url)  # does no I/O: says at once what is wrong with the URL
    kinds = {
        "memory": _as_it_is,
        "sqlite": _sqlite_files,
        "postgresql": _postgres_schemas,
        "postgres": _postgres_schemas,
    }
    with kinds.get(scheme.lower(), _redis_prefixes)(url) as opener:
        yield Scratch(shown, opener)


@contextmanager
def _as_it_is(url: str) -> Iterator[Opener]:
    yield lambda clock: open_store(url, clock=clock, timeout_ms=TIMEOUT_MS)


@contextmanager
def _sqlite_files(url: str) -> Iterator[Opener]:
    """A folder beside the file, on the same file system; the file itself is looked at but never opened."""
    from sessionware.stores.sqlite.files import check_path  # noqa: PLC0415  # engines are loaded when they are named

    parts = urlsplit(url)
    path = Path(unquote(parts.path).removeprefix("/")).absolute()
    numbers = count()
    try:
        check_path(path)
        folder = tempfile.TemporaryDirectory(prefix=".sessionware-check-", dir=path.parent)
    except OSError as error:
        raise ConfigError(f"store {redacted(url)}: cannot write beside {path}: {error.strerror}") from error
    with folder as name:

        def opener(clock: ManualClock) -> AbstractAsyncContextManager[Store]:
            path = quote(str(Path(name) / f"{next(numbers)}.db"))
            return open_store(
                f"sqlite:///{path}{'?' if parts.query else ''}{parts.query}", clock=clock, timeout_ms=TIMEOUT_MS
            )

        yield opener


@contextmanager
def _redis_prefixes(url: str) -> Iterator[Opener]:
    """Prefixes inside one random prefix of this run, which is emptied in the end."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    ours = f"{options.get('prefix', 'sw:')}check-{secrets.token_hex(8)}:"
    numbers = count()

    def with_prefix(prefix: str) -> str:
        return urlunsplit(parts._replace(query=urlencode({**options, "prefix": prefix})))

    def opener(clock: ManualClock) -> AbstractAsyncContextManager[Store]:
        return open_store(with_prefix(f"{ours}{next(numbers)}:"), clock=clock, timeout_ms=TIMEOUT_MS)

    open_store(with_prefix(f"{ours}0000:"))  # a prefix that is too long for ours is said before anything is written
    was_opened = True
    try:
        yield opener
    except ConfigError:
        was_opened = False  # what went wrong is being said already
        raise
    finally:
        try:
            asyncio.run(_empty(with_prefix(ours), ours))
        except (SessionwareError, OSError) as error:
            if was_opened:
                print(f"sessionware: keys with the prefix {ours} were left behind: {error}", file=sys.stderr)


@contextmanager
def _postgres_schemas(url: str) -> Iterator[Opener]:
    """A random schema for each store, dropped behind it."""
    from sessionware.stores.postgres.address import read_address  # noqa: PLC0415  # asyncpg is an extra
    from sessionware.stores.postgres.server import drop_schema  # noqa: PLC0415  # the same

    parts = urlsplit(url)
    ours, numbers = f"check_{secrets.token_hex(8)}", count()

    @asynccontextmanager
    async def opener(clock: ManualClock) -> AsyncIterator[Store]:
        options = {**dict(parse_qsl(parts.query)), "schema": f"{ours}_{next(numbers)}", "create": "yes"}
        beside = urlunsplit(parts._replace(query=urlencode(options)))
        async with open_store(beside, clock=clock, timeout_ms=TIMEOUT_MS) as store:
            try:
                yield store
            finally:
                await drop_schema(read_address(beside), call_ms=TIMEOUT_MS)

    yield opener


async def _empty(url: str, prefix: str) -> None:
    """Unlink every key with the prefix, on each server that has some. Raises what `ask` raises."""
    from sessionware.stores.redis.address import read_address  # noqa: PLC0415  # hiredis is an extra
    from sessionware.stores.redis.node import Node  # noqa: PLC0415  # the same

    match url.partition("://")[0].lower().partition("+")[2]:
        case "cluster":
            await _empty_cluster(url, prefix)
            return
        case "sentinel":
            address = await _primary_of(url)
        case _:
            address = read_address(url)
    await _empty_server(await Node(address, timeout=TIMEOUT_MS / 1000, calibrated=None).open(), prefix)


async def _primary_of(url: str) -> RedisAddress:
    from sessionware.stores.redis.address import read_sentinels  # noqa: PLC0415  # hiredis is an extra
    from sessionware.stores.redis.sentinels import Sentinels  # noqa: PLC0415  # the same

    sentinels = Sentinels(read_sentinels(url))
    try:
        return (await sentinels.find()).primary
    finally:
        await sentinels.close()


async def _empty_cluster(url: str, prefix: str) -> None:
    from sessionware.stores.redis.address import read_cluster  # noqa: PLC0415  # hiredis is an extra
    from sessionware.stores.redis.asking import Keys  # noqa: PLC0415  # the same
    from sessionware.stores.redis.cluster.mapping import ClusterMap  # noqa: PLC0415  # the same

    cluster = ClusterMap(read_cluster(url), Keys(prefix), timeout=TIMEOUT_MS / 1000, calibrated=None)
    try:
        await cluster.look()
        for member in list(cluster.members.values()):
            await _empty_server(await member.open(), prefix)
    finally:
        await cluster.close()


async def _empty_server(wire: Wire, prefix: str) -> None:
    from sessionware.stores.redis.plain import ask  # noqa: PLC0415  # hiredis is an extra

    try:
        cursor = b"0"
        while True:
            cursor, keys = await ask(wire, "SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", SCAN_COUNT)
            await asyncio.gather(*[ask(wire, "UNLINK", key) for key in keys])  # one by one: a cluster wants one slot
            if cursor == b"0":
                return
    finally:
        wire.close()
