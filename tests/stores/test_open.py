"""A store's URL: what it opens, and what is said when it cannot be opened."""

import asyncio
import signal
import ssl
import subprocess
import sys

import pytest

from sessionware.core.admission import Outcome
from sessionware.core.store import Query, Store
from sessionware.errors import ConfigError
from sessionware.stores.memory import MemoryStore
from sessionware.stores.open import open_store
from sessionware.stores.postgres import PostgresStore
from sessionware.stores.redis import RedisStore
from sessionware.stores.redis.address import read_address
from sessionware.stores.sqlite import SqliteStore
from sessionware.testing import Maker, ManualClock
from tests.selection import is_selected


def my_factory(*, clock: object = None) -> Store:
    return MemoryStore(clock=clock)  # type: ignore[arg-type]


def ending_factory(*, clock: object = None) -> Store:
    sys.exit(3)


NOT_CALLABLE = 5


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", MemoryStore),
        ("sqlite:///relative.db", SqliteStore),
        ("SQLITE:////tmp/absolute.db?synchronous=full&max_pages=100", SqliteStore),
        ("redis://localhost", RedisStore),
        ("rediss://user:pw@[::1]:6380/2?prefix=mine:", RedisStore),
        ("valkey://localhost:1", RedisStore),
        ("redis+sentinel://s1,s2/mymaster/0", RedisStore),
        ("VALKEYS+sentinel://u:pw@s1:1,[::1]:2/mymaster", RedisStore),
        ("postgresql://alice:pw@one,two:6000/database?schema=mine", PostgresStore),
        ("postgres:///database?host=/run/postgresql", PostgresStore),
        (f"{__name__}:my_factory", MemoryStore),
    ],
)
def test_each_scheme_opens_its_store_without_io(url, kind):
    """A34."""
    assert type(open_store(url)) is kind


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "neither a URL nor a module:factory"),
        ("redis", "neither a URL nor a module:factory"),
        ("reddis://localhost", r"did you mean redis://\?"),
        ("postgresql+asyncpg://localhost/db", r"did you mean postgresql://\?"),
        ("mongodb://localhost", "Known are memory://, sqlite://, redis://"),
        ("memory://x", "takes no path"),
        ("sqlite://", "three slashes for a relative path"),
        ("sqlite://sessions.db", "three slashes for a relative path"),
        ("sqlite:///:memory:", "use memory://"),
        ("sqlite:///a.db?max_pages=many", "max_pages must be a positive number"),
        ("sqlite:///a.db?synchronous=off", "synchronous must be normal or full, got 'off'"),
        ("sqlite:///a.db?mode=ro", "unknown option 'mode', known are max_pages, synchronous"),
        ("sqlite:///a%00b.db", "cannot hold the character NUL"),
        ("sqlite://[x/a.db", "cannot be read"),
        ("redis://[::1/0", r"the host cannot be read: write an IPv6 address as \[::1\]"),
        ("redis://alice@localhost", "user name without a password: write redis://:PASSWORD@host"),
        ("rediss://alice:@localhost", "user name without a password: write rediss://:PASSWORD@host"),
        (f"{__name__}:ending_factory", "the factory ended the process"),
        ("redis://localhost:port", "port must be a number"),
        ("redis://localhost:99999", "port must be a number"),
        ("redis://localhost/first", "database must be a number"),
        ("redis://localhost?prefix={x}", "prefix '{x}' must be"),
        ("redis://localhost?prefix=", "prefix '' must be"),
        ("redis://localhost?timeout=3", "unknown option 'timeout'"),
        ("rediss://localhost?ca=/no/such/file.pem", "cannot load the TLS files"),
        ("no_such_module_at_all:factory", "there is no module 'no_such_module_at_all'"),
        (f"{__name__}:nothing", "has no callable 'nothing'"),
        (f"{__name__}:NOT_CALLABLE", "has no callable 'NOT_CALLABLE'"),
    ],
)
def test_a_url_that_opens_nothing_says_what_to_write(url, says):
    """A34: unknown value, a clear line."""
    with pytest.raises(ConfigError, match=says):
        open_store(url)


@pytest.mark.parametrize("source", ["SESSIONWARE_STORE", "store"])
@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            "mongodb://localhost",
            "unknown store scheme mongodb://. Known are memory://, sqlite://, redis://, rediss://, valkey://, ",
        ),
        (
            "postgres://localhost",
            (
                "postgres://localhost names no database: write for example "
                "postgresql://user:password@127.0.0.1:5432/database"
            ),
        ),
        ("memory://x", "'memory://x': memory:// takes no path and no option"),
        ("redis://h/x", "redis://h/x: the database must be a number, for example redis://h/0"),
    ],
)
def test_a_refusal_begins_with_the_setting_as_the_user_wrote_it(url, says, source):
    with pytest.raises(ConfigError) as caught:
        open_store(url, source=source)
    assert str(caught.value).startswith(f"{source}: {says}")


