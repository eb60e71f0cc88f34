"""The demo server with the official client: it remembers per session or handle, in its own process only."""

import asyncio
import json
import signal
import subprocess
import sys

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.sse import sse_client

from sessionware.demo.shelf import MAX_NOTES, MAX_TEXT, Shelf, ShelfFull
from tests.mcp_servers import ROOT, McpServer, replicas


@pytest.fixture(scope="module")
def server():
    with McpServer(name="one") as server:
        yield server


async def said(client, tool, **arguments):
    return (await client.call_tool(tool, arguments)).content[0].text


def test_a_legacy_session_remembers_and_no_other_one_knows(server):
    async def story():
        async with Client(server.url, mode="legacy") as alice, Client(server.url, mode="legacy") as bob:
            await said(alice, "remember", text="tea")
            await said(bob, "remember", text="coffee")
            counted = [await said(alice, "counter"), await said(alice, "counter"), await said(bob, "counter")]
            return await said(alice, "recall"), await said(bob, "recall"), counted

    assert asyncio.run(story()) == ("tea", "coffee", ["1", "2", "1"])


def test_the_modern_era_remembers_by_a_handle_that_nobody_guesses(server):
    async def story():
        async with Client(server.url) as client:
            kept = [json.loads(await said(client, "remember", text=text)) for text in ("tea", "coffee")]
            recalled = [await said(client, "recall", handle=one["handle"]) for one in kept]
            return client.protocol_version, kept, recalled, (await client.call_tool("recall", {})).is_error

    version, kept, recalled, is_error = asyncio.run(story())
    assert (version, recalled, is_error) == ("2026-07-28", ["tea", "coffee"], True)
    assert kept[0]["handle"] != kept[1]["handle"]
    assert {one["pid"] for one in kept} == {server.pid}


def test_another_replica_knows_nothing():
    async def story(one, two):
        async with Client(one.url) as here, Client(two.url) as there:
            handle = json.loads(await said(here, "remember", text="tea"))["handle"]
            return await said(there, "recall", handle=handle), await said(here, "pid"), await said(there, "pid")

    with replicas(2) as (one, two):
        assert asyncio.run(story(one, two)) == ("", str(one.pid), str(two.pid))


def test_whoami_tells_the_server_and_all_that_it_was_sent(server):
    async def story():
        async with Client(server.url) as client:
            return json.loads(await said(client, "whoami"))

    seen = asyncio.run(story())
    assert (seen["server"], seen["pid"], seen["session"]) == ("one", server.pid, "")
    assert (seen["headers"]["mcp-method"], seen["headers"]["mcp-name"]) == ("tools/call", "whoami")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_sleep_reports_each_step(server, mode):
    told = []

    async def on_progress(done, total, message):
        told.append((done, total, message))

    async def story():
        async with Client(server.url, mode=mode) as client:
            return await client.call_tool("sleep", {"seconds": 0.05, "steps": 2}, progress_callback=on_progress)

    assert asyncio.run(story()).content[0].text == "slept 0.05 s"
    assert told == [(0, 2, "step 0 of 2"), (1, 2, "step 1 of 2"), (2, 2, "step 2 of 2")]


def test_the_oldest_transport_has_a_session_too():
    async def story(url):
        async with Client(sse_client(url), mode="legacy") as client:
            await said(client, "remember", text="tea")
            return await said(client, "recall"), json.loads(await said(client, "whoami"))["session"] != ""

    with McpServer("--transport", "sse") as server:
        assert server.url.endswith("/sse")
        assert asyncio.run(story(server.url)) == ("tea", True)


def test_a_restarted_server_has_forgotten_its_sessions():
    async def story(server):
        async with Client(server.url, mode="legacy") as client:
            await said(client, "remember", text="tea")
            server.restart()
            with pytest.raises(MCPError):
                await said(client, "recall")

    with McpServer() as server:
        asyncio.run(story(server))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_without_a_complaint(number):
    process = subprocess.Popen(
        [sys.executable, "-m", "sessionware.demo"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("listening on http://127.0.0.1:")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("", "", 0 if number == signal.SIGINT else -signal.SIGTERM)


def test_the_shelf_has_an_end():
    shelf = Shelf()
    for place in range(MAX_NOTES):
        shelf.remember(str(place), "x")
    shelf.remember("0", "y")
    with pytest.raises(ShelfFull, match=f"keeps {MAX_NOTES} notes"):
        shelf.count("one more")
    with pytest.raises(ShelfFull, match=f"at most {MAX_TEXT} characters, got {MAX_TEXT + 1}"):
        shelf.remember("0", "x" * (MAX_TEXT + 1))
    assert shelf.text("0") == "y"


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 421), ("0.0.0.0", 200)])
def test_the_name_of_a_container_will_do_where_the_demo_listens_to_more_than_this_machine(host, status):
    hello = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }  # fmt: skip
    with McpServer("--host", host, "--json") as server:
        headers = {"Host": "one:9000", "Accept": "application/json, text/event-stream"}
        answer = httpx2.post(f"http://127.0.0.1:{server.port}/mcp", json=hello, headers=headers)
    assert answer.status_code == status
