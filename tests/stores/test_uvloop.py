"""The stores on uvloop, which `sessionware proxy` and most servers run on: its transports are not asyncio's."""

import uvloop

from sessionware.testing.build import Maker
from tests.stores.opening import fresh_store


def test_a_store_keeps_and_finds_a_session_on_uvloop(store_kind, server_of):
    server = server_of(store_kind)

    async def keep_and_find():
        async with fresh_store(store_kind, server=server) as store:
            make = Maker.of(store)
            session = make.session()
            await store.create(make.new(session), operation=make.operation(), now=make.now)
            return session.key, await store.get(session.key, now=make.now)

    key, found = uvloop.run(keep_and_find())
    assert found is not None
    assert found.key == key
