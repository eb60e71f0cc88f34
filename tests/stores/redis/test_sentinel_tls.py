"""`rediss+sentinel://`: both the Sentinels and the primary are asked behind TLS, and must prove who they are."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from sessionware.core.admission import Outcome
from sessionware.errors import StoreUnavailable
from sessionware.stores.open import open_store
from sessionware.stores.redis.address import read_sentinels
from sessionware.stores.redis.sentinels import Sentinels
from sessionware.testing.build import Maker
from tests.certificates import certificate
from tests.selection import is_selected
from tests.servers import RedisServer
from tests.stores.deeds import take
from tests.stores.redis.tls_front import TlsFront

pytestmark = pytest.mark.skipif(not is_selected("sentinel"), reason="not among STORES")


@contextmanager
def secured(folder: Path) -> Iterator[tuple[TlsFront, TlsFront, Path]]:
    """The fronts of a Sentinel and of the primary that it names, and the certificate to trust."""
    context, chain = certificate(folder, x509.IPAddress(ip_address("127.0.0.1")))
    with ExitStack() as stack:
        primary = stack.enter_context(TlsFront(stack.enter_context(RedisServer()).port, context))
        words = f"sentinel monitor mymaster 127.0.0.1 {primary.port} 1\n"
        sentinel = stack.enter_context(RedisServer(sentinel=words))
        yield stack.enter_context(TlsFront(sentinel.port, context)), primary, chain


def test_sentinels_and_the_primary_are_asked_behind_tls(tmp_path: Path) -> None:
    """ST-07."""

    async def scenario(sentinel: TlsFront, primary: TlsFront, chain: Path) -> None:
        async with open_store(f"rediss+sentinel://127.0.0.1:{sentinel.port}/mymaster?ca={chain}") as store:
            assert (await take(store, Maker.of(store))).outcome is Outcome.ADMITTED
            watch = store.watch()
            async with asyncio.timeout(5):
                await anext(watch)
        assert sentinel.hellos >= 1
        assert primary.hellos >= 2  # the calls, and the subscription

    with secured(tmp_path) as (sentinel, primary, chain):
        asyncio.run(scenario(sentinel, primary, chain))


@pytest.mark.parametrize(("host", "ca"), [("127.0.0.1", ""), ("localhost", "?ca={chain}")], ids=["authority", "name"])
def test_a_sentinel_that_proves_nothing_is_not_believed(tmp_path: Path, host: str, ca: str) -> None:
    """ST-07: an unknown authority, another name."""

    async def scenario(sentinel: TlsFront, chain: Path) -> None:
        url = f"rediss+sentinel://{host}:{sentinel.port}/mymaster{ca.format(chain=chain)}"
        sentinels = Sentinels(read_sentinels(url))
        with pytest.raises(StoreUnavailable, match="certificate verify failed"):
            await sentinels.find()
        await sentinels.close()
        assert sentinel.hellos == 0

    with secured(tmp_path) as (sentinel, _, chain):
        asyncio.run(scenario(sentinel, chain))