@pytest.mark.parametrize(
    "url", ["redis://u:hunter2@localhost:port", "redis://u:hunter2@localhost/x", "redis://:hunter2@h?nothing=1"]
)
def test_a_password_is_never_in_an_error(url):
    """ST-07."""
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2/x@127.0.0.1:1/0",
        "redis://:hunter2#x@127.0.0.1:1/0",
        "redis://:hunter2?x@127.0.0.1:1/0",
        "redis://:x?hunter2@127.0.0.1:1/0",
        "redis://:x/hunter2@127.0.0.1:1/0",
        "redis://:hunter2[@127.0.0.1:1/0",
        "redis://:hunter2\u2100@127.0.0.1:1/0",
        "redis:user:hunter2@h",
        "redis:/user:hunter2@h",
        "redis:/user:hunter2@h://",
        "user:hunter2://@h",
        "redis://hunter2@h",
        "redsi://user:hunter2@h",
        "memory://user:hunter2@h",
        "sqlite://user:hunter2@h/x.db",
        "sqlite:///x.db?hunter2@h",
        "sqlite:///x.db?synchronous=hunter2@h",
    ],
)
def test_a_password_is_not_shown_however_its_url_was_mistyped(url):
    """ST-07: neither in the message nor in what a traceback chains to it."""
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    chain = [caught.value, caught.value.__cause__]
    assert not caught.value.__context__ or caught.value.__suppress_context__
    assert not any("hunter2" in str(error) for error in chain)


@pytest.mark.parametrize("url", ["redis://:p/x@h", "redis://:p#x@h", "redis://:p?x@h", "redis:u:p@h"])
def test_a_password_that_breaks_its_url_is_told_how_to_be_written(url):
    with pytest.raises(ConfigError, match=r"write / as %2F, # as %23, [?] as %3F, @ as %40"):
        open_store(url)
    assert read_address("redis://u:a%2Fb%23c%3Fd%40e@h").password == "a/b#c?d@e"


def test_a_password_is_never_in_a_repr():
    """ST-07."""
    assert "hunter2" not in repr(read_address("redis://u:hunter2@localhost/3"))


def test_tls_is_always_verified():
    """ST-07."""
    context = read_address("rediss://localhost").tls_context()
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert read_address("redis://localhost").tls_context() is None


def test_without_the_extra_the_message_says_what_to_install():
    code = (
        "import sys; sys.modules['hiredis'] = None\n"
        "from sessionware.stores.open import open_store\n"
        "try: open_store('redis://localhost')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("ConfigError")
    assert "pip install 'sessionware[redis]'" in said


def test_the_memory_store_is_forgotten_with_its_process():
    """A33, C15."""
    first, second = run_a_life("memory://"), run_a_life("memory://")
    assert (first["before"], second["before"]) == (0, 0)
    assert first["salt"] != second["salt"]


@pytest.mark.skipif(not is_selected("sqlite"), reason="not among STORES")
def test_c28_a_file_holds_what_was_answered_when_its_process_was_killed(tmp_path):
    """C28, and the promise of docs/stores.md: whoever opens the file next goes on from there."""
    url = f"sqlite:///{tmp_path}/sessions.db"
    first, second = run_a_life(url), run_a_life(url)
    assert (first["before"], second["before"]) == (0, 1)
    assert first["salt"] == second["salt"]

    async def reopened() -> tuple[int, bool]:
        clock = ManualClock()
        async with open_store(url, clock=clock) as store:
            make = Maker.of(store)
            refused = await store.admit(make.ask(make.session("work-0"), token=make.token("bad")))
            return (await store.list(Query(limit=0), now=clock.now())).total, refused.outcome is Outcome.REVOKED

    assert asyncio.run(reopened()) == (2, True)


A_LIFE = """
import asyncio, os, signal, sys
from sessionware.core.facts import TokenRevocation
from sessionware.core.store import Query
from sessionware.core.windows import NEVER
from sessionware.stores.open import open_store
from sessionware.testing import Maker, ManualClock

async def main():
    clock = ManualClock()
    async with open_store(sys.argv[1], clock=clock, timeout_ms=20_000) as store:
        before = (await store.list(Query(limit=0), now=clock.now())).total
        make = Maker.of(store)
        await store.create(make.new(make.session(f"work-{before}")), operation=os.urandom(16), now=clock.now())
        await store.revoke(TokenRevocation(make.token('bad').hash, NEVER), now=clock.now())
        print(before, store.addresses.salt.hex(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def run_a_life(url: str) -> dict[str, object]:
    """A process that opens a store, makes a session, revokes a token, and is killed without a chance to close."""
    done = subprocess.run([sys.executable, "-c", A_LIFE, url], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before, salt = done.stdout.split()
    return {"before": int(before), "salt": salt}
