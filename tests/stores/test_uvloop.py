"""The stores on uvloop, which `sessionware proxy` and most servers run on: its transports are not asyncio's."""

import pytest
import uvloop

from sessionware.testing.build import Maker
from tests.selection import is_selected
from tests.servers import RedisServer
from tests.stores.opening import fresh_store

KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(not is_selected(kind), reason="not among STORES"))
    for kind in ("memory", "sqlite", "redis")
]


@pytest.fixture(scope="module")
def redis_url():
    if not is_selected("redis"):
        yield ""
        return
    with RedisServer() as server:
        yield server.url


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_keeps_and_finds_a_session_on_uvloop(kind, redis_url):
    async def keep_and_find():
        async with fresh_store(kind, redis_url=redis_url) as store:
            make = Maker.of(store)
            session = make.session()
            await store.create(make.new(session), operation=make.operation(), now=make.now)
            return session.key, await store.get(session.key, now=make.now)

    key, found = uvloop.run(keep_and_find())
    assert found is not None
    assert found.key == key
