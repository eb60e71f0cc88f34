"""A store's URL: what it opens, and what is said when it cannot be opened."""

import asyncio
import ssl
import subprocess
import sys

import pytest

from sessionware.core.store import Store
from sessionware.errors import ConfigError
from sessionware.stores.memory import MemoryStore
from sessionware.stores.open import open_store
from sessionware.stores.redis import RedisStore
from sessionware.stores.redis.address import read_address
from sessionware.stores.sqlite import SqliteStore
from sessionware.testing import ManualClock


def my_factory(*, clock: object = None) -> Store:
    return MemoryStore(clock=clock)  # type: ignore[arg-type]


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
        ("mongodb://localhost", "Known are memory://, sqlite://, redis://"),
        ("memory://x", "takes no path"),
        ("sqlite://", "three slashes for a relative path"),
        ("sqlite://sessions.db", "three slashes for a relative path"),
        ("sqlite:///:memory:", "use memory://"),
        ("sqlite:///a.db?max_pages=many", "max_pages must be a positive number"),
        ("sqlite:///a.db?synchronous=off", "synchronous must be normal or full, got 'off'"),
        ("sqlite:///a.db?mode=ro", "unknown option 'mode', known are max_pages, synchronous"),
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


@pytest.mark.parametrize(
    "url", ["redis://u:hunter2@localhost:port", "redis://u:hunter2@localhost/x", "redis://:hunter2@h?nothing=1"]
)
def test_a_password_is_never_in_an_error(url):
    """ST-07."""
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


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
    """A33."""

    async def keys() -> set[bytes]:
        found = set()
        for _ in range(2):
            async with open_store("memory://", clock=ManualClock()) as store:
                found.add(store.addresses.salt)
        return found

    assert len(asyncio.run(keys())) == 2
