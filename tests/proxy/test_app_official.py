"""The official Python client through the proxy, in both eras: two users, two sessions each, at the same time."""

import asyncio
import json
from contextlib import AsyncExitStack

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.mcp_servers import replicas
from tests.proxy.standing_proxy import TOKENS, serving, token
from tests.proxy.stories import SESSIONS


@pytest.fixture(scope="module")
def proxied():
    with replicas(2) as servers, serving(",".join(each.url for each in servers), **TOKENS) as server:
        yield server


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_each_finds_what_it_has_remembered(proxied, mode):
    async def story():
        async with AsyncExitStack() as open_clients:
            clients = {}
            for user, session in SESSIONS:
                headers = {"Authorization": f"Bearer {token(user)}", "X-Session-ID": session}
                http = await open_clients.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=30))
                transport = streamable_http_client(f"{proxied.url}/mcp", http_client=http)
                clients[user, session] = await open_clients.enter_async_context(Client(transport, mode=mode))
            kept = await asyncio.gather(
                *[said(client, "remember", text="/".join(who)) for who, client in clients.items()]
            )
            handles = [{"handle": told["handle"]} if "handle" in told else {} for told in map(json.loads, kept)]
            return [
                await asyncio.gather(
                    *[
                        said(client, "recall", **handle)
                        for client, handle in zip(clients.values(), handles, strict=True)
                    ]
                )
                for _ in range(3)
            ]

    assert asyncio.run(story()) == [["/".join(who) for who in SESSIONS]] * 3


async def said(client, tool, **arguments):
    return (await client.call_tool(tool, arguments)).content[0].text
